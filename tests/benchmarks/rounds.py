"""What a second round is worth: new labels against the same extra updates without them.

``python tests/benchmarks/rounds.py`` runs three seeds (about a quarter of an hour) and writes
results.json and its table in RESULTS.md; ``--seeds 0`` runs one and only prints; ``--found LOG …``
takes what such runs have printed.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from record import machine, record, tell

import workbench as wb
from workbench.verbs.batch import before_and_after
from workbench.verbs.train import finished

SEEDS = (0, 1, 2)
PROMPTS = 200
MODEL = "builtin:tiny-chat"
FIRST = 48  # pairs of the first round: few, so that there is room to rise
NEW = 256  # pairs of the second one
REWARD = {"epochs": 8.0, "holdout": 0.0, "evaluate_every": 0}
PPO = {"steps": 20, "watch_every": 0}
GAIN, MOST_KL = 0.03, 5.0


def both(place: Path, seed: int) -> dict:
    """Two rounds and the control of one seed; mean gold and KL on the same held-out prompts."""
    os.environ["WORKBENCH_RUNS"] = str(place)
    pairs = wb.load_pairs("sample:pairs_train")[seed * FIRST : (seed + 1) * FIRST]
    reward = finished(wb.train_reward(MODEL, pairs, name="reward-1", seed=seed, **REWARD))
    ppo = {**PPO, "seed": seed}
    first = finished(wb.train_ppo(MODEL, reward, "sample:prompts_ppo", name="ppo-1", **ppo))
    store = wb.LabelStore(place / "labels.sqlite")
    drawn = wb.next_round(first, store, pairs=NEW, seed=seed, name="round-2")
    labelled = wb.gold_labels(drawn.pairs, store, seed=seed)
    second = finished(drawn.train())
    again = {**ppo, "seed": seed + 1}  # as the round's own
    control = finished(
        wb.train_ppo(first, reward, "sample:prompts_ppo", name="control", reference=MODEL, **again)
    )
    rows = before_and_after(
        [MODEL, first, second, control],
        wb.load_prompts("sample:prompts_heldout")[:PROMPTS],
        with_kl=True,
        seed=seed + 100,
    )
    names = ("sft", "first", "second", "control")
    found = {"seed": seed, "labelled": labelled, "old_agrees": drawn.figures()["old_agrees"]}
    for place_in_row, name in enumerate(names):
        answers = [row["answers"][place_in_row] for row in rows]
        found[f"gold_{name}"] = fmean(answer["gold"] for answer in answers)
        found[f"kl_{name}"] = fmean(answer["kl"] for answer in answers)
    print(json.dumps(found), flush=True)
    return found


def means(runs: list[dict]) -> dict:
    """The mean over seeds of every figure."""
    return {name: fmean(run[name] for run in runs) for name in runs[0] if name != "seed"}


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    mean = means(figures["seeds"])
    found = []
    if mean["gold_second"] - mean["gold_control"] < GAIN:
        found.append(f"round two is not {GAIN} above the control")
    if mean["kl_second"] > MOST_KL:
        found.append(f"round two is further than {MOST_KL} nats from the SFT model")
    return found


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    rows = [(f"seed {run['seed']}", run) for run in figures["seeds"]]
    if len(rows) > 1:
        rows.append(("**mean**", means(figures["seeds"])))
    lines = [
        "| gold score on held-out prompts | SFT | round one | control: as many updates, no new "
        "labels | round two | KL to SFT, nats | new labels that the first reward model had right |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {run['gold_sft']:.3f} | {run['gold_first']:.3f} | {run['gold_control']:.3f} "
        f"| {run['gold_second']:.3f} | {run['kl_second']:.2f} | {run['old_agrees']:.0%} |"
        for name, run in rows
    ]
    about = figures["about"]
    lines += [
        "",
        f"{PROMPTS} prompts, one answer each. Round one: {FIRST} labels, {PPO['steps']} PPO "
        f"updates; round two: {NEW} pairs drawn by `wb.next_round`, labelled through a "
        f"`LabelSession` with the sample data's slip rate, and as many updates again. Machine: "
        f"{about['machine']}, Python {about['python']}; commit {about['commit']}, "
        f"{about['date']}. Written by `tests/benchmarks/rounds.py`.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--found", nargs="+", type=Path, metavar="LOG", help="of earlier runs")
    asked = parser.parse_args()
    if asked.found:
        return told(asked.seeds, [run for path in asked.found for run in read(path)])
    with tempfile.TemporaryDirectory() as folder:
        place = asked.keep or Path(folder)
        runs = []
        for seed in asked.seeds:
            (place / f"seed{seed}").mkdir(parents=True, exist_ok=True)
            runs.append(both(place / f"seed{seed}", seed))
    return told(asked.seeds, runs)


def read(log: Path) -> list[dict]:
    """The figures that a run has printed, a line a seed."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def told(seeds: list[int], runs: list[dict]) -> int:
    """Write and say what was found."""
    runs = [run for seed in seeds for run in runs if run["seed"] == seed]
    figures = {"about": machine(), "seeds": runs}
    if tuple(run["seed"] for run in runs) == SEEDS:
        record({"rounds": figures})
        tell("rounds", table(figures))
    else:
        print(table(figures))
    found = failures(figures)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
