"""The run folder as a reader sees it: everything on screen is a view of these files."""

import gzip
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import ConfigError, DataError, RunError, first_line
from workbench.json_lines import (
    LONGEST_LINE,
    MOST_BYTES,
    Follower,
    Lines,
    blocks,
    encode,
    load_json,
    new_lines,
    open_plain,
    read_lines,
    write_json,
)
from workbench.runs import made_here, process
from workbench.runs.file_rules import (
    MOST_CONFIG,
    answer_rows,
    config_fault,
    event_rows,
    metric_rows,
    status_fault,
)

CONFIG, STATUS, DATA, LOG = "config.json", "status.json", "data.jsonl.gz", "log.txt"
METRICS, SAMPLES, TOKENS, EVENTS, CONTROL = (
    "metrics.jsonl",
    "samples.jsonl",
    "tokens.jsonl",
    "events.jsonl",
    "control.jsonl",
)
LIVE = ("starting", "running", "paused")
ENDED = ("stopped", "finished", "failed")
LAUNCH_PATIENCE = 10.0  # seconds between the wish to launch and the process, at most
REMOTE_PATIENCE = 30.0  # seconds without a heartbeat before a run on another machine counts as dead
MOST_AHEAD = 300.0  # seconds that another machine's clock may be ahead of ours

_FACTS = ("kind", "name", "model", "inputs", "settings", "data")


class DataDigest(NamedTuple):
    """What was written to data.jsonl.gz: hash of the uncompressed lines, and their number."""

    sha256: str
    rows: int


class Checkpoint(NamedTuple):
    """A complete checkpoint: updates done, and the folder that holds it."""

    step: int
    path: Path


def write_data(path: Path, rows: Iterable[Mapping[str, Any]]) -> DataDigest:
    """Write rows as gzipped JSON lines, the same bytes for the same rows."""
    with new_lines(path, encode) as lines:
        for row in rows:
            lines.add(row)
    return DataDigest(lines.sha256, lines.rows)


