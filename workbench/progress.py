"""How far an import or a run is: a line in a notebook, a bar on a terminal, lines in a log."""

import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

QUIET = 2.0  # seconds that reading may take before anything is said
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
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Silent:
    """Shows nothing."""

    def show(self, name: str, words: str, done: float, total: float | None) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing is open."""


class LineLog(Silent):
    """A line for each time."""

    def show(self, name: str, words: str, done: float, total: float | None) -> None:
        """Write a line."""
        tell(f"{name}: {words}")


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


class ReadingProgress:
    """What ``load_pairs`` is given as ``on_progress``: shows at most twice a second, after 2 s."""

    def __init__(self, name: str) -> None:
        self._name = f"reading {name}"
        self._began = time.monotonic()
        self._last = self._began + QUIET - EVERY
        self._display: Display | None = None

    def __call__(self, rows: int, share: float | None) -> None:
        """Take in that so many rows were read, which are such a share of all."""
        now = time.monotonic()
        if now - self._last < EVERY:
            return
        self._last = now
        if self._display is None:  # a script that is not watched is told nothing
            self._display = _display(sys.stderr, Silent(), transient=True)
        words = f"{rows:,} rows"
        if share:
            words += f", {share:.0%}, {(now - self._began) * (1 - share) / share:.0f} s left"
        self._display.show(self._name, words, share or 0.0, None if share is None else 1.0)

    def close(self) -> None:
        """End the display, if it ever began."""
        if self._display is not None:
            self._display.close()


@contextmanager
def reading(name: str) -> Generator[ReadingProgress]:
    """Show how far reading ``name`` is, until it ends; a short one shows nothing."""
    progress = ReadingProgress(name)
    try:
        yield progress
    finally:
        progress.close()


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
    words = f"{status['step_word']} {int(status['step']) + 1}: {status['phase']}"
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
        if not total or not self._steps:
            return ""
        minutes, seconds = divmod(int((total - step) * self._seconds / self._steps), 60)
        hours, minutes = divmod(minutes, 60)
        return (
            f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
        )
