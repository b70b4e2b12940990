"""What a view needs of one run folder: read once, then only what is new. No widgets, no page."""

import math
import threading
import time
from array import array
from bisect import bisect_right
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from workbench.progress import estimate_words, phase_words
from workbench.runs import RunFolder
from workbench.runs.alarms import alarms
from workbench.runs.file_rules import MOST_METRICS, control_rows, event_rows
from workbench.runs.folder import CONTROL, EVENTS, LIVE, METRICS, SAMPLES
from workbench.runs.launcher import within_root
from workbench.runs.metric_table import MetricTable, read_on
from workbench.runs.verdict import Verdict, verdict
from workbench.settings import KINDS, PERSON_ASKED
from workbench.widgets.kit.why_score import reward_of, why_question
from workbench.widgets.kit.wire import outgoing
from workbench.widgets.run_panel.curves import MOST_POINTS, charts_for, charts_to_come, downsample
from workbench.widgets.run_panel.guides import guides_now
from workbench.widgets.run_panel.watched_prompts import WatchedPrompts

FILES = (METRICS, SAMPLES, EVENTS, CONTROL)
RECENT = 30  # steps that the time left is estimated from
SELDOM = 500  # steps in which a phase is looked for that comes only now and then
NOTED = ("warning", "alarm", "saved", "finished", "refused", "dropped")
LISTED = 200  # newest events that travel
MOST_EVENTS = 20_000  # newest rows of events and of commands that are held
_ROWS_OF = {EVENTS: event_rows, CONTROL: control_rows}
SILENT = 20.0  # seconds without a heartbeat that are worth a word


