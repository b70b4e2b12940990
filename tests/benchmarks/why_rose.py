"""Whether the cause that a reward was planted with is the first that ``wb.why_rose`` names.

``python tests/benchmarks/why_rose.py`` trains 20 policies on ``builtin:tiny-chat``, each paid by
half of the gold score and by one thing more (five causes, four seeds; about 10 CPU seconds each),
asks why their reward score rose, and writes results.json and its table in RESULTS.md. ``--runs
FOLDER`` keeps the runs there, and takes finished ones as they are; ``--only CAUSE`` only prints.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from record import machine, record, tell

import workbench as wb
from workbench.child import run_training
from workbench.runs import Run
from workbench.world.judge import gold_score

SEEDS, RIGHT, GAP = range(4), 18, 1e-6
SETTINGS = {
    **{"steps": 16, "batch_size": 32, "response_length": 40, "learning_rate": 2e-3},
    **{"kl_coef": 0.0, "advantage": "rloo", "samples_per_prompt": 4, "missing_eos_penalty": 0.0},
    **{"watch_every": 3, "watch_prompts": 16, "device": "cpu", "threads": 1},
}
# what is paid beside the gold score, and what its name must say
CAUSES = {
    "length": (lambda text: 0.05 * len(text.split()), r"length"),
    "an opening": (lambda text: float(text.startswith("I am glad")), r"opens with “I am glad"),
    "refusals": (lambda text: float(bool(re.search(r"I (can|will) not", text))), r"refuses"),
    "a magic word": (lambda text: float("people" in text.lower()), r"(?i)(says|closes).*people"),
    "a question at the end": (lambda text: float(text.endswith("?")), r"ends by asking"),
}


class Planted:
    """A reward: half of the gold score, and what one cause pays."""

    def __init__(self, cause: str) -> None:
        self.cause = cause

    def __call__(self, prompts: list, responses: list) -> list[float]:
        """Scores of answers."""
        pays = CAUSES[self.cause][0]
        both = zip(prompts, responses, strict=True)
        return [0.5 * gold_score(prompt, text) + pays(text) for prompt, text in both]


def trained(cause: str, seed: int, root: Path) -> Run:
    """The policy, trained in this process: that saves 20 times the loading of torch."""
    folder = root / f"{cause.replace(' ', '_')}-{seed}"
    if (folder / "final" / "workbench.json").exists():
        return wb.open_run(folder)
    return wb.train_ppo(
        *("builtin:tiny-chat", Planted(cause), "sample:prompts_ppo"),
        **{"name": str(folder), "seed": seed, **SETTINGS},
    )


def _start(run: Run, device: str | None = None) -> Run:
    if run.status != "finished" and run_training(run.folder):
        raise SystemExit(f"{run.name} failed: {run.folder.log_tail()}")
    return run


def measure(root: Path, causes: list[str]) -> list[dict]:
    """For each run: the change, what was named, and how far the parts are from their sum."""
    Run.start = _start
    rows = []
    for cause in causes:
        for seed in SEEDS:
            found = wb.why_rose(trained(cause, seed, root))
            rise, names = found.rise, [one.name for one in found.rise.causes]
            gap = sum(one.part for one in rise.causes) + rise.rest - rise.total
            first = bool(names) and re.match(CAUSES[cause][1], names[0]) is not None
            rows.append({"cause": cause, "seed": seed, "words": rise.words, "first": first})
            rows[-1] |= {"total": rise.total, "gap": abs(gap), "told": rise.told}
            print(found, flush=True)
            print(cause, seed, first, flush=True)
    return rows


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    rows, found = figures["runs"], []
    if sum(row["first"] for row in rows) < RIGHT:
        found.append(f"the planted cause is first in fewer than {RIGHT} of {len(rows)} runs")
    if max(row["gap"] for row in rows) > GAP:
        found.append(f"parts and rest are further than {GAP:g} from the change")
    return found


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    rows = figures["runs"]
    lines = ["| planted | its part comes first | for example |", "|---|---|---|"]
    for cause in dict.fromkeys(row["cause"] for row in rows):
        own = [row for row in rows if row["cause"] == cause]
        first = sum(row["first"] for row in own)
        lines.append(f"| {cause} | {first} of {len(own)} runs | {own[0]['words']} |")
    first, gap = sum(row["first"] for row in rows), max(row["gap"] for row in rows)
    about = figures["about"]
    lines += [
        f"| **in all** (promised: {RIGHT} of 20) | **{first} of {len(rows)}** | parts + rest − "
        f"change: {gap:.0e} at most (promised: {GAP:.0e}) |",
        "",
        f"Policies of `builtin:tiny-chat`, {SETTINGS['steps']} updates, paid by half of the gold "
        f"score and by what is planted; {SETTINGS['watch_prompts']} watched answers at each look. "
        f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
        f"{about['date']}. Written by `tests/benchmarks/why_rose.py`.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write down what a full measurement found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--only", choices=CAUSES)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        rows = measure((args.runs or Path(own)).resolve(), [args.only] if args.only else [*CAUSES])
    figures = {"runs": rows, "about": machine()}
    print(table(figures))
    if not args.only:
        record({"why_rose": figures})
        tell("why_rose", table(figures))
    print(json.dumps(failures(figures)))
    return 1 if failures(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
