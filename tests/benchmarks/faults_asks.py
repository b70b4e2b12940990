"""What other people ask of a run: control files, lock folders, runs that were sent, races.

``python tests/benchmarks/faults_asks.py`` tries all four and prints what happened; ``faults.py``
calls :func:`control_files`, :func:`lock_attacks`, :func:`strangers_runs` and :func:`raced`. Nothing
here needs a model: what is started is a shell that sleeps.
"""

import json
import math
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from record import ROOT

sys.path.insert(0, str(ROOT))

from workbench.errors import RunError, WorkbenchError
from workbench.events import Finished, StopRequested
from workbench.json_lines import write_json
from workbench.runs import (
    FolderControls,
    FolderWriter,
    RunFolder,
    attach_or_create,
    devices,
    launcher,
    process,
    worker,
)
from workbench.runs import controls as controls_module
from workbench.runs.run import Run
from workbench.settings import PPOSettings

AT_ONCE = 4
ROUNDS = 200
HUGE = b"x" * (3 << 20)


def _set(**values: Any) -> bytes:
    return json.dumps({"id": "x", "command": "set", "values": values}).encode()


def _line(**row: Any) -> bytes:
    return json.dumps(row).encode()


CONTROL: dict[str, bytes] = {
    "text": b"stop",
    "binary": bytes(range(256)) * 40,
    "nul": b"\x00" * 100_000,
    "list": b"[1, 2]",
    "null": b"null",
    "nested": b"[" * 200_000,
    "nested-objects": b'{"id":' * 50_000,
    "half": b'{"id": "x", "command": "stop"',
    "no-id": _line(command="stop"),
    "id-list": _line(id=["x"], command="stop"),
    "id-object": _line(id={"x": 1}, command="stop"),
    "id-null": _line(id=None, command="stop"),
    "id-long": _line(id="x" * 5000, command="stop"),
    "line-of-megabytes": HUGE,
    "command-list": _line(id="x", command=["stop"]),
    "command-number": _line(id="x", command=7),
    "command-unknown": _line(id="x", command="dance"),
    "values-text": _line(id="x", command="set", values="abc"),
    "values-list": _line(id="x", command="set", values=[1]),
    "values-none": _set(),
    "stop-with-values": _line(id="x", command="stop", values={"at": 3}),
    "kl-text": _set(kl_coef="abc"),
    "kl-nan": _set(kl_coef=math.nan),
    "kl-infinite": _set(kl_coef=math.inf),
    "kl-negative": _set(kl_coef=-1),
    "kl-digits": b'{"id": "x", "command": "set", "values": {"kl_coef": 1' + b"0" * 400 + b"}}",
    "kl-list": _set(kl_coef=[0.1]),
    "kl-true": _set(kl_coef=True),
    "unknown-name": _set(no_such=1),
    "not-live": _set(batch_size=1),
    "temperature-zero": _set(temperature=0),
    "one-of-two": _set(kl_coef=0.2, temperature="hot"),
    "watch-negative": _set(watch_prompts=-3),
    "watch-odd": _set(watch_prompts=[[{"role": 3, "content": None}]]),
}
"""Lines of control.jsonl that are garbage, or ask for nonsense."""


@contextmanager
def places() -> Iterator[Path]:
    """Runs, locks and a key of their own."""
    names = ("RUNS", "LOCKS", "STATE")
    before = {name: os.environ.get(f"WORKBENCH_{name}") for name in names}
    with tempfile.TemporaryDirectory(prefix="workbench-faults-") as folder:
        for name in names:
            os.environ[f"WORKBENCH_{name}"] = str(Path(folder) / name.lower())
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(f"WORKBENCH_{name}", None)
                if value is not None:
                    os.environ[f"WORKBENCH_{name}"] = value


def _run(root: Path, name: str, **inputs: Any) -> RunFolder:
    settings = PPOSettings(kl_coef=0.1, device="cpu").to_dict()
    config = {"model": "builtin:tiny-chat", "inputs": inputs, "settings": settings}
    return attach_or_create(root / "runs", "ppo", name, config, [{"prompt": "a"}]).folder


def control_files() -> dict[str, Any]:
    """Write each line into the control file of a run that goes on, and a sound one behind it."""
    found: dict[str, Any] = {"tried": len(CONTROL), "told": 0, "ended": 0, "nonsense": 0}
    faults: list[str] = []
    controls_module.LOOK_EVERY = 0.0
    with places() as place:
        for name, line in CONTROL.items():
            folder = _run(place, name)
            with FolderWriter(folder) as writer:
                listen = FolderControls(folder, writer)
                with (folder.path / "control.jsonl").open("ab") as file:
                    file.write(line + b"\n" + _line(id="sound", command="save") + b"\n")
                try:
                    listen.safe_point()
                    changed = listen.changes(1)
                    saves = listen.save_requested()
                except (Exception, StopRequested) as error:
                    found["ended"] += 1
                    faults.append(f"{name}: ended by {type(error).__name__}")
                else:
                    answer = folder.answer("x")
                    refused = answer is not None and answer["kind"] == "refused"
                    if changed or not saves or not (refused or listen.garbage):
                        found["nonsense"] += 1
                        faults.append(f"{name}: {changed or answer}")
                    else:
                        found["told"] += 1
                writer(Finished(1, False))
    return {**found, "faults": faults}


