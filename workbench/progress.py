"""How far an import or a run is: a line in a notebook, a bar on a terminal, lines in a log."""

import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TextIO

QUIET = 1.0  # seconds that anything may take before a word is said of it
EVERY = 0.5  # seconds between two changes of a line or a bar
WITHIN = 30.0  # seconds between two lines of a log within one step
LONG_STEP = 3.0  # seconds that a step takes whose phases are shown
STEP_WORDS = {"ppo": "update"}  # what a step of a run is called; of other kinds: step
FIGURES = {  # the figures of a run that tell most, in the words that people use
    "loss": "loss",
    "accuracy": "accuracy",
    "objective/scores": "reward",
    "objective/kl": "kl",
}


def tell(text: str) -> None:
    """Write one line to whoever watches."""
    Work.hide_line()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Silent:
    """Shows nothing."""

    def show(self, name: str, words: str, done: float, total: float | None) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing is open."""


class LineLog(Silent):
    """A line for each time, on standard output or another stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def show(self, name: str, words: str, done: float, total: float | None) -> None:
        """Write a line."""
        stream = self._stream or sys.stdout
        stream.write(f"{name}: {words}\n")
        stream.flush()


class OneLine:
    """One line in a notebook that rewrites itself; a transient one is gone in the end."""

    def __init__(self, transient: bool) -> None:
        self._transient, self._text = transient, ""

    def show(self, name: str, words: str, done: float, total: float | None) -> None:
        """Rewrite the line where it changed."""
        text = f"{name}: {words}"
        if text != self._text:
            self._write(f"\r{text.ljust(len(self._text))}")
            self._text = text

    def close(self) -> None:
        """End the line."""
        self._write(f"\r{' ' * len(self._text)}\r" if self._transient else "\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class Bar:
    """A bar of rich's on a terminal; a transient one is gone in the end."""

    def __init__(self, stream: TextIO, transient: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}")
        self._bar = Progress(*columns, console=Console(file=stream), transient=transient)
        self._task = self._bar.add_task("", total=None, words="")
        self._bar.start()

    def show(self, name: str, words: str, done: float, total: float | None) -> None:
        """Move the bar."""
        self._bar.update(self._task, description=name, words=words, completed=done, total=total)

    def close(self) -> None:
        """Stop the bar."""
        self._bar.stop()


Display = Silent | OneLine | Bar
"""Where progress is shown: so much of a total, None where that is not known."""


def _display(stream: TextIO, otherwise: Display, *, transient: bool = False) -> Display:
    """Return what suits where the output goes."""
    if type(sys.stdout).__module__.startswith("ipykernel"):
        return OneLine(transient)
    return Bar(stream, transient) if stream.isatty() else otherwise


class Work:
    """What a person waits for, on one line: its name, what it does now, how far it is, how long.

    A clock of its own keeps the line, so that it also moves where nothing is told. Within another
    work it says more on that one's line. The line goes when the work ends.
    """

    open: ClassVar[list["Work"]] = []
    """The works that go on, the outermost first: that one has the line."""
    lines_of_others: ClassVar[int] = 0
    """Displays that are up beside: as long as there is one, the line is away."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._phase, self._unit, self._done, self._total = "", "", 0.0, 0.0
        self._begun = self._since = time.monotonic()
        self._from = 0.0  # how much was done when this phase began
        self._display: Display | None = None
        self._shown = ("", 0.0, 0.0)  # of a log: phase and share of its last line, and its time
        self._over = threading.Event()

    def tell(self, done: float, total: float | None, phase: str, unit: str = "") -> None:
        """Take in what it does and how far it is; the total is None where it is not known."""
        if phase != self._phase or done < self._done:
            self._since, self._from = time.monotonic(), done
        self._phase, self._unit = phase, unit
        self._done, self._total = done, total or 0.0

    @property
    def words(self) -> str:
        """What it does now, how much of it is done, and the time left or else spent."""
        now = time.monotonic()
        parts, done = [self._phase], f"{int(self._done):,}"
        if self._total:
            parts.append(f"{done} of {round(self._total):,} {self._unit}".rstrip())
        elif self._done:
            parts.append(f"{done} {self._unit}".rstrip())
        gained = self._done - self._from
        if self._done < self._total and gained > 0:
            left = (now - self._since) * (self._total - self._done) / gained
            parts.append(f"about {duration(left)} left")
        else:
            parts.append(f"{now - self._begun:.0f} s")
        return ", ".join(filter(None, parts))

    def begin(self) -> None:
        """Start the clock that shows it."""
        threading.Thread(target=self._keep_shown, daemon=True).start()

    def end(self) -> None:
        """Take the line away."""
        self._over.set()
        with _drawing:
            self._hide()

    @classmethod
    def hide_line(cls) -> None:
        """Take the line away for now: something else is written there."""
        with _drawing:
            for work in cls.open[:1]:
                work._hide()

    def _keep_shown(self) -> None:
        wait = QUIET
        while not self._over.wait(wait):
            wait = EVERY
            with _drawing:
                if self._over.is_set():
                    return
                if Work.lines_of_others:
                    self._hide()
                else:
                    self._show()

    def _show(self) -> None:
        works = [*Work.open] or [self]
        inner = works[-1]
        name, words = " · ".join(work.name for work in works), inner.words
        if self._display is None:
            self._display = _display(sys.stderr, LineLog(sys.stderr), transient=True)
        if isinstance(self._display, LineLog) and not self._is_due(name, inner):
            return
        self._display.show(name, words, inner._done, inner._total or None)

    def _is_due(self, name: str, inner: "Work") -> bool:
        """Whether a log gets a line: for what is new, a tenth or ten seconds."""
        about, share = f"{name} {inner._phase}", inner._done / (inner._total or 1.0)
        last_about, last_share, last_time = self._shown
        now = time.monotonic()
        due = about != last_about or share - last_share >= 0.1 or now - last_time >= 10.0
        if due:
            self._shown = about, share, now
        return due

    def _hide(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None


_drawing = threading.Lock()


@contextmanager
def working(name: str) -> Generator[Work]:
    """Show that something goes on, from its second second on, until it ends or is interrupted.

    It also decorates a function. Outside the main thread nothing is shown: nobody waits there.
    """
    work = Work(name)
    if threading.current_thread() is not threading.main_thread():
        yield work
        return
    outermost = not Work.open
    Work.open.append(work)
    if outermost:
        work.begin()
    try:
        yield work
    finally:
        Work.open.remove(work)
        if outermost:
            work.end()


@contextmanager
def own_line() -> Generator[None]:
    """Within the block something else has a line of its own, and a work's is away."""
    Work.lines_of_others += 1
    Work.hide_line()
    try:
        yield
    finally:
        Work.lines_of_others -= 1


@contextmanager
def reading(name: str) -> Generator[Callable[[int, float | None], None]]:
    """Show how far reading ``name`` is; what it yields is told the rows read, and their share."""
    with working(f"reading {name}") as work:
        yield lambda rows, share: work.tell(rows, rows / share if share else None, "", "rows")


class RunProgress:
    """Shows how far a run is: each new state at once, else twice a second.

    A log gets a line about every tenth of the run or ten seconds.
    """

    def __init__(self, name: str, display: Display) -> None:
        self.display = display
        self._name, self._clock = name, RunClock()
        self._state, self._step, self._time = "", -1, 0.0
        self._planned = False  # whether an estimate was there at the last look

    def update(self, status: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Show a status and the last row of metrics, where it is time to."""
        left = self._clock.left(status)
        if not self._is_due(status):
            return
        self._state, self._step = status["state"], int(status["step"])
        self._time, total = time.monotonic(), status["total_steps"]
        if isinstance(self.display, Bar):
            name = self._name if self._state == "running" else f"{self._name} ({self._state})"
            parts = [f"{self._step}/{total or '?'}"]
        else:
            name, parts = self._name, [self._state, f"step {self._step} of {total or '?'}"]
        now = phase_words(status), estimate_words(status)
        words = "  ".join(part for part in (*parts, figures(row), *now, left) if part)
        self.display.show(name, words, self._step, total)

    def close(self) -> None:
        """Leave the last state standing."""
        self.display.close()

    def _is_due(self, status: Mapping[str, Any]) -> bool:
        steps, seconds = int(status["step"]) - self._step, time.monotonic() - self._time
        planned = status.get("update_seconds") is not None
        news = (status["state"], planned) != (self._state, self._planned)
        self._planned = planned
        if news:
            return True
        if not isinstance(self.display, LineLog):
            return seconds >= EVERY
        tenth = max(1.0, (status["total_steps"] or 10) / 10)
        within = seconds >= WITHIN and bool(phase_words(status))
        return steps >= tenth or (steps != 0 and seconds >= 10.0) or within


def run_progress(name: str, wanted: bool = True) -> RunProgress:
    """Return the progress of a run, shown as suits where the output goes."""
    return RunProgress(name, _display(sys.stdout, LineLog()) if wanted else Silent())


def figures(row: Mapping[str, Any]) -> str:
    """Return the figures that tell most, in a few words: "loss 0.532  kl 1.2"."""
    known = ((word, row.get(key)) for key, word in FIGURES.items())
    return "  ".join(f"{word} {value:.3g}" for word, value in known if value is not None)


def phase_words(status: Mapping[str, Any]) -> str:
    """Return what a running run does now, where a step takes long enough to be asked.

    For example "update 1: generating 24 of 64 tokens".
    """
    seconds = status.get("update_seconds") or 0.0
    if not status.get("phase") or status["state"] != "running":
        return ""
    if int(status["step"]) and seconds < LONG_STEP:
        return ""
    word, step = status["step_word"], int(status["step"])
    last = step == status["total_steps"]
    words = (
        f"all {step:,} {word}s: {status['phase']}"
        if last
        else f"{word} {step + 1}: {status['phase']}"
    )
    if not status["phase_total"]:
        return words
    return f"{words} {status['phase_done']:,} of {status['phase_total']:,} {status['phase_unit']}"


def estimate_words(status: Mapping[str, Any]) -> str:
    """Return what a step is thought to take, while none has been done: "about 40 s an update"."""
    seconds = status.get("update_seconds")
    if seconds is None or int(status["step"]) or status["state"] not in ("starting", "running"):
        return ""
    word = status["step_word"]
    article = "an" if word == "update" else "a"
    return f"about {duration(seconds)} {article} {word}, by {status['update_seconds_from']}"


def duration(seconds: float) -> str:
    """Return seconds in plain words, to two figures or so: "0.4 s", "40 s", "3 min 20 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class RunClock:
    """Guesses the time left from the steps it has seen; a pause does not count."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None
        self._seconds = self._steps = 0.0

    def left(self, status: Mapping[str, Any]) -> str:
        """Return the time left, as "1:23 left", or nothing where it cannot be known."""
        now, step, total = time.monotonic(), int(status["step"]), status["total_steps"]
        if status["state"] != "running":
            self._last = None
            return ""
        if self._last is not None and step > self._last[1]:
            self._seconds += now - self._last[0]
            self._steps += step - self._last[1]
        if self._last is None or step != self._last[1]:
            self._last = (now, step)
        if not total or not self._steps or step == total:  # what comes after the last has no count
            return ""
        minutes, seconds = divmod(int((total - step) * self._seconds / self._steps), 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
        )
