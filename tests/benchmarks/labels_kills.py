"""Labels against sudden death: a labelling process is killed again and again, at any moment.

``python tests/benchmarks/labels_kills.py --kills 200`` prints one JSON object: kills, labels
acknowledged, of these lost, labels stored twice, stores that did not open clean, the longest wait
from a key to its acknowledgement. It exits with 1 where anything was lost.

One process labels without a pause through a ``LabelSession`` and says each event's id down a pipe
when ``choose`` has returned. The parent writes down what it hears, and sends SIGKILL 0 to 50 ms
after a random label. The next process goes on in the same store, as after a power cut.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from labelling import keep

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.labels import LabelStore

MANY = 200  # kills; a smaller number is a trial, and is not written down
ITEMS = 400  # to label; when all are labelled the process begins again, as another person
CHOICES = ("left", "right", "tie", "both_bad")


def table() -> Pairs:
    """Items of about two kilobytes."""

    def said(role: str, text: str) -> list[Any]:
        return [{"role": role, "content": text}]

    return Pairs.from_items(
        Pair.make(
            said("user", f"question {n}"),
            [said("assistant", f"{word} {n} " + "x" * 900) for word in ("one", "other")],
        )
        for n in range(ITEMS)
    )


def work(path: str, trial: int, pipe: Connection) -> None:
    """Label for ever; say each event's id, and how long it took, when it is acknowledged."""
    pairs, store, done = table(), LabelStore(path), 0
    pipe.send(("ready", 0.0))
    while True:
        session = LabelSession(pairs, store, annotator=f"p{trial} {done}", overlap=None)
        while (shown := session.current()) is not None:
            session.upcoming(7)
            ident = f"t{trial}-{done}"
            start = time.perf_counter()
            session.choose(CHOICES[done % 4], event_id=ident, token=shown.token)
            pipe.send((ident, time.perf_counter() - start))
            done += 1


def kill_once(path: Path, trial: int, draw: random.Random) -> list[tuple[str, float]]:
    """Start a labelling process, kill it, and return what it had acknowledged."""
    context = multiprocessing.get_context("forkserver")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(str(path), trial, its), daemon=True)
    process.start()
    its.close()
    heard: list[tuple[str, float]] = []
    assert mine.recv()[0] == "ready"
    for _ in range(draw.randint(1, 40)):
        heard.append(mine.recv())
    time.sleep(draw.uniform(0.0, 0.050))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    while True:  # what it had said before it died is in the pipe
        try:
            heard.append(mine.recv())
        except (EOFError, OSError):
            break
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return heard


def opens_clean(path: Path) -> bool:
    """Whether the store opens, is whole, and each event is about an item that it holds."""
    with LabelStore(path) as store:
        store.pairs(ties="keep")
    db = sqlite3.connect(path)
    whole = db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    orphans = "SELECT COUNT(*) FROM events WHERE item_id NOT IN (SELECT id FROM items)"
    whole = whole and db.execute(orphans).fetchone() == (0,)
    db.close()
    return whole


def kills(count: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill ``count`` times; return the figures."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([Path(__file__).stem])
    path, draw = folder / "labels.sqlite", random.Random(seed)
    heard: list[tuple[str, float]] = []
    unclean = 0
    for trial in range(count):
        heard += kill_once(path, trial, draw)
        unclean += not opens_clean(path)
    with LabelStore(path) as store:
        stored = [event.event_id for event in store.event_list()]
    acknowledged = {ident for ident, _ in heard}
    return {
        "kills": count,
        "acknowledged": len(heard),
        "lost": len(acknowledged.difference(stored)),
        "doubled": len(stored) - len(set(stored)),
        "unacknowledged": len(set(stored) - acknowledged),
        "unclean": unclean,
        "slowest_ms": round(1000 * max(took for _, took in heard), 1),
    }


def main() -> int:
    """Run it; 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = kills(asked.kills, Path(folder), asked.seed)
    print(json.dumps(found))
    if asked.kills >= MANY:
        keep("kills", found)
    broken = found["lost"] or found["doubled"] or found["unclean"]
    return int(bool(broken) or found["unacknowledged"] > asked.kills)


if __name__ == "__main__":
    sys.exit(main())