def lock_attacks() -> dict[str, Any]:
    """A link in the place of a lock, a note that names a bystander, and one that says nothing."""
    faults: list[str] = []
    with places() as place:
        folder = _run(place, "run")
        victim = place / "victim"
        victim.write_text("keep me")
        lock = devices.lock_dir() / "cpu.lock"
        lock.symlink_to(victim)
        with suppress(RunError):
            os.close(devices.take_device("cpu", folder))
        if victim.read_text() != "keep me":
            faults.append("a link: the victim's file was overwritten")
        lock.unlink()
        bystander = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
        note = {"pid": bystander.pid, "started": process.start_time(bystander.pid)}
        write_json(devices.lock_dir() / "worker-1.json", note)
        worker.release()
        if bystander.poll() is not None:
            faults.append("a note: the bystander was signalled")
        bystander.kill()
        bystander.wait()
        (devices.lock_dir() / "worker-2.json").write_text("{}")
        try:
            launcher.start(folder, ["/bin/true"])
        except Exception as error:
            faults.append(f"a note without pid: {error!r}")
    return {"tried": 3, "refused": 3 - len(faults), "faults": faults}


class _Shell:
    """Unpickled, it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def strangers_runs() -> dict[str, Any]:
    """Resume a run whose function was swapped, lies elsewhere, or is imported from elsewhere."""
    faults: list[str] = []
    with places() as place:
        mark = place / "canary"
        (place / "evil.py").write_text(f"open({str(mark)!r}, 'w')\ndef f(p, r): return [0.0]\n")
        (place / "outside.pkl").write_bytes(pickle.dumps(_Shell(mark)))
        plain: dict[str, Any] = {"function": "f", "file": "reward.pkl", "source": "def f"}
        specs: dict[str, dict[str, Any]] = {
            "swapped": plain,
            "outside": {**plain, "file": "../../outside.pkl"},
            "imported": {"function": "evil:f", "path": str(place)},
        }
        for name, spec in specs.items():
            folder = _run(place, name)
            (folder.path / "reward.pkl").write_bytes(pickle.dumps(_Shell(mark)))
            inputs = {"reward": {"function": spec}, "judge": "none"}
            write_json(folder.path / "config.json", {**folder.config(), "inputs": inputs})
            write_json(folder.path / "status.json", {"state": "stopped"})
            refused = 0
            try:
                Run(folder).resume()
            except WorkbenchError:
                refused += 1
            child = [sys.executable, "-m", "workbench.child", str(folder.path)]
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(child, env=env, capture_output=True, text=True, timeout=120)
            refused += done.returncode == 1 and "made elsewhere" in done.stderr
            if refused != 2 or mark.exists():
                faults.append(f"{name}: {'ran code' if mark.exists() else 'was not refused'}")
                mark.unlink(missing_ok=True)
    return {"tried": 3, "refused": 3 - len(faults), "faults": faults}


# --- races


def _racer(begin: Any, asked: Any, said: Any, work: Callable[[int], Any]) -> None:
    while (number := asked.get()) is not None:
        begin.wait()
        try:
            said.put(work(number))
        except WorkbenchError as error:
            said.put(f"told: {error.what}")
        except Exception as error:
            said.put(f"raw: {error!r}")


def _race(work: Callable[[int], Any], rounds: int) -> list[list[Any]]:
    """Each round's answers of four processes that begin together."""
    context = multiprocessing.get_context("fork")
    begin, said = context.Barrier(AT_ONCE), context.Queue()
    asked = [context.Queue() for _ in range(AT_ONCE)]
    racers = [
        context.Process(target=_racer, args=(begin, each, said, work), daemon=True)
        for each in asked
    ]
    for racer in racers:
        racer.start()
    answers: list[list[Any]] = []
    for number in range(rounds):
        for each in asked:
            each.put(number)
        answers.append([said.get(timeout=60) for _ in racers])
    for each in asked:
        each.put(None)
    for racer in racers:
        racer.join()
    return answers


def raced(rounds: int = ROUNDS) -> dict[str, Any]:
    """One name, and one resume, wanted by four processes at once, round after round."""
    faults: list[str] = []
    with places() as place:

        def name(number: int) -> bool:
            config = {"model": "m", "inputs": {}, "settings": {}}
            root = place / "named" / str(number)
            return attach_or_create(root, "sft", "name", config, [{"n": number}]).created

        for number, answers in enumerate(_race(name, rounds)):
            if sorted(answers, key=str) != [False] * (AT_ONCE - 1) + [True]:
                faults.append(f"name, round {number}: {answers}")

        def folder_of(number: int) -> RunFolder:
            return RunFolder(place / "runs" / f"resumed-{number}")

        for number in range(rounds):
            folder = _run(place, folder_of(number).name)
            write_json(folder.path / "status.json", {"state": "stopped"})

        def resume(number: int) -> None:
            path = folder_of(number).path
            shell = ["/bin/sh", "-c", 'echo $$ >> "$0/started"; exec sleep 1', str(path)]
            Run(folder_of(number), shell).resume()

        for number, answers in enumerate(_race(resume, rounds)):
            time.sleep(0.05)
            started = folder_of(number).path / "started"
            processes = started.read_text().split() if started.exists() else []
            for _ in range(100):
                if processes:
                    break
                time.sleep(0.02)
                processes = started.read_text().split() if started.exists() else []
            odd = [
                each for each in answers if each is not None and not str(each).startswith("told")
            ]
            if len(processes) != 1 or odd:
                faults.append(f"resume, round {number}: {len(processes)} processes, {answers}")
    return {"tried": 2 * rounds, "one": 2 * rounds - len(faults), "faults": faults}


if __name__ == "__main__":
    found = [control_files(), lock_attacks(), strangers_runs(), raced()]
    print(json.dumps(found, indent=1))
    sys.exit(int(any(each["faults"] for each in found)))
