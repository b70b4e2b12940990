"""The run folder as a reader sees it: everything on screen is a view of these files."""

import gzip
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import ConfigError, RunError
from workbench.json_lines import (
    Follower,
    Lines,
    encode,
    new_lines,
    read_json,
    read_lines,
    write_json,
)
from workbench.runs import made_here, process

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
        """Whether there is a run here."""
        return (self.path / CONFIG).is_file() and (self.path / STATUS).is_file()

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
            RunError: there is no run in this folder.
        """
        values = read_json(self.path / CONFIG)
        if values is None:
            raise RunError(
                "this folder holds no run",
                where=str(self.path / CONFIG),
                fix="give the name or folder of a run; wb.runs() lists them",
            )
        return values

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
        """status.json as it stands, with every key."""
        written = read_json(self.path / STATUS) or {}
        return {**starting_status(heartbeat=0.0), **written}

    def _why_dead(self, status: dict[str, Any]) -> str | None:
        record = process.read_record(self.path)
        silence = time.time() - float(status["heartbeat"] or 0.0)
        if record is None:
            return None if silence < LAUNCH_PATIENCE else "its process was never started"
        if record.pid is None:
            waited = time.time() - record.launched
            return None if waited < LAUNCH_PATIENCE else "its process could not be started"
        if record.machine == process.machine():
            living = process.alive(record.pid, record.started)
            return None if living else process.how_it_ended(record.pid)
        if min(silence, time.time() - record.launched) < REMOTE_PATIENCE:
            return None
        return f"no sign of life for {silence:.0f} s from the other machine it ran on"

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
        return self.tail(METRICS).rows

    def samples(self) -> list[dict[str, Any]]:
        """The texts sampled so far."""
        return self.tail(SAMPLES).rows

    def tokens(self) -> list[dict[str, Any]]:
        """A few answers of some updates, token by token: what the microscope shows."""
        return self.tail(TOKENS).rows

    def events(self) -> list[dict[str, Any]]:
        """What happened: commands done, alarms, warnings, checkpoints."""
        return self.tail(EVENTS).rows

    def answer(self, command_id: str) -> dict[str, Any] | None:
        """The event that answers a command, or None while it waits."""
        answers = [row for row in self.events() if row.get("id") == command_id]
        return answers[-1] if answers else None

    def data_rows(self) -> Iterator[dict[str, Any]]:
        """The rows the run works on, read as they are needed."""
        with gzip.open(self.path / DATA, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def checkpoints(self) -> list[Checkpoint]:
        """Complete checkpoints, newest last."""
        return sorted(
            Checkpoint(int(match[1]), path)
            for path in (self.path / "checkpoints").glob("step-*")
            if (match := re.fullmatch(r"step-(\d+)", path.name)) and path.is_dir()
        )

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines of log.txt."""
        try:
            with (self.path / LOG).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
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


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        "there is something of this name already",
        where=str(path),
        fix="give another name, or move the folder away",
    )
