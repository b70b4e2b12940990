"""Hostile and damaged run folders: what is looked at breaks only itself, and runs nothing.

``python tests/benchmarks/faults_runs.py`` makes :data:`FOLDERS` in one root beside a sound run,
asks each of them :data:`OPERATIONS`, and prints how many answered, refused in our own words, raised
something raw, hung (``trials.py``) or ran code. ``faults.py`` calls :func:`run_folders`.
"""

import gzip
import json
import math
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from trials import PATIENCE, answers  # noqa: E402

FIRE = "window.__fired=1"
MARKUP = (
    f"</script><script>{FIRE}</script>",
    f"<img src=x onerror='{FIRE}'>",
    f'"><svg onload={FIRE}>',
    f"<a href='javascript:{FIRE}'>x</a>",
)
DEEP = 3000
Spoil = Callable[[Path], None]


class Shell:
    """Unpickled, it would run a shell command that leaves a file behind."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def _json(name: str, change: Callable[[dict[str, Any]], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        changed = change(values)
        (folder / name).write_text(json.dumps(values if changed is None else changed))

    return spoil


def config(**values: Any) -> Spoil:
    """Other values in config.json; None takes a name away, a name with a dot is one inside."""

    def change(known: dict[str, Any]) -> None:
        for name, value in values.items():
            place, _, inner = name.partition("__")
            if inner:
                known[place] = {**(known.get(place) or {}), inner: value}
            elif value is None:
                known.pop(place, None)
            else:
                known[place] = value

    return _json("config.json", change)


def status(**values: Any) -> Spoil:
    """Other values in status.json."""
    return _json("status.json", lambda known: known.update(values))


def text(name: str, content: str | bytes) -> Spoil:
    """Another content of a file."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


def more(name: str, *rows: Any) -> Spoil:
    """More lines of a file: JSON values, or texts as they are."""

    def spoil(folder: Path) -> None:
        with (folder / name).open("a") as file:
            for row in rows:
                file.write((row if isinstance(row, str) else json.dumps(row)) + "\n")

    return spoil


def instead(name: str, make: Callable[[Path], Any]) -> Spoil:
    """Something else where the file was."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def huge(name: str, size: int) -> Spoil:
    """A file with a hole in it: it takes no room, and reads as zeros."""
    return lambda folder: os.truncate(folder / name, size)


def nested(depth: int, word: str = "[") -> str:
    """A JSON text of so many lists within each other."""
    return word * depth + ("]" if word == "[" else "0") * depth


def gone(name: str) -> Spoil:
    """The file is not there."""
    return lambda folder: (folder / name).unlink()


def both(*spoils: Spoil) -> Spoil:
    """One after the other."""
    return lambda folder: [spoil(folder) for spoil in spoils] and None


def no_rights(name: str) -> Spoil:
    """Nobody may read it (root may; then it holds nothing of use either)."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(b"\x00\xff")
        (folder / name).chmod(0)

    return spoil


def marked_up(folder: Path) -> None:
    """Markup wherever a text can be."""
    sign = MARKUP[0] + MARKUP[1]
    config(
        model=sign, name=sign, created=sign, settings={sign: sign}, inputs={"reward": sign},
        hardware={"gpu": sign, "python": sign, "versions": {sign: sign}}, resolved={sign: sign},
    )(folder)  # fmt: skip
    status(state="failed", error=sign, step_word=sign)(folder)
    more("metrics.jsonl", *({"step": 900 + i, mark: 1.0} for i, mark in enumerate(MARKUP)))(folder)
    row = {"step": 12, "prompt": sign, "response": sign, "reference": sign, "score": sign}
    more("samples.jsonl", {**row, "tokens": [sign], "token_kl": [1.0]})(folder)
    event = {"kind": "warning", "message": sign, "step": 3, "path": sign}
    more("events.jsonl", event, {"kind": sign, "message": sign, "id": sign})(folder)
    more("control.jsonl", {"id": sign, "command": sign, "values": {sign: sign}})(folder)
    text("log.txt", sign)(folder)
    text("evaluation.json", json.dumps({sign: {sign: 1.0, "note": sign}}))(folder)
    with gzip.open(folder / "data.jsonl.gz", "wt") as file:
        file.write(json.dumps({sign: sign, "prompt": sign}))


