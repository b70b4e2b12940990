"""Label stores damaged at random bytes: each is told as damaged, or holds all that was saved.

``python tests/benchmarks/faults_store.py --stores 300`` prints one JSON object: stores damaged, of
these told (a DataError when opened or read), whole (everything there, and labelling goes on), raw
(another exception), lost (something missing or changed without a word), written (told, and yet the
file was changed), hung (no answer in 25 s). It exits with 1 unless all are told or whole.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from trials import PATIENCE, answers

from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

OUTCOMES = ("told", "whole", "raw", "lost", "written", "hung")


def made_pairs(count: int = 40) -> Pairs:
    """Items of some hundred bytes."""

    def said(role: str, text: str) -> list[Any]:
        return [{"role": role, "content": text}]

    return Pairs.from_items(
        Pair.make(
            said("user", f"question {n}"),
            [said("assistant", f"{word} {n} " + "é" * 150) for word in ("one", "other")],
        )
        for n in range(count)
    )


def made_store(path: Path) -> None:
    """A store with two people's labels, edits, skips, notes, flags and what was undone."""
    with LabelStore(path) as store:
        for who in ("ada", "bob"):
            session = LabelSession(made_pairs(), store, annotator=who, overlap=None)
            for n in range(30):
                session.note(f"note {n}") if n % 7 == 0 else session.flag()
                if n % 5 == 0:
                    session.edit("left", f"better {n}")
                else:
                    session.skip() if n % 11 == 0 else session.choose("right")
                if n % 9 == 0:
                    session.undo()
        store.send(made_pairs()[35], seen_in="a table")


def contents(path: Path) -> dict[str, Any]:
    """Everything that is read from a store."""
    with LabelStore(path) as store:
        assert repr(store)
        return {
            "events": store.event_list(),
            "items": list(store.items()),
            "labels": store.labels().to_dict("records"),
            "pairs": list(store.pairs(ties="keep")),
            "queue": store.queue().ids(),
            "people": store.annotators().to_dict("records"),
            "sides": [
                store.side(ident, who) for ident in made_pairs().ids() for who in ("ada", "bob")
            ],
            "counts": store.counts(),
        }


def damage(path: Path, draw: random.Random) -> str:
    """Change a few bytes at random, or lose the end or a page; return what was done."""
    data = bytearray(path.read_bytes())
    how = draw.choice(("bytes", "bytes", "bytes", "header", "run", "page", "end"))
    if how == "end":
        del data[draw.randrange(1, len(data)) :]
    elif how == "page":
        start = 4096 * draw.randrange(len(data) // 4096)
        data[start : start + 4096] = bytes(4096)
    elif how == "run":
        start = draw.randrange(len(data) - 64)
        data[start : start + 64] = draw.randbytes(64)
    else:
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(100 if how == "header" else len(data))] ^= draw.randint(1, 255)
    path.write_bytes(data)
    return how


def outcome(path: Path, before: dict[str, Any]) -> tuple[str, str]:
    """What becomes of a damaged store: one of OUTCOMES, and what was said."""
    damaged = path.read_bytes()
    try:
        found = contents(path)
        for name, value in found.items():
            if str(value) != str(before[name]):
                return "lost", name
        with LabelStore(path) as store:
            LabelSession(made_pairs(), store, annotator="cyd", overlap=None).choose("left")
        if contents(path)["events"][:-1] != before["events"]:
            return "lost", "after a label more"
    except DataError as error:
        return ("told" if path.read_bytes() == damaged else "written"), str(error)
    except Exception as error:
        return "raw", repr(error)
    return "whole", ""


def _work(pipe: Connection, folder: str, seed: int) -> None:
    made, path = Path(folder) / "made.sqlite", Path(folder) / "labels.sqlite"
    before = contents(made)
    while (trial := pipe.recv()) is not None:
        for file in path.parent.glob("labels.sqlite*"):
            file.unlink()
        shutil.copyfile(made, path)
        how = damage(path, random.Random(seed * 100_003 + trial))
        pipe.send((how, *outcome(path, before)))


def damaged_stores(count: int = 300, seed: int = 0) -> dict[str, Any]:
    """Damage so many stores, each in its own way; return how many came to what."""
    found: dict[str, Any] = {"stores": count, **dict.fromkeys(OUTCOMES, 0), "odd": []}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        made_store(Path(folder) / "made.sqlite")
        process, pipe = None, None
        for trial in range(count):
            if process is None or pipe is None:
                pipe, its = context.Pipe()
                process = context.Process(target=_work, args=(its, folder, seed), daemon=True)
                process.start()
            pipe.send(trial)
            how, result, said = "", "hung", ""
            if answers(pipe, process.pid or 0, PATIENCE + (60 if trial == 0 else 0)):
                how, result, said = pipe.recv()
            else:
                process.kill()
                process, pipe = None, None
            found[result] += 1
            if result not in ("told", "whole"):
                found["odd"].append([trial, how, result, said])
        if process is not None and pipe is not None:
            pipe.send(None)
            process.join()
    return found


def main() -> int:
    """Run it; 1 where a store lost something without a word, or was not told in our words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = damaged_stores(asked.stores, asked.seed)
    print(json.dumps(found))
    return int(found["told"] + found["whole"] != found["stores"])


if __name__ == "__main__":
    sys.exit(main())