class RunFeed:
    """A run folder as numbered rows.

    Metric rows are numbered from 0. :attr:`epoch` grows when a resumed run has cut its files, or
    a reading of them was interrupted: the numbers start again then, and a page that holds rows of
    an earlier epoch asks for all.
    Every method may be called from any thread.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.config = folder.config()
        self.kind = str(self.config["kind"])
        self.epoch = 0
        self._lock = threading.RLock()
        self._rung: tuple[tuple[int, int, int], list[dict[str, Any]]] = ((-1, 0, 0), [])
        self._begin()

    def _begin(self) -> None:
        self._metrics, self._samples = (self.folder.follow(name) for name in (METRICS, SAMPLES))
        self._others = {name: self.folder.follow(name) for name in _ROWS_OF}
        self._rows: dict[str, deque[dict[str, Any]]] = {}
        self._damaged = dict.fromkeys(_ROWS_OF, 0)
        for name in _ROWS_OF:
            self._rows[name] = deque(maxlen=MOST_EVENTS)
        self._watched = WatchedPrompts(self.folder.path / SAMPLES)
        self._table = MetricTable()

    @property
    def _columns(self) -> "dict[str, array[float]]":
        return self._table.columns

    # --- reading --------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what was written since the last call."""
        with self._lock:
            try:
                self._read_on()
            except BaseException:  # the cell was interrupted: its lines are read, and nowhere yet
                self.epoch += 1
                self._begin()
                raise

    def _read_on(self) -> None:
        if self._metrics.was_cut():
            self.epoch += 1
            self._table = MetricTable()
        self._table = read_on(self._table, self._metrics)
        if self._samples.was_cut():
            self._watched = WatchedPrompts(self._samples.path)
        for block in self._samples.blocks():
            self._watched.take(block)
        self._watched.look()
        for name, follower in self._others.items():
            if follower.was_cut():
                self._rows[name].clear()
                self._damaged[name] = 0
            for block in follower.blocks():
                rows = _ROWS_OF[name](block.lines)
                self._damaged[name] += len(block.lines) - len(rows)
                self._rows[name].extend(rows)

    def stamp(self) -> tuple[int, ...]:
        """Changes when something was written: cheap enough to ask ten times a second."""
        return tuple(_size(self.folder.path / name) for name in FILES)

    @property
    def count(self) -> int:
        """How many metric rows have been read."""
        return self._table.count

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics seen so far that hold at least one number."""
        with self._lock:
            return [name for name, column in self._columns.items() if not _empty(column)]

    def column(self, name: str) -> list[float]:
        """One metric, a value a row; NaN where a row has none."""
        with self._lock:
            return list(self._columns.get(name, ()))

    # --- what a page shows -----------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """What never changes; ``address`` is what ``wb.open_run`` finds the run by."""
        return {
            "name": self.folder.name,
            "kind": self.kind,
            "model": outgoing(within_root(str(self.config.get("model", "")))),
            "address": within_root(self.folder.path),
            "paid": self._paid(),
            "explains": reward_of(self.config) is not None,
        }

    def _paid(self) -> str:
        """What a PPO run is paid by, in a word; empty for other runs."""
        reward = reward_of(self.config)
        return "" if reward is None else outgoing(Path(reward).name)

    def status(self) -> dict[str, Any]:
        """State, step, time left [s], and what a failed run says of itself."""
        status = self.folder.status()
        live = status["state"] in LIVE
        asks = live and status.get("phase") == PERSON_ASKED  # how long that takes, nobody knows
        phases, seldom = self._phases()
        step = max(int(status["step"] or 0), self._last_step())  # status.json may lag by a second
        facts = {
            "state": status["state"],
            "live": live,
            "step": step,
            "total": status["total_steps"],
            "left": self._time_left(step, status, seldom) if live and not asks else None,
            "now": phase_words(status),
            "estimate": "" if asks else estimate_words(status),
            "seconds": None if live else self._time_taken(),
            "silent": _silence(status["heartbeat"]) if live else 0,
            "phases": phases,
            "seldom": seldom,
            "memory": self._newest("memory/peak_gb", 1),
            "memory_of": {"cpu": "process", None: "run"}.get(self._resolved("device"), "GPU"),
        }
        if status["state"] == "failed":
            checkpoints = self.folder.checkpoints()
            facts["error"] = outgoing(str(status["error"] or "no reason was written"))
            facts["log"] = [outgoing(line[:400]) for line in self.folder.log_tail(12)]
            facts["checkpoint"] = checkpoints[-1].step if checkpoints else None
        return facts

    def _last_step(self) -> int:
        with self._lock:
            steps = self._columns.get("step")
            return int(steps[-1]) if steps else 0

    def _newest(self, name: str, count: int = 10) -> float | None:
        """Mean of a metric's newest figures; None where it has none."""
        with self._lock:
            return _mean_of_last(np.array(self._columns.get(name, array("d"))), count)

    def _phases(self) -> tuple[dict[str, float], dict[str, tuple[float, int]]]:
        """Seconds that a step takes of late, and those of what is done only now and then.

        The first by phase, the whole (``step``) among them, without what is in the second: by
        phase its seconds, and the number of steps from one time to the next (0: there was one).
        """
        with self._lock:
            tails = {
                name.removeprefix("time/"): np.array(column[-SELDOM:])
                for name, column in self._columns.items()
                if name.startswith("time/")
            }
        whole, seldom = tails.pop("step", None), dict[str, tuple[float, int]]()
        for name, seconds in list(tails.items()):
            at = np.flatnonzero(np.isfinite(seconds))
            every = int(np.median(np.diff(at))) if len(at) > 1 else 0
            if every > 1 or (len(at) == 1 < len(seconds)):
                tails.pop(name)
                seldom[name] = float(f"{seconds[at[-3:]].mean():.3g}"), every
                whole = None if whole is None else whole - np.nan_to_num(seconds)
        if whole is not None:
            tails["step"] = whole
        means = {name: _mean_of_last(seconds, 10) for name, seconds in tails.items()}
        return {name: mean for name, mean in means.items() if mean is not None}, seldom

    def _time_left(
        self, step: int, status: dict[str, Any], seldom: dict[str, tuple[float, int]]
    ) -> float | None:
        """Median duration of the last steps times the steps to go; a pause hardly moves it.

        What is done only now and then is added by how often it comes. Before there are two steps
        it goes by what an update is thought to take.
        """
        total = status["total_steps"]
        with self._lock:
            gaps = _gaps(self._columns.get("time", array("d"))[-RECENT - 1 :])
        usual = float(np.median(gaps)) if len(gaps) else status.get("update_seconds")
        if not total or usual is None:
            return None
        beside = sum(seconds / every for seconds, every in seldom.values() if every)
        return (usual + beside) * max(0, total - step)

    def _time_taken(self) -> float | None:
        """How long the steps took, without pauses and without the time that it lay dead."""
        with self._lock:
            gaps = _gaps(self._columns.get("time", array("d")))
        if not len(gaps):
            return None
        usual = float(np.median(gaps))
        return float(np.minimum(gaps, 20 * usual).sum()) + usual

    def verdict(self) -> Verdict:
        """How the run stands, in one sentence (``workbench.runs.verdict``)."""
        status = self.folder.status()
        with self._lock:
            facts = {**status, "step": max(int(status["step"] or 0), self._last_step())}
            names = {"name": str(self.header()["name"]), "model": str(self.header()["model"])}
            return verdict(self.kind, self._columns, self.alarms(), facts, **names)

    def guides(self) -> dict[str, Any]:
        """What the deciding curves are read against now (:func:`guides_now`)."""
        now = {change["name"]: change["value"] for change in self.changes()}
        with self._lock:
            return guides_now(self.kind, self._columns, {**self._settings(), **now})

    def _settings(self) -> dict[str, Any]:
        return self.config.get("settings") or {}

    def charts(self) -> list[dict[str, Any]]:
        """The charts of this run for the metrics seen so far; before any, those that decide."""
        charts = charts_for(self.kind, self.metrics) or charts_to_come(self.kind)
        return [chart.as_dict() for chart in charts]

    def curves(self, limit: int = MOST_POINTS) -> dict[str, dict[str, list[float]]]:
        """Every metric as ``{"x": steps, "y": values}``, gaps left out, thinned to ``limit``."""
        with self._lock:
            steps = self._columns.get("step", array("d"))
            return {
                name: _thinned(steps, column, limit)
                for name, column in self._columns.items()
                if name not in ("step", "time") and not _empty(column)
            }

    def rows_from(self, start: int) -> dict[str, Any]:
        """Metric rows from number ``start`` on, by column; None where a row has no value."""
        with self._lock:
            names = [n for n in self._columns if n not in ("step", "time")]
            cut = {name: [_figure(v) for v in self._columns[name][start:]] for name in names}
            return {
                "from": start,
                "steps": [int(v) for v in self._columns.get("step", array("d"))[start:]],
                "columns": {n: v for n, v in cut.items() if any(x is not None for x in v)},
            }

    def sample_steps(self) -> list[int]:
        """The steps at which the watched prompts were answered."""
        with self._lock:
            return list(self._watched.steps)

    def watched_before(self, step: int) -> int:
        """The index of the newest of :meth:`sample_steps` that is not behind ``step``, or 0."""
        with self._lock:
            return max(0, bisect_right(self._watched.steps, step) - 1)

    def samples(self, index: int = -1) -> dict[str, Any]:
        """The sample table at one of :meth:`sample_steps`: :meth:`WatchedPrompts.table`."""
        with self._lock:
            return self._watched.table(index)

    def rise(self) -> dict[str, Any] | None:
        """Why the watched answers' score rose: :meth:`WatchedPrompts.rise`."""
        with self._lock:
            return self._watched.rise()

    def two_answers(self, index: int, row: int, field: str) -> tuple[Any, str, str] | None:
        """What a row would ask a labeller: :meth:`WatchedPrompts.two_answers`."""
        with self._lock:
            return self._watched.two_answers(index, row, field)

    def events(self) -> list[dict[str, Any]]:
        """Warnings, alarms and what else is worth reading, oldest first."""
        with self._lock:
            rows = [row for row in self._rows[EVENTS] if row.get("kind") in NOTED]
        events = [
            {"step": row.get("step"), "kind": row["kind"], "text": outgoing(_event_text(row))}
            for row in rows[-LISTED:]
        ]
        return events + [{"step": None, "kind": "warning", "text": text} for text in self.faults()]

    def faults(self) -> list[str]:
        """What of the folder is not shown, and why; of most runs nothing."""
        with self._lock:
            damaged = {
                METRICS: self._table.damaged,
                SAMPLES: self._watched.damaged,
                **self._damaged,
            }
            faults = [
                f"{name}: {count:,} {'line is' if count == 1 else 'lines are'} damaged and left out"
                for name, count in damaged.items()
                if count
            ]
            if self._watched.unshown:
                faults.append(f"{SAMPLES}: {self._watched.unshown:,} answers more than are shown")
            if len(self._columns) >= MOST_METRICS:
                faults.append(f"{METRICS}: only the first {MOST_METRICS} metrics are read")
        return [outgoing(text) for text in (*self.folder.faults(), *faults)]

    def answers_at(self, index: int) -> list[dict[str, Any]]:
        """The sampled rows at one of :meth:`sample_steps`, as they were written."""
        with self._lock:
            return self._watched.rows(self._watched.steps[index] if self._watched.steps else None)

    def recent_mean(self, name: str, count: int = 10) -> float | None:
        """The mean of a metric's last ``count`` figures; None where it has none."""
        with self._lock:
            return self._table.recent_mean(name, count)

    def why_request(self, index: int, row: int) -> dict[str, Any]:
        """What the worker is asked about a row's score, at one of :meth:`sample_steps`."""
        return why_question(self.config, self.answers_at(index)[row])

    def alarms(self) -> list[dict[str, Any]]:
        """What rings, and after it what rang before (``workbench.runs.alarms``)."""
        with self._lock:
            known = self.epoch, self.count, len(self._watched.steps)
            if self._rung[0] != known:
                rung = alarms(self.kind, self._columns, self._watched.figures)
                self._rung = known, [alarm.as_dict() for alarm in rung[:LISTED]]
            return self._rung[1]

    def changes(self) -> list[dict[str, Any]]:
        """Settings that were changed while the run went on: ``{"step", "name", "value"}``."""
        changes: dict[tuple[int, str], Any] = {}
        with self._lock:
            for row in self._rows[EVENTS]:
                values = _changed_values(row)
                changes |= {(row.get("step") or 0, name): value for name, value in values.items()}
        return [{"step": s, "name": n, "value": v} for (s, n), v in sorted(changes.items())]

    def commands(self) -> list[dict[str, Any]]:
        """What was asked, and what became of it: answer None while it waits."""
        with self._lock:
            answers = {row["id"]: row for row in self._rows[EVENTS] if "id" in row}
            commands = [row for row in self._rows[CONTROL] if "id" in row]
        return [_command(row, answers.get(row["id"])) for row in commands[-20:]]

    def settings(self) -> list[dict[str, Any]]:
        """The settings that may change while it runs: value now, a slider's range, unit, help.

        One that is auto has no value and no range (None) until the model is loaded.
        """
        kind = KINDS.get(self.kind)
        if kind is None:
            return []
        now = {change["name"]: change["value"] for change in self.changes()}
        settings: list[dict[str, Any]] = []
        for row in kind.table():
            if not row["live"]:
                continue
            start, value = self._start(row), now.get(row["name"])
            waits = start is None and "resolved" not in self.config
            if not isinstance(start, float) and not waits:
                continue  # a slider holds a number
            kept = {key: row[key] for key in ("name", "unit", "low", "high", "help")}
            usable = isinstance(value, int | float)
            reach = None if start is None else _reach(start, row["low"], row["high"])
            value = value if usable else start
            settings.append({**kept, "start": start, "value": value, "range": reach})
        return settings

    def _start(self, row: dict[str, Any]) -> Any:
        """What a setting was at first; what the process made of it where it says auto."""
        start = (self.config.get("settings") or {}).get(row["name"], row["default"])
        return self._resolved(row["name"]) if start == "auto" else start

    def _resolved(self, name: str) -> Any:
        """What the process found or made of a setting; None until it has told."""
        if "resolved" not in self.config:
            self.config = self.folder.config()
        return (self.config.get("resolved") or {}).get(name)


