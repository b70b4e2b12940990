"""A run as a person holds it: watch it, ask it to pause, change it, wait for it."""

# pyright: reportMissingTypeStubs=false
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.errors import RunError
from workbench.progress import estimate_words, own_line, phase_words, run_progress, tell, working
from workbench.runs import launcher, process
from workbench.runs.controls import ask, declared_settings
from workbench.runs.folder import LIVE, METRICS, RunFolder
from workbench.runs.housekeeping import delete_run, read_note, restore_run, write_note
from workbench.runs.turns import happens

if TYPE_CHECKING:
    from pandas import DataFrame

POLL = 0.1  # seconds
ANSWER = 60.0  # seconds that a process may take to its next safe point
LEAVING = 20.0  # seconds between a process's last word and its end


class Run:
    """A view of a run folder; the run itself is a process of its own.

    Closing the notebook, restarting the kernel or dropping this object never touches the run.
    """

    panel_factory: ClassVar[Callable[["Run"], Any] | None] = None
    """Makes the live panel that a notebook shows; set from above, since runs know no widgets."""

    def __init__(self, folder: RunFolder, command: list[str] | None = None) -> None:
        self.folder = folder
        self.command = command
        self.store: Any = None  # where its panel sends answers to be labelled
        self._config = folder.config()
        self._panel: Any = None

    def __repr__(self) -> str:
        status = self.folder.status()
        step = f"step {status['step']} of {status['total_steps'] or '?'}"
        now = phase_words(status) or estimate_words(status)
        return f"Run({', '.join(filter(None, (repr(self.name), status['state'], step, now)))})"

    def _ipython_display_(self) -> None:
        make = type(self).panel_factory
        if make is None:
            raise NotImplementedError  # IPython then takes the repr
        self._panel = make(self)
        self._panel._ipython_display_()

    def _display_(self) -> Any:
        """The same for marimo, which shows what this returns."""
        make = type(self).panel_factory
        self._panel = None if make is None else make(self)
        return repr(self) if self._panel is None else self._panel

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def kind(self) -> str:
        """What kind of training it is: sft, reward, ppo."""
        return str(self._config["kind"])

    @property
    def config(self) -> dict[str, Any]:
        """What it was started with."""
        return self.folder.config()

    @property
    def status(self) -> str:
        """Its state, truthfully: starting, running, paused, stopped, finished or failed."""
        return str(self.folder.status()["state"])

    @property
    def note(self) -> str:
        """What was written beside it; :meth:`describe` changes it."""
        return read_note(self.path).note

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by; :meth:`describe` changes them."""
        return read_note(self.path).tags

    def describe(self, note: str | None = None, tags: "str | Sequence[str] | None" = None) -> "Run":
        """Write a note or tags into its folder, for the table of runs; what is None stays.

        Args:
            note: a sentence or two; "" takes it away.
            tags: words, or one text with commas between them.

        Raises:
            ConfigError: one of them is too long.
            RunError: its folder cannot be written.
        """
        write_note(self.path, note, tags)
        return self

    def delete(self) -> None:
        """Take it out of all tables; :meth:`restore` brings it back until this kernel ends.

        Raises:
            RunError: it is live, or its folder cannot be moved.
        """
        delete_run(self.folder)

    def restore(self) -> "Run":
        """Bring it back after :meth:`delete`.

        Raises:
            RunError: it is gone for good, or there is another of its name by now.
        """
        restore_run(self.path)
        return self

    @property
    def final(self) -> Path:
        """Where the trained adapter is, once the run has finished or was stopped."""
        return self.folder.final

    def start(self, device: str | None = None) -> "Run":
        """Start the process of a run that was just created.

        Raises:
            RunError: the run is live, or its device is busy.
        """
        launcher.start(self.folder, self.command, device=device)
        return self

    def pause(self, *, wait: bool = False) -> None:
        """Ask it to pause at its next safe point; it keeps its memory and its device.

        Raises:
            RunError: it has no process that could pause.
        """
        self._command("pause")
        if wait:
            self._until("pause", lambda state: state != "running" and state != "starting")

    def resume(self, *, wait: bool = False, trust: bool = False) -> None:
        """Go on: a paused run at once, a stopped or dead one from its last checkpoint.

        Where several processes resume a run at once, one starts it and all are views of it.

        Args:
            wait: until it goes on.
            trust: also where the run was made elsewhere: its author's reward function is then run
                with your rights. It counts for as long as the run stays as it is.

        Raises:
            RunError: it has finished, its device is busy, or it was made elsewhere and is not
                trusted; the message says what would be run.
        """
        before, state = process.read_record(self.path), self.status
        if state == "finished":
            raise RunError(
                f"{self.name} has finished: there is nothing to resume",
                where=str(self.path),
                fix="start another run with more steps",
            )
        if state in LIVE:
            ask(self.folder, "resume")
        else:
            if trust:
                self.folder.trust()
            self.folder.check_made_here()
            self._wait_for_process_to_end()
            with launcher.starting(self.folder):
                if process.read_record(self.path) == before:
                    self.start(None if before is None else before.device)
                # else somebody else has resumed it meanwhile: this is a view of that process
        if wait:
            self._until("resume", lambda state: state not in ("paused", "starting"))

    def stop(self, *, wait: bool = False) -> None:
        """Ask it to stop at its next safe point; what it has learned is written to final/.

        Raises:
            RunError: it has no process that could stop.
        """
        self._command("stop")
        if wait:
            self._until("stop", lambda state: state not in LIVE)
            self._wait_for_process_to_end()

    def save(self) -> None:
        """Ask for a checkpoint at its next update.

        Raises:
            RunError: it has no process that could write one.
        """
        self._command("save")

    def set(self, **values: Any) -> None:
        """Change settings at its next update, for example ``run.set(kl_coef=0.1)``.

        Raises:
            ConfigError: a setting that cannot be changed while a run goes on, or a bad value.
            RunError: it has no process that could change them.
        """
        self._command("set", **self._checked(values))

    def metrics(self) -> "DataFrame":
        """One row a step."""
        return frame(self.folder.metrics())

    def samples(self) -> "DataFrame":
        """The texts sampled so far."""
        return frame(self.folder.samples())

    def events(self) -> "DataFrame":
        """What happened: commands done, alarms, warnings, checkpoints."""
        return frame(self.folder.events())

    def alarms(self) -> "DataFrame":
        """What in its figures and answers deserves a look, and what to do; what rings first."""
        from workbench.runs.alarms import of_run  # loads NumPy, which `import workbench` need not

        columns = ["name", "title", "since", "until", "text", "fix", "metric"]
        return frame([alarm.as_dict() for alarm in of_run(self.folder)], columns)

    def wait(self, timeout: float | None = None, progress: bool = True) -> "Run":
        """Wait until it has finished or was stopped. An interrupt ends the waiting, not the run.

        Args:
            timeout: give up waiting after so long [s]; None waits for ever.
            progress: show how far it is.

        Raises:
            RunError: it failed (with the reason and the end of its log), or took too long.
        """
        shown = run_progress(self.name, progress)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        try:
            with own_line():
                status = self._watch(shown.update, timeout)
        except KeyboardInterrupt:
            tell(f"\n{self.name} goes on; .wait() waits again, .stop() ends it")
            raise
        finally:
            shown.close()
        self._wait_for_process_to_end(deadline)  # its device is free then, and its log complete
        if status["state"] == "failed":
            raise self._failure(str(status["error"]))
        return self

    def _watch(self, show: Callable[..., None], timeout: float | None) -> dict[str, Any]:
        """Show the run's progress until it is no longer live; its last status."""
        follower, row = self.folder.follow(METRICS), dict[str, Any]()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            status = self.folder.status()
            row = [row, *follower.read().rows][-1]
            show(status, row)
            if status["state"] not in LIVE:
                return status
            if deadline is not None and time.monotonic() > deadline:
                raise RunError(
                    f"{self.name} is still {status['state']} after {timeout:g} s",
                    where=f"step {status['step']} of {status['total_steps'] or '?'}",
                    fix="wait longer; the run goes on meanwhile",
                )
            time.sleep(POLL)

    def _command(self, command: str, **values: Any) -> str:
        state = self.status
        if state not in LIVE:
            goes_on = "" if state == "finished" else "; run.resume() continues it"
            raise RunError(
                f"{self.name} has no process that could {command}: it is {state}",
                where=str(self.path),
                fix=f"nothing needs to be done{goes_on}",
            )
        return ask(self.folder, command, **values)

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        settings = declared_settings(self.folder)
        if settings is None:  # a kind of run that declares none
            return values
        return settings.live_changes(values, where=f"run {self.name}")

    def _until(self, command: str, done: Callable[[str], bool]) -> None:
        with working(self.name) as work:
            work.tell(0, None, f"is to {command} at its next safe point")
            happened = happens(lambda: done(self.status), ANSWER)
        if not happened:
            raise RunError(
                f"{self.name} did not {command} within {ANSWER:g} s; it is {self.status}",
                where=str(self.path),
                fix="it acts at its next safe point; look at log.txt if that never comes",
            )

    def _wait_for_process_to_end(self, deadline: float = math.inf) -> None:
        seconds = min(LEAVING, deadline - time.monotonic())
        with working(self.name) as work:
            work.tell(0, None, "its process ends")
            happens(lambda: not self.folder.process_alive(), seconds)

    def _failure(self, reason: str) -> RunError:
        log = "\n".join(f"    {line}" for line in self.folder.log_tail(15))
        ends = f", which ends in:\n{log}" if log else ", which is empty"
        return RunError(
            f"{self.name} failed: {reason}",
            where=f"{self.path / 'log.txt'}{ends}",
            fix="mend the cause; run.resume() then continues from the last checkpoint",
        )


def frame(rows: list[dict[str, Any]], columns: list[str] | None = None) -> "DataFrame":
    """Rows as a table; pandas is loaded only here."""
    from workbench.table_frame import TableFrame

    return TableFrame(rows, columns=columns)
