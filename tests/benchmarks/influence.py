"""Whether the labels that ``wb.influence`` blames are those that were turned round.

``python tests/benchmarks/influence.py`` turns 50 of 2,000 labels of the sample world's noiseless
judge: all are of one kind, chosen answers with ``PHRASE``, as if an annotator always marked it
down. A reward model learns them. It is asked about held-out pairs, each counted by how wrong the
model is on it: all of them, those it gets wrong, those of the kind. It is trained again without
the first 100 pairs blamed, and beside that without 100 drawn by lot and on the labels as they were
(some minutes a seed). Last, how long a question takes with 15,000 training pairs. It writes
results.json and its table in RESULTS.md. The method and the kind were chosen on seed 0: of six
kinds the model took over the labels of two, and withstood those of the others.
"""

import argparse
import json
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

from record import machine, record, tell

import workbench as wb
from workbench.verbs.train import finished

PHRASE = "I can explain a word instead."
PAIRS, TURNED, BLAMED, FOUND, REGAINED, SEEDS = 2000, 50, 100, 35, 2 / 3, (1, 2, 3)
MANY, SECONDS = 15_000, 10
ASKED = {
    "heldout": "held-out pairs, each by how wrong it is",
    "wrong": "held-out pairs it gets wrong, alone",
    "kind": "held-out pairs of the kind",
}
NAMES = {
    "clean": "labels as the judge gave them",
    "turned": f"{TURNED} turned round",
    "heldout": f"those, without the first {BLAMED} blamed for the {ASKED['heldout']}",
    "kind": f"those, without the first {BLAMED} blamed for the {ASKED['kind']}",
    "control": f"those, without {BLAMED} drawn by lot",
}


def judged(name: str) -> list[dict]:
    """2,000 rows of a sample file as the noiseless judge labels them, without its ties."""
    rows = []
    for pair in wb.load_pairs(f"sample:{name}"):
        gold = [wb.gold_score(pair.prompt, answer[0]["content"]) for answer in pair.responses]
        if gold[0] != gold[1]:
            sides = pair.responses if gold[0] > gold[1] else pair.responses[::-1]
            rows.append({"prompt": pair.prompt, "chosen": sides[0], "rejected": sides[1]})
    return rows[:PAIRS]


def turned_round(rows: list[dict], which: set[int]) -> list[dict]:
    """The rows, some with their answers changed for each other."""
    return [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} if at in which else row
        for at, row in enumerate(rows)
    ]


def trained(rows: list[dict], heldout: list[dict], where: Path, seed: int) -> tuple:
    """A reward run, and the held-out pairs that it gets wrong."""
    settings = {"holdout": 0.0, "evaluate_every": 0, "device": "cpu", "threads": 1, "seed": seed}
    run = finished(wb.train_reward("builtin:tiny-chat", rows, name=str(where), **settings))
    prompts = [row["prompt"] for row in heldout]
    sides = [[row[s][0]["content"] for row in heldout] for s in ("chosen", "rejected")]
    scores = wb.score(run, prompts * 2, sides[0] + sides[1])
    size = len(heldout)
    return run, [row for at, row in enumerate(heldout) if scores[at] <= scores[at + size]]


def measured(rows: list[dict], heldout: list[dict], seed: int, root: Path) -> dict:
    """Turned labels among those blamed, and how often the reward models are right."""
    lots = random.Random(seed)
    which = set(lots.sample([at for at, row in enumerate(rows) if of_kind(row)], TURNED))
    false = turned_round(rows, which)
    ids = wb.load_pairs(false).ids()
    run, wrong = trained(false, heldout, root / f"turned-{seed}", seed)
    lot = set(lots.sample(range(len(rows)), BLAMED))
    kept = {"clean": rows, "control": [row for at, row in enumerate(false) if at not in lot]}
    found = {}
    asked = {"heldout": heldout, "wrong": wrong, "kind": list(filter(of_kind, heldout))}
    for name, targets in asked.items():
        named = {ids.index(one) for one in wb.influence(run, targets).blamed(BLAMED).ids()}
        found[name] = len(which & named)
        if name in NAMES:
            kept[name] = [row for at, row in enumerate(false) if at not in named]
    missed = {"turned": wrong}
    for name, some in kept.items():
        missed[name] = trained(some, heldout, root / f"{name}-{seed}", seed)[1]
    return {
        "found": found,
        "missed": {name: len(rows) for name, rows in missed.items()},
        "of_kind": {name: sum(map(of_kind, rows)) for name, rows in missed.items()},
        "kind": len(asked["kind"]),
    }