def _reach(start: float, low: float | None, high: float | None) -> list[float]:
    """From a tenth to ten times what a setting was at first, within its bounds."""
    middle = start if start > 0 else 0.1
    least, most = low or 0.0, math.inf if high is None else high
    return [max(middle / 10, least), min(middle * 10, most)]


def _mean_of_last(values: np.ndarray, count: int) -> float | None:
    """Of the last rows, those that have a figure, to three digits; None where none has."""
    newest = values[-count:]
    newest = newest[np.isfinite(newest)]
    return float(f"{newest.mean():.3g}") if len(newest) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _silence(heartbeat: float | None) -> int:
    """Seconds without a heartbeat, in tens; 0 while it beats as it should."""
    seconds = time.time() - (heartbeat or 0.0)
    return int(seconds // 10 * 10) if seconds > SILENT else 0


def _gaps(times: "array[float]") -> np.ndarray:
    """Seconds between one row and the next; a clock that was set back counts as 0."""
    return np.maximum(np.diff(np.array(times)), 0.0)


def _empty(column: "array[float]") -> bool:
    return all(math.isnan(value) for value in column)


def _figure(value: float) -> float | None:
    """Six figures are more than a screen shows, and half the bytes."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _thinned(steps: "array[float]", column: "array[float]", limit: int) -> dict[str, list[float]]:
    x, y = np.array(steps), np.array(column)
    kept = np.isfinite(y)
    x, y = x[kept], y[kept]
    shown = downsample(y, limit)
    return {"x": x[shown].astype(int).tolist(), "y": [float(f"{v:.6g}") for v in y[shown]]}


def _changed_values(row: dict[str, Any]) -> dict[str, Any]:
    if row.get("kind") == "changed":
        return row.get("data") or {}
    if row.get("kind") == "done" and row.get("command") == "set":
        return row.get("values") or {}
    return {}


def _command(row: dict[str, Any], answer: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "command": str(row.get("command")),
        "values": row.get("values") or {},
        "answer": answer and answer["kind"],
        "step": answer and answer.get("step"),
        "why": answer and outgoing(str(answer.get("message") or "")),
    }


def _event_text(row: dict[str, Any]) -> str:
    if row["kind"] == "saved":
        return f"checkpoint written: {str(row.get('path', '')).rpartition('/')[2]}"
    if row["kind"] == "finished":
        how = "stopped as asked" if row.get("stopped") else "finished"
        return f"{how}; final/ is written"
    if row["kind"] in ("refused", "dropped"):
        return f"{row.get('command')} was {row['kind']}: {row.get('message', '')}"
    return str(row.get("message", ""))