def pickles(folder: Path) -> None:
    """Pickles that would run code, by every name that a trainer reads."""
    mark = str(folder.parent.parent / "canary")
    for name in ("reward.pkl", "data.pkl", "metrics.pkl", "summary.pkl"):
        (folder / name).write_bytes(pickle.dumps(Shell(mark)))
    config(inputs={"reward": {"function": {"function": "f", "file": "reward.pkl"}}})(folder)
    step = folder / "checkpoints" / "step-5"
    step.mkdir(parents=True)
    (step / "state.pt").write_bytes(pickle.dumps(Shell(mark)))
    final = folder / "final"
    final.mkdir()
    for name in ("adapter_model.bin", "head.pt", "training_args.bin"):
        (final / name).write_bytes(pickle.dumps(Shell(mark)))


def gzip_bomb(folder: Path) -> None:
    """One row of 300 MB in 300 kB."""
    with gzip.open(folder / "data.jsonl.gz", "wb") as file:
        file.write(b'{"prompt": "')
        for _ in range(300):
            file.write(b"a" * (1 << 20))
        file.write(b'"}\n')


def elsewhere(**values: Any) -> Spoil:
    """As if it ran on another machine just now."""

    def spoil(folder: Path) -> None:
        launched = time.time() - 3600
        record = {"pid": 1, "started": "1", "machine": "elsewhere", "launched": launched}
        known = {**record, "control_length": 0, "device": None, **values}
        (folder / ".process.json").write_text(json.dumps(known))
        status(state="running", heartbeat=time.time())(folder)

    return spoil


