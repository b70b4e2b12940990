"""Build the sample data: the texts, pairs and prompts of the sample world, from one seed.

    python sample_data/build.py                build everything
    python sample_data/build.py --texts-only   build the text files and manifest.json
    python sample_data/build.py --check        are the text files what this script makes

The text files are the same bytes on every machine; the manifest holds what was measured on them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:  # run as a script, before anything is installed
    sys.path.insert(0, str(HERE.parent))

from answer_mix import draw_answer, draw_degenerate, draw_slip, draw_with_choice  # noqa: E402
from dice import Dice  # noqa: E402
from prose import write_text  # noqa: E402

from workbench.world.grammar import REQUEST_KINDS, ListSubject, Request, requests  # noqa: E402
from workbench.world.judge import TAU, gold_score, slip_chance  # noqa: E402

SEED = 20
TEXTS = 7000
ANSWERS_EACH = {"explain": 4, "list": 4, "self": 8, "harm": 4}  # instructions per prompt
PAIRS_TRAIN, PAIRS_HELDOUT, UNLABELLED = 15000, 2400, 400
SLIPS = 0.08  # share of list pairs in which one side has a slip of the kind models make
HELDOUT = {"explain": 84, "list": 72, "self": 36, "harm": 72}  # combinations kept back
PPO = {"explain": 320, "list": 260, "self": 108, "harm": 260}
KIND_SHARES = {"explain": 0.33, "list": 0.25, "self": 0.16, "harm": 0.26}  # of the pairs
DEGENERATE = 0.045  # share of pairs in which one side is degenerate
WRONG_KEPT = 0.05  # of the answers with a wrong fact: a labeller is not asked to look facts up
SMALLEST_MARGIN = 0.12  # a person could not tell smaller differences in gold apart

Row = dict[str, Any]


def split(dice: Dice) -> tuple[list[Request], list[Request]]:
    """Keep combinations of wording and subject back; return (seen, held out)."""
    seen: list[Request] = []
    heldout: list[Request] = []
    for kind in REQUEST_KINDS:
        mixed = dice.shuffled([r for r in requests() if r.kind == kind])
        heldout += mixed[: HELDOUT[kind]]
        seen += mixed[HELDOUT[kind] :]
    return seen, heldout


class PairMaker:
    """Draws pairs of answers to seen prompts, no two pairs alike."""

    def __init__(self, seen: list[Request], dice: Dice) -> None:
        self.dice = dice
        self.by_kind = {kind: tuple(r for r in seen if r.kind == kind) for kind in REQUEST_KINDS}
        self.used: set[tuple[str, frozenset[str]]] = set()

    def draw(self) -> tuple[Request, str, str]:
        """Draw a prompt and two answers whose gold scores differ enough, in random order."""
        while True:
            pool = self.by_kind[self.dice.weighted(KIND_SHARES)]
            request = self.dice.pick(pool)
            first = self._answer(request)
            if isinstance(request.subject, ListSubject) and self.dice.chance(SLIPS):
                second = draw_slip(request.subject, self.dice)
            elif self.dice.chance(DEGENERATE):
                second = draw_degenerate(request, pool, self.dice)
            else:
                second = self._answer(request)
            key = (request.text, frozenset((first, second)))
            margin = abs(gold_score(request.text, first) - gold_score(request.text, second))
            if first == second or margin < SMALLEST_MARGIN or key in self.used:
                continue
            self.used.add(key)
            if self.dice.chance(0.5):
                first, second = second, first
            return request, first, second

    def _answer(self, request: Request) -> str:
        """An answer from the mix; one with a wrong fact or item is mostly drawn again."""
        while True:
            answer, choice = draw_with_choice(request, self.dice)
            if choice != "wrong" or self.dice.chance(WRONG_KEPT):
                return answer


def labelled(maker: PairMaker) -> Row:
    """Draw one pair and let the noisy labeller judge it."""
    request, better, worse = maker.draw()
    margin = gold_score(request.text, better) - gold_score(request.text, worse)
    if margin < 0:
        better, worse = worse, better
    if maker.dice.chance(slip_chance(abs(margin))):
        better, worse = worse, better
    return {"instruction": request.text, "chosen": better, "rejected": worse}


def unlabelled(maker: PairMaker) -> Row:
    """Draw one pair for a person to judge."""
    request, first, second = maker.draw()
    return {"prompt": request.text, "responses": [first, second]}


def instructions(seen: list[Request], dice: Dice) -> list[Row]:
    """Answer every seen prompt several times, from the mix."""
    rows = [
        {"instruction": r.instruction, "input": r.input, "output": draw_answer(r, dice)}
        for r in seen
        for _ in range(ANSWERS_EACH[r.kind])
    ]
    return dice.shuffled(rows)


def prompts_for_ppo(seen: list[Request], dice: Dice) -> list[Row]:
    """Choose prompts of each kind, all different."""
    chosen: list[Request] = []
    for kind in REQUEST_KINDS:
        chosen += dice.sample([r for r in seen if r.kind == kind], PPO[kind])
    return [{"prompt": r.text} for r in dice.shuffled(chosen)]


def all_rows() -> dict[str, list[Row]]:
    """Make the rows of every text file, by file name."""
    seen, heldout = split(Dice(SEED))
    maker = PairMaker(seen, Dice(SEED + 1))
    texts = Dice(SEED + 2)
    return {
        "texts.jsonl": [{"text": write_text(texts, seen)} for _ in range(TEXTS)],
        "instructions.jsonl": instructions(seen, Dice(SEED + 3)),
        "pairs_train.jsonl": [labelled(maker) for _ in range(PAIRS_TRAIN)],
        "pairs_heldout.jsonl": [labelled(maker) for _ in range(PAIRS_HELDOUT)],
        "unlabelled.jsonl": [unlabelled(maker) for _ in range(UNLABELLED)],
        "prompts_ppo.jsonl": prompts_for_ppo(seen, Dice(SEED + 4)),
        "prompts_heldout.jsonl": [{"prompt": r.text} for r in Dice(SEED + 5).shuffled(heldout)],
    }


def _share(hits: Iterable[bool]) -> float:
    values = list(hits)
    return round(sum(values) / len(values), 4)


def measure_pairs(rows: list[Row]) -> Row:
    """Measure the noise rate (labels against the judge) and how often the longer answer won."""
    margins = [
        gold_score(r["instruction"], r["chosen"]) - gold_score(r["instruction"], r["rejected"])
        for r in rows
    ]
    lengths = [(len(r["chosen"].split()), len(r["rejected"].split())) for r in rows]
    return {
        "noise_rate": _share(margin < 0 for margin in margins),
        "longer_wins": _share(c > j for c, j in lengths if c != j),
    }


def measure_gold(rows: list[Row]) -> dict[str, float]:
    """Mean gold of the instruction data, for each kind of prompt and for all rows."""
    kinds = {(r.instruction, r.input): (r.kind, r.text) for r in requests()}
    scores: dict[str, list[float]] = {kind: [] for kind in (*REQUEST_KINDS, "all")}
    for row in rows:
        kind, text = kinds[row["instruction"], row["input"]]
        for name in (kind, "all"):
            scores[name].append(gold_score(text, row["output"]))
    return {kind: round(sum(values) / len(values), 4) for kind, values in scores.items()}


def _as_bytes(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def text_files() -> dict[str, bytes]:
    """Make every text file and the manifest, by file name."""
    rows = all_rows()
    files = {name: _as_bytes(content) for name, content in rows.items()}
    manifest = {
        "seed": SEED,
        "counts": {name: len(content) for name, content in rows.items()},
        "tau": TAU,
        "pairs_train": measure_pairs(rows["pairs_train.jsonl"]),
        "pairs_heldout": measure_pairs(rows["pairs_heldout.jsonl"]),
        "mean_gold": measure_gold(rows["instructions.jsonl"]),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    return files | {"manifest.json": text.encode()}


def build_texts(out: Path) -> None:
    """Write every text file and the manifest into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in text_files().items():
        (out / name).write_bytes(content)


def check(out: Path) -> list[str]:
    """Name the text files in ``out`` that are missing or not byte for byte what is made here."""
    return [
        name
        for name, content in text_files().items()
        if not (out / name).is_file() or (out / name).read_bytes() != content
    ]


def main(arguments: list[str] | None = None) -> int:
    """Build or check, as asked on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build the sample data.")
    parser.add_argument("--check", action="store_true", help="only compare the text files")
    parser.add_argument("--texts-only", action="store_true", help="leave the models as they are")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    options = parser.parse_args(arguments)
    if options.check:
        differing = check(options.out)
        for name in differing:
            sys.stderr.write(f"{name}: not what build.py makes; run `build.py --texts-only`\n")
        return 1 if differing else 0
    build_texts(options.out)
    if not options.texts_only:
        from weights import build_weights  # beside this script; loads torch

        build_weights(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