class RunFolder:
    """One run on disk. Reading never needs the process, and never disturbs it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's name is the run's name."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether there is a run here, be it one that cannot be read."""
        return all(os.path.lexists(self.path / name) for name in (CONFIG, STATUS))

    def trust(self) -> None:
        """Take a run that was made elsewhere as this user's, for as long as it stays as it is.

        Raises:
            RunError: there is no run here, or a file with a reward function cannot be read.
        """
        made_here.seal(self.path, self.config())

    def check_made_here(self) -> None:
        """Refuse to run what somebody else wrote.

        Raises:
            RunError: the run was made elsewhere, or was changed; it says what would be run.
        """
        made_here.check_made_here(self.path, self.config())

    @property
    def final(self) -> Path:
        """Where the finished adapter, head and tokenizer are."""
        return self.path / "final"

    def create(
        self, kind: str, config: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
    ) -> "RunFolder":
        """Make the folder, complete or not at all; config's data hash is filled in here.

        Raises:
            ConfigError: the folder exists.
        """
        if self.path.exists():
            raise _taken(self.path)
        aside = self.path.with_name(f".{self.name}.{os.getpid()}.tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            digest = write_data(aside / DATA, rows)
            self.adopt(aside, kind, config, digest)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return self

    def adopt(self, aside: Path, kind: str, config: Mapping[str, Any], digest: DataDigest) -> None:
        """Complete a folder written aside, which holds the data, and rename it into place."""
        facts = {"kind": kind, "name": self.name, "data": digest._asdict()}
        created = {"created": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(aside / CONFIG, {**config, **facts, **created})
        made_here.seal(aside, {**config, **facts})
        write_json(aside / STATUS, starting_status())
        for name in (METRICS, SAMPLES, TOKENS, EVENTS, CONTROL, LOG):
            (aside / name).touch()
        (aside / "checkpoints").mkdir()
        try:
            aside.rename(self.path)
        except OSError as error:
            raise _taken(self.path) from error

    def config(self) -> dict[str, Any]:
        """What the run was started with.

        Raises:
            RunError: there is no run in this folder, or its config.json holds something else; says
                which.
        """
        if not os.path.lexists(self.path / CONFIG):
            raise RunError(
                "this folder holds no run",
                where=str(self.path / CONFIG),
                fix="give the name or folder of a run; wb.runs() lists them",
            )
        try:
            values = load_json(self.path / CONFIG, MOST_CONFIG)
        except DataError as error:
            raise self._unreadable(error.what) from error
        if fault := config_fault(values):
            raise self._unreadable(f"{CONFIG}: {fault}")
        return values

    def _unreadable(self, what: str) -> RunError:
        return RunError(
            f"{self.name} is unreadable: {what}",
            where=str(self.path / CONFIG),
            fix="put the file back from a copy, or move the folder away; other runs are not hurt",
        )

    def faults(self) -> list[str]:
        """Files of the run that cannot be read, or not to their end, and why; of most runs none."""
        faults: list[str] = []
        for name in (METRICS, SAMPLES, EVENTS, CONTROL):
            try:
                with open_plain(self.path / name) as file:
                    size = os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                faults.append(f"{name} cannot be read: {error.strerror or error}")
                continue
            if size > MOST_BYTES:
                faults.append(f"{name} has {size:,} bytes; the first {MOST_BYTES:,} are read")
        return faults

    def add_to_config(self, **values: Any) -> None:
        """Add what only the running process knows (hardware, resolved precision).

        Raises:
            RunError: a value would change what the run is.
        """
        changed = [name for name in values if name in _FACTS]
        if changed:
            raise RunError(
                f"a run's {', '.join(changed)} cannot be changed",
                where=str(self.path / CONFIG),
                fix="start another run",
            )
        write_json(self.path / CONFIG, {**self.config(), **values})

    def status(self) -> dict[str, Any]:
        """status.json, made truthful: a live state whose process is gone reads as failed."""
        status = self.written_status()
        if status["state"] not in LIVE:
            return status
        reason = self._why_dead(status)
        if reason is None:
            return status
        if self.written_status() != status:  # its last word came while we looked
            return self.status()
        return {**status, "state": "failed", "error": reason}

    def written_status(self) -> dict[str, Any]:
        """status.json as it stands, with every key.

        One that holds something else reads as failed, and says why in ``unreadable``.
        """
        try:
            written = load_json(self.path / STATUS, MOST_CONFIG)
            fault = status_fault(written)
        except DataError as error:
            written = dict[str, Any]()
            missing = not os.path.lexists(self.path / STATUS)
            fault = "" if missing else error.what.removeprefix(f"{STATUS} ")
        if fault:
            why = f"{STATUS}: {fault}"
            written = {"state": "failed", "error": f"unreadable: {why}", "unreadable": why}
        known = {name: value for name, value in written.items() if value is not None}
        return {**starting_status(heartbeat=0.0), **known}

    def _why_dead(self, status: dict[str, Any]) -> str | None:
        record, heartbeat = process.read_record(self.path), float(status["heartbeat"])
        if record is None:
            fresh = _seconds_since(heartbeat) < LAUNCH_PATIENCE
            return None if fresh else "its process was never started"
        if record.pid is None:
            fresh = _seconds_since(record.launched) < LAUNCH_PATIENCE
            return None if fresh else "its process could not be started"
        if record.machine == process.machine():
            living = process.alive(record.pid, record.started)
            return None if living else process.how_it_ended(record.pid)
        beats = _beats(self.path, heartbeat)
        silence = min(_seconds_since(heartbeat), _seconds_since(record.launched))
        if beats or (beats is None and silence < REMOTE_PATIENCE):
            return None
        ahead = heartbeat - time.time()
        if ahead > MOST_AHEAD:
            days = f"{ahead / 86400:.0f} days" if ahead > 172_800 else f"{ahead:.0f} s"
            return f"its last sign of life is dated {days} ahead, and no other came"
        return f"no sign of life for {time.time() - heartbeat:.0f} s from its other machine"

    def process_alive(self) -> bool:
        """Whether a process works in this folder, on this machine."""
        record = process.read_record(self.path)
        if record is None or record.pid is None or record.machine != process.machine():
            return False
        return process.alive(record.pid, record.started)

    def tail(self, name: str, offset: int = 0) -> Lines:
        """Whole rows of a JSONL file from ``offset`` on, and the next offset [bytes]."""
        return read_lines(self.path / name, offset)

    def follow(self, name: str) -> Follower:
        """A reader that remembers its place and tells when a resumed run has cut the file."""
        return Follower(self.path / name)

    def metrics(self) -> list[dict[str, Any]]:
        """One row a step, oldest first."""
        return self._rows(METRICS, metric_rows)

    def samples(self) -> list[dict[str, Any]]:
        """The texts sampled so far."""
        return self._rows(SAMPLES, answer_rows)

    def tokens(self) -> list[dict[str, Any]]:
        """A few answers of some updates, token by token: what the microscope shows."""
        return self.tail(TOKENS).rows

    def events(self) -> list[dict[str, Any]]:
        """What happened: commands done, alarms, warnings, checkpoints."""
        return self._rows(EVENTS, event_rows)

    def _rows(
        self, name: str, rows_of: Callable[[list[bytes]], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        return [row for lines, _ in blocks(self.path / name) for row in rows_of(lines)]

    def answer(self, command_id: str) -> dict[str, Any] | None:
        """The event that answers a command, or None while it waits."""
        answers = [row for row in self.events() if row.get("id") == command_id]
        return answers[-1] if answers else None

    def data_rows(self) -> Iterator[dict[str, Any]]:
        """The rows the run works on, read as they are needed.

        Raises:
            RunError: the file is damaged, or one of its rows is longer than a line may be.
        """
        path = self.path / DATA
        try:
            with open_plain(path) as packed, gzip.open(packed, "rb") as file:
                while line := file.readline(LONGEST_LINE + 1):
                    if len(line) > LONGEST_LINE:
                        raise DataError(f"a row has more than {LONGEST_LINE:,} bytes")
                    yield json.loads(line)
        except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
            raise RunError(
                f"{DATA} cannot be read to its end: {first_line(error)}",
                where=str(path),
                fix="put the file back from a copy, or start the run again with fresh=True",
            ) from error

    def checkpoints(self) -> list[Checkpoint]:
        """Complete checkpoints, newest last."""
        try:
            inside = list((self.path / "checkpoints").glob("step-*"))
        except OSError:
            return []
        return sorted(
            Checkpoint(int(match[1]), path)
            for path in inside
            if (match := re.fullmatch(r"step-(\d{1,15})", path.name)) and os.path.isdir(path)
        )

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines of log.txt."""
        try:
            with open_plain(self.path / LOG) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return text.replace("\r", "\n").rstrip().splitlines()[-lines:]


def starting_status(heartbeat: float | None = None) -> dict[str, Any]:
    """The status of a run whose process has not spoken yet."""
    return {
        "state": "starting",
        "step": 0,
        "total_steps": None,
        "pid": None,
        "heartbeat": time.time() if heartbeat is None else heartbeat,
        "error": None,
    }


def _seconds_since(then: float) -> float:
    """How long ago it was; for ever, where it is dated further ahead than clocks differ."""
    seconds = time.time() - then
    return seconds if seconds > -MOST_AHEAD else float("inf")


_heard: dict[Path, tuple[float, float, bool]] = {}
"""A remote run's heartbeat, since when it is that by our clock, and whether it has moved on."""


def _beats(path: Path, heartbeat: float) -> bool | None:
    """Whether another machine's heartbeat goes on, by our own clock; None where it is not known."""
    now = time.monotonic()
    last, since, moved = _heard.get(path, (heartbeat, now, False))
    if heartbeat != last:
        since, moved = now, heartbeat > last
    _heard[path] = heartbeat, since, moved
    if now - since >= REMOTE_PATIENCE:
        return False
    return moved or None


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        "there is something of this name already",
        where=str(path),
        fix="give another name, or move the folder away",
    )
