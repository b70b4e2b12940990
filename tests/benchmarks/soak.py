"""What is too long for every day: the loop for three seeds, and its control.

``python tests/benchmarks/soak.py`` runs it all (about half an hour) and writes results.json and its
table in RESULTS.md; ``--runs FOLDER …`` takes demos that were run before (``--control FOLDER``: a
control, too); ``--table`` only writes the table from results.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from record import RESULTS, ROOT, machine, record, tell

SEEDS = (0, 1, 2)


def demo(out: Path, *, seed: int, shuffled: bool = False) -> dict:
    """One whole loop; its summary."""
    command = [sys.executable, "-m", "workbench", "demo", "--out", str(out), "--seed", str(seed)]
    command += ["--shuffle-labels"] if shuffled else []
    subprocess.run(command, check=True, cwd=ROOT)
    return summary(out)


def summary(folder: Path) -> dict:
    """What a demo came to."""
    return json.loads((folder / "summary.json").read_text())


def failures(results: dict) -> list[str]:
    """Which promises of the demo do not hold in these figures."""
    found = []
    for run in results["seeds"]:
        seed = run["seed"]
        for name, holds in {
            "gold_sft in 0.40-0.60": 0.40 <= run["gold_sft"] <= 0.60,
            "gold_ppo at least 0.85": run["gold_ppo"] >= 0.85,
            "kl at most 5 nats": run["kl"] <= 5.0,
            "rm_accuracy within 2 points of rm_ceiling": run["rm_ceiling"] - run["rm_accuracy"]
            <= 0.02,
            "calibration error under 0.05": run["rm_ece"] < 0.05,
            "at most 6 minutes": run["seconds"] <= 360,
        }.items():
            found += [] if holds else [f"seed {seed}: {name} does not hold"]
    control = results.get("shuffled_labels")
    if control is None:
        return [*found, "the control was not run"]
    if not 0.45 <= control["rm_accuracy"] <= 0.55:
        found.append("control: accuracy is not chance")
    if control["gold_ppo"] - control["gold_sft"] > 0.05:
        found.append("control: gold rises")
    return found


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    lines = [
        "| the whole loop on `builtin:tiny-chat` | gold score before | after PPO | KL, nats "
        "| reward model agrees with held-out labels | a labeller without slips "
        "| its calibration error (95 % interval) | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(f"seed {run['seed']}", run) for run in results["seeds"]]
    if "shuffled_labels" in results:
        rows.append(("control: half of the labels turned", results["shuffled_labels"]))
    lines += [
        f"| {name} | {run['gold_sft']:.3f} | {run['gold_ppo']:.3f} | {run['kl']:.2f} "
        f"| {run['rm_accuracy']:.1%} | {run['rm_ceiling']:.1%} "
        f"| {run['rm_ece']:.3f} ({run['rm_ece_low']:.3f} to {run['rm_ece_high']:.3f}) "
        f"| {run['seconds']:.0f} |"
        for name, run in rows
    ]
    about = results["about"]
    prompts, pairs = results["seeds"][0]["prompts"], results["seeds"][0]["pairs"]
    lines += [
        "",
        f"{prompts} held-out prompts, one answer each at the training temperature; {pairs} "
        f"held-out pairs. Machine: {about['machine']}, Python {about['python']}; "
        f"commit {about['commit']}, {about['date']}. Written by `tests/benchmarks/soak.py`.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--runs", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--control", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.runs:
        runs = [summary(folder) for folder in asked.runs]
        control = None if asked.control is None else summary(asked.control)
        record({"about": machine(), "seeds": runs, "shuffled_labels": control})
    elif not asked.table:
        with tempfile.TemporaryDirectory() as folder:
            runs = [demo(Path(folder) / f"seed{seed}", seed=seed) for seed in SEEDS]
            control = demo(Path(folder) / "control", seed=0, shuffled=True)
        record({"about": machine(), "seeds": runs, "shuffled_labels": control})
    results = json.loads(RESULTS.read_text())
    tell("measured", table(results))
    found = failures(results)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