MONTH = 30 * 86400
NUMBERS = [10**400, -1, "many", [1], {"a": 1}, True, math.nan]
COLUMNS_OF_100_GB = {
    **{"length": 9, "metrics": 0, "columns": 0, "rows": (100 << 30) // 16, "damaged": 0},
    **{"names": ["step", "loss"], "order": "little"},
}
FOLDERS: dict[str, Spoil] = {
    # config.json
    "config-empty": text("config.json", ""),
    "config-blank": text("config.json", " \n\n"),
    "config-not-utf8": text("config.json", b"\xff\xfe{\x00"),
    "config-utf16": text("config.json", '{"kind": "ppo"}'.encode("utf-16")),
    "config-list": text("config.json", "[1, 2]"),
    "config-text": text("config.json", '"ppo"'),
    "config-null": text("config.json", "null"),
    "config-half": text("config.json", '{"kind": "ppo", "mod'),
    "config-deep-lists": text("config.json", '{"kind": "ppo", "settings": ' + nested(DEEP) + "}"),
    "config-deep-objects": text("config.json", '{"a":' * DEEP + "1" + "}" * DEEP),
    "config-deep-90": text("config.json", '{"kind": "ppo", "inputs": {"x": ' + nested(90) + "}}"),
    "config-no-kind": config(kind=None),
    "config-kind-number": config(kind=7),
    "config-kind-list": config(kind=["ppo"]),
    "config-kind-long": config(kind="p" * 100_000),
    "config-kind-unknown": config(kind="dpo"),
    "config-name-number": config(name=12),
    "config-model-list": config(model=["a"]),
    "config-model-long": config(model="m" * 5_000_000),
    "config-created-number": config(created=5),
    "config-data-text": config(data="all of it"),
    "config-data-list": config(data=[]),
    "config-rows-text": config(data__rows="many"),
    "config-rows-huge": config(data__rows=10**400),
    "config-rows-negative": config(data__rows=-5),
    "config-settings-list": config(settings=[1, 2]),
    "config-settings-garbage": config(settings={"kl_coef": "abc", "steps": {"a": []}, "": None}),
    "config-settings-nan": config(settings={"kl_coef": math.nan, "clip_range": math.inf}),
    "config-settings-many": config(settings={f"s{i}": i for i in range(20_000)}),
    "config-inputs-text": config(inputs="x"),
    "config-reward-odd": config(inputs={"reward": {"function": "f"}}),
    "config-reward-number": config(inputs={"reward": 3}),
    "config-reward-ensemble": config(inputs={"reward": {"ensemble": 9}}),
    "config-hardware-text": config(hardware="a card", resolved=[3]),
    "config-surrogates": text("config.json", '{"kind": "ppo", "model": "\\ud800\\udfff"}'),
    "config-40-mb": text("config.json", '{"kind": "ppo", "x": "' + "x" * 40_000_000 + '"}'),
    "config-digits": text("config.json", '{"kind": "ppo", "x": ' + "9" * 6000 + "}"),
    "config-fifo": instead("config.json", os.mkfifo),
    "config-folder": instead("config.json", os.mkdir),
    "config-loop": instead("config.json", lambda path: path.symlink_to(path.name)),
    "config-dangling": instead("config.json", lambda path: path.symlink_to("nowhere.json")),
    "config-device": instead("config.json", lambda path: path.symlink_to("/dev/zero")),
    "config-no-rights": no_rights("config.json"),
    "config-gone": gone("config.json"),
    # status.json
    "status-empty": text("status.json", ""),
    "status-fifo": instead("status.json", os.mkfifo),
    "status-state-list": status(state=["running"]),
    "status-state-unknown": status(state="dreaming"),
    "status-step-text": status(step="twelve"),
    "status-total-huge": status(total_steps=10**400),
    "status-error-object": status(state="failed", error={"a": 1}),
    "status-phase-odd": status(phase=3, phase_done="x", phase_total=[], phase_unit=None),
    "status-heartbeat-text": status(state="running", heartbeat="now"),
    "status-ahead-a-month": both(elsewhere(), status(heartbeat=time.time() + MONTH)),
    "status-behind-a-month": both(elsewhere(), status(heartbeat=time.time() - MONTH)),
    "launched-ahead": elsewhere(pid=None, launched=time.time() + MONTH),
    "no-process-ahead": both(
        gone(".process.json"), status(state="running", heartbeat=time.time() + MONTH)),
    "process-garbage": text(".process.json", '{"pid": "../1", "machine": 3, "launched": null}'),
    "process-fifo": instead(".process.json", os.mkfifo),
    # metrics.jsonl
    "metrics-binary": text("metrics.jsonl", os.urandom(200_000)),
    "metrics-no-newline": text("metrics.jsonl", '{"step": 1'),
    "metrics-steps-odd": more("metrics.jsonl", *({"step": n, "loss": 1.0} for n in NUMBERS)),
    "metrics-values-odd": more("metrics.jsonl", *({"step": 31, "loss": n} for n in NUMBERS)),
    "metrics-deep": more("metrics.jsonl", '{"step": 31, "loss": ' + nested(DEEP) + "}"),
    "metrics-lists": text("metrics.jsonl", "[1]\n3\nnull\n" * 1000),
    "metrics-infinite": more("metrics.jsonl", '{"step": 31, "objective/kl": 1e999}'),
    "metrics-names": more("metrics.jsonl", {"step": 31, **{f"m{i}": i for i in range(20_000)}}),
    "metrics-fifo": instead("metrics.jsonl", os.mkfifo),
    "metrics-loop": instead("metrics.jsonl", lambda path: path.symlink_to(path.name)),
    "metrics-device": instead("metrics.jsonl", lambda path: path.symlink_to("/dev/zero")),
    "metrics-folder": instead("metrics.jsonl", os.mkdir),
    "metrics-100-gb": huge("metrics.jsonl", 100 << 30),
    "metrics-backwards": text("metrics.jsonl", "".join(
        json.dumps({"step": 40 - i, "time": 1e9 - 1e6 * i, "objective/kl": i}) + "\n"
        for i in range(40))),
    "summary-garbage": text("summary.json", '{"length": 10, "figures": {"loss": [1]}}'),
    "summary-fifo": instead("summary.json", os.mkfifo),
    "summary-ahead": text("summary.json", json.dumps(
        {"length": 2**40, "check": 0, "rows": 1, "gaps": 0, "seconds": 0, "figures": {}})),
    "columns-garbage": text("metrics.columns", '{"length": 10, "rows": "x"}\n' + "y" * 1000),
    "columns-fifo": instead("metrics.columns", os.mkfifo),
    "columns-100-gb": both(
        text("metrics.columns", json.dumps(COLUMNS_OF_100_GB) + "\n"),
        huge("metrics.columns", (100 << 30) + len(json.dumps(COLUMNS_OF_100_GB)) + 1)),
    # samples.jsonl
    "samples-10-mb": more("samples.jsonl", {"step": 12, "prompt": "p", "response": "x" * 10**7}),
    "samples-60-mb-line": more("samples.jsonl", {"step": 12, "response": "y" * (60 << 20)}),
    "samples-odd": more(
        "samples.jsonl", {"step": 12}, {"step": "x", "response": "a"}, {"response": 3},
        {"step": 13, "prompt": {"a": [1]}, "response": [[["a"]]], "score": "s", "kl": math.nan},
        {"step": 13, "prompt": None, "response": None, "tokens": [1, 2], "token_kl": ["a", {}]},
    ),
    "samples-many": more("samples.jsonl", *({"step": 12, "prompt": str(i), "response": "a"}
                                            for i in range(20_000))),
    "samples-fifo": instead("samples.jsonl", os.mkfifo),
    # the others
    "events-odd": more(
        "events.jsonl", {"kind": 3}, {"kind": "done", "command": "set", "values": [1]},
        {"kind": "changed", "step": "x", "data": 4}, {"id": [1], "kind": "done"},
        {"kind": "done", "command": "set", "values": {"kl_coef": math.nan}}, {"kind": "warning"},
    ),
    "control-odd": more("control.jsonl", {"id": [1]}, {"id": {}, "command": 3}, {"id": "a"},
                        {"id": "b", "command": "set", "values": "x"}),
    "control-fifo": instead("control.jsonl", os.mkfifo),
    "log-fifo": both(status(state="failed", error="x"), instead("log.txt", os.mkfifo)),
    "evaluation-odd": text("evaluation.json", '{"a": 3, "b": {"x": [1], "y": 1e999}, "c": null}'),
    "data-no-gzip": text("data.jsonl.gz", "no gzip at all"),
    "data-cut": text("data.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 9999)[:60]),
    "data-no-json": text("data.jsonl.gz", gzip.compress(b"[1]\n3\n{\n")),
    "data-bomb": gzip_bomb,
    "checkpoints-file": lambda folder: (
        (folder / "checkpoints").rmdir(), (folder / "checkpoints").write_text("x"))[0],
    "checkpoints-odd": lambda folder: [
        (folder / "checkpoints" / f"step-{name}").mkdir() for name in ("abc", "9" * 200, "-1", "5")
    ] and None,
    "markup": marked_up,
    "pickles": pickles,
}  # fmt: skip


# --- what is asked of each ------------------------------------------------------------------------


def _row(folder: Path) -> dict[str, Any]:
    import workbench as wb

    table: Any = wb.runs().frame
    (row,) = table[table["path"] == str(folder)].to_dict("records")
    (sound,) = table[table["name"] == "sound"].to_dict("records")
    assert (sound["state"], sound["step"]) == ("finished", 30), sound
    return row


def _opened(folder: Path) -> Any:
    import workbench as wb

    return wb.open_run(folder)


def _wait(folder: Path) -> Any:
    return _opened(folder).wait(timeout=2.0, progress=False)


def _is_harmless(page: str) -> str:
    """HTML of ours in which no text of the folder has become markup."""
    for sign in ("<script>window.__fired", "<img src=x", "<svg onload", "<a href='javascript"):
        assert sign not in page, sign
    return page


def _shown(folder: Path) -> Any:
    import workbench as wb
    from workbench.widgets.all_runs.runs_view import RunsView

    view = RunsView(wb.runs())
    _is_harmless(view.picture())
    return _crosses(view._answer_page({"type": "poll"}))


def _picked(folder: Path) -> Any:
    import workbench as wb
    from workbench.widgets.all_runs.runs_view import RunsView

    view = RunsView(wb.runs())
    sound = str(folder.parent / "sound")
    news = _crosses(view._answer_page({"type": "pick", "addresses": [sound, str(folder)]}))
    view._answer_page({"type": "answers", "step": 5})
    return news


def _crosses(message: Any) -> Any:
    """A message that a page can read: strict JSON in UTF-8."""
    json.dumps(message, allow_nan=False, ensure_ascii=False).encode("utf-8")
    return message


def _panel(folder: Path) -> Any:
    from workbench.widgets.run_panel.panel import RunPanel

    panel = RunPanel(folder)
    try:
        whole = _crosses(panel._answer_page({"type": "ready"}))
        _crosses(panel._answer_page({"type": "poll", "epoch": 0, "rows": 3, "seen": {}}))
        _crosses(panel._answer_page({"type": "samples", "index": 0}))
        return whole["rows"]
    finally:
        panel.close()


def _picture(folder: Path) -> str:
    from workbench.widgets.run_panel.panel import RunPanel

    panel = RunPanel(folder)
    try:
        return _is_harmless(panel.picture())
    finally:
        panel.close()


def _report(folder: Path) -> Any:
    import workbench as wb

    path = wb.report(str(folder), folder.parent.parent / "reports" / f"{folder.name}.html")
    return _is_harmless(Path(path).read_text(encoding="utf-8").partition("<script>")[0])


OPERATIONS: dict[str, Callable[[Path], Any]] = {
    "runs": _row,
    "runs as text": lambda folder: repr(__import__("workbench").runs()),
    "table": _shown,
    "compare": _picked,
    "open": lambda folder: repr(_opened(folder)),
    "status": lambda folder: _opened(folder).status,
    "wait": _wait,
    "metrics": lambda folder: _opened(folder).metrics(),
    "samples": lambda folder: _opened(folder).samples(),
    "events and alarms": lambda folder: (_opened(folder).events(), _opened(folder).alarms()),
    "panel": _panel,
    "picture": _picture,
    "report": _report,
}
"""What a person does with a run that came from elsewhere; each returns or refuses in our words."""


def ask(folder: Path, operation: str) -> str:
    """What an operation did: "answered", "told", or the raw exception."""
    from workbench.errors import WorkbenchError

    try:
        OPERATIONS[operation](folder)
    except WorkbenchError as error:
        return "told" if error.what and error.fix else f"a bare {error!r}"
    except Exception as error:
        return f"raw {type(error).__name__}: {str(error)[:200]}"
    return "answered"


def _worker(pipe: Any) -> None:
    """Ask what is sent, and answer with the outcome and the CPU seconds it took."""
    while (work := pipe.recv()) is not None:
        os.environ["WORKBENCH_RUNS"] = str(Path(work[0]).parent)
        began = time.process_time()
        pipe.send((ask(Path(work[0]), work[1]), time.process_time() - began))


class Asked:
    """A process that is asked; one that hangs is killed, and another takes its place."""

    def __init__(self, warm: Path) -> None:
        self._warm = warm
        self._child: Any = None

    def __call__(self, folder: Path, operation: str) -> tuple[str, float]:
        if self._child is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._child = context.Process(target=_worker, args=(other,), daemon=True)
            self._child.start()
            self._pipe.send((str(self._warm), "picture"))
            self._pipe.recv()  # all is imported
        self._pipe.send((str(folder), operation))
        if answers(self._pipe, self._child.pid):
            return self._pipe.recv()
        self.end()
        return "hung", PATIENCE

    def end(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.join()
        self._child = None


def make(root: Path) -> list[Path]:
    """The folders of :data:`FOLDERS`, each beside a sound run in a root of its own."""
    import made_runs

    from workbench.events import Finished
    from workbench.runs import FolderWriter

    sound = made_runs.create(root / "sound", "ppo", steps=30, kl_coef=0.05)
    with FolderWriter(sound) as writer:
        made_runs.write_steps(writer, "ppo", 1, 30, 30)
        writer(Finished(30, False))
    record = {"pid": 1, "started": "1", "machine": "elsewhere", "launched": time.time() - 3600}
    record |= {"control_length": 0, "device": None}
    (sound.path / ".process.json").write_text(json.dumps(record))
    folders: list[Path] = []
    for name, spoil in FOLDERS.items():
        for beside in ("sound", name):
            shutil.copytree(sound.path, root / "each" / name / beside)
        folders.append(root / "each" / name / name)
        config(name=name)(folders[-1])
        if not name.startswith("summary-"):  # as a folder from before there were summaries
            (folders[-1] / "summary.json").unlink()
        spoil(folders[-1])
    return folders


def run_folders() -> dict[str, Any]:
    """Make the folders, ask all of them everything.

    Returns:
        ``folders``, ``operations``, ``answered``, ``told``, ``raw``, ``hung``, ``ran_code``,
        ``slowest`` (CPU seconds of one operation), and ``faults``: one line for each operation
        that was raw, or hung.
    """
    counts: dict[str, Any] = {"folders": len(FOLDERS), "operations": 0, "answered": 0, "told": 0}
    faults: list[str] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory(prefix="workbench-faults-") as name:
        place = Path(name)
        os.environ["WORKBENCH_LOCKS"] = str(place / "locks")
        folders = make(place)
        asked = Asked(place / "sound")
        for folder in folders:
            for operation in OPERATIONS:
                counts["operations"] += 1
                outcome, seconds = asked(folder, operation)
                slowest = max(slowest, (seconds, f"{folder.name}: {operation}"))
                if outcome in counts:
                    counts[outcome] += 1
                else:
                    faults.append(f"{folder.name}: {operation}: {outcome}")
                    print(faults[-1], flush=True)
        asked.end()
        counts["ran_code"] = sum(1 for _ in place.rglob("canary"))
    counts["slowest"] = [round(slowest[0], 2), slowest[1]]
    counts["hung"] = sum(line.endswith(": hung") for line in faults)
    counts["raw"] = len(faults) - counts["hung"]
    return {**counts, "faults": faults}


def main() -> int:
    """Print what happened; an error where something was raw, hung or ran."""
    began = time.monotonic()
    counts = run_folders()
    counts.pop("faults")
    print({**counts, "seconds": round(time.monotonic() - began)})
    return int(bool(counts["raw"] or counts["hung"] or counts["ran_code"]))


if __name__ == "__main__":
    sys.exit(main())