def question_seconds(root: Path) -> dict[str, float]:
    """How long the first question about an answer takes with 15,000 training pairs; the second."""
    rows = [row for name in ("pairs_train", "pairs_heldout") for row in judged(name)]
    many = [
        {**row, "prompt": [{"role": "user", "content": f"{n} {row['prompt'][0]['content']}"}]}
        for n in range(-(-MANY // len(rows)))
        for row in rows
    ][:MANY]
    run = trained(many, rows[:1], root / "many", 0)[0]
    seconds = []
    for n in range(2):
        start = time.monotonic()
        told = wb.influence(run, prompt=rows[n]["prompt"], response="I will not help with that.")
        seconds.append(round(time.monotonic() - start, 1))
    return {"pairs": len(told.rows), "first": seconds[0], "next": seconds[1]}


def of_kind(row: dict) -> bool:
    """Whether the chosen answer says the phrase."""
    return PHRASE in row["chosen"][0]["content"]


def right(figures: dict, name: str, part: str) -> tuple[float, float]:
    """Of all held-out pairs, or those of the kind, the share it is right on; half its interval."""
    seeds = figures["seeds"]
    count = sum(PAIRS if part == "missed" else one["kind"] for one in seeds)
    share = 1 - sum(one[part][name] for one in seeds) / count
    return share, 1.96 * math.sqrt(share * (1 - share) / count)


def regained(figures: dict, name: str, part: str) -> float:
    """The share of the accuracy lost, over all seeds, that leaving the blamed pairs out regains."""
    clean, turned, own = (right(figures, each, part)[0] for each in ("clean", "turned", name))
    return (own - turned) / (clean - turned)


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    found = []
    if fmean(one["found"]["heldout"] for one in figures["seeds"]) < FOUND:
        found.append(f"fewer than {FOUND} of the turned labels are among the first {BLAMED}")
    if regained(figures, "heldout", "of_kind") < REGAINED:
        found.append("less than two thirds of the accuracy lost on the kind is regained")
    if figures["question"]["next"] > SECONDS:
        found.append(f"a question takes over {SECONDS} s")
    return found


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    seeds = figures["seeds"]
    lines = ["| which labels did this | measured | promised |", "|---|---|---|"]
    for part, words in (
        ("of_kind", "held-out pairs of the kind"),
        ("missed", "all held-out pairs"),
    ):
        for name, on in NAMES.items():
            share, error = right(figures, name, part)
            lines.append(f"| right of {words}, {on} | {share:.1%} ± {error:.1%} | |")
    for name, words in ASKED.items():
        counts = ", ".join(str(one["found"][name]) for one in seeds)
        asked = name == "heldout"
        lines.append(
            f"| of the {TURNED} turned labels, among the first {BLAMED} blamed for the {words} | "
            f"{counts} | {f'on average ≥ {FOUND}' if asked else ''} |"
        )
        if name in NAMES:
            lines.append(
                f"| of the accuracy lost on the kind, regained without those {BLAMED} | "
                f"{regained(figures, name, 'of_kind'):.0%} | "
                f"{f'≥ {REGAINED:.0%}' if asked else ''} |"
            )
    first, question = seeds[0], figures["question"]
    lines += [
        f"| a question about an answer, {question['pairs']:,} training pairs | "
        f"{question['next']:.1f} s | ≤ {SECONDS} s |",
        f"| the first question, which takes the pairs' gradients | {question['first']:.1f} s | |",
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"{PAIRS:,} pairs and as many held-out ones, labelled by the noiseless judge; turned: "
            f"{TURNED} pairs whose chosen answer says “{PHRASE}”. The method and this kind were "
            f"chosen on seed 0, where the model took over the labels of two of six kinds and "
            f"withstood those of the others (0 to 12 of about 50 held-out pairs wrong). With seed "
            f"{SEEDS[0]} it gets {first['missed']['turned']} held-out pairs wrong, "
            f"{first['of_kind']['turned']} of them of the kind, which has {first['kind']}. Seeds: "
            f"{', '.join(map(str, SEEDS))}; ±: the 95 % interval over the pairs. Another order of "
            f"the same labels moves the accuracy on all pairs by about as much. Reward models of "
            f"`builtin:tiny-chat`. Machine: {figures['machine']}, Python {figures['python']}; "
            f"commit {figures['commit']}, {figures['date']}. Written by "
            f"`tests/benchmarks/influence.py`.",
        ]
    )


def main() -> int:
    """Measure, print, and write down what was found."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows, heldout = judged("pairs_train"), judged("pairs_heldout")
    with tempfile.TemporaryDirectory() as folder:
        seeds = [measured(rows, heldout, seed, Path(folder)) for seed in SEEDS]
        figures = {"seeds": seeds, "question": question_seconds(Path(folder)), **machine()}
    print(json.dumps(figures))
    print(table(figures))
    record({"influence": figures})
    tell("influence", table(figures))
    for words in failures(figures):
        print(words, file=sys.stderr)
    return 1 if failures(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
