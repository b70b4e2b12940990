"""What the run folder costs a PPO run: the same updates with it and without, ``make bench``.

``python tests/benchmarks/overhead.py`` trains the embedded model with a reward model that was not
trained, in turns: as a run does, every event written and controls read at each safe point; and as
a bare generator whose events are dropped. Same seed, so the same work. It prints a table and
writes results.json; ``--pairs N`` sets how often.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import ppo_made as made
from peers import child
from record import machine, record, tell

PAIRS, UPDATES, FROM = 5, 12, 2  # CPU is counted after the first updates
LIMIT = 2.0  # [%]
SIDES = ("folder", "bare")


def train(side: str, folder: Path) -> dict:
    """CPU seconds of the updates after the first, and what was written."""
    made.alone()
    import workbench as wb
    from workbench import child as process
    from workbench.events import Place, Progress
    from workbench.runs import attach_or_create
    from workbench.settings import PPOSettings
    from workbench.training.ppo import ppo

    settings = PPOSettings(steps=UPDATES, device="cpu", threads=1)
    prompts = [{"prompt": p} for p in wb.load_prompts("sample:prompts_ppo")]
    inputs = {"reward": str(judge(folder, settings)), "judge": "none"}
    config = {"model": "builtin:tiny-chat", "inputs": inputs, "settings": settings.to_dict()}
    laps: list[float] = []

    class Watched(ppo.PPOTrainer):
        def train_step(self):
            laps.append(time.process_time())
            return super().train_step()

    ppo.PPOTrainer = Watched
    run = attach_or_create(folder, "ppo", side, config, prompts).folder
    if side == "folder":
        assert process.run_training(run) == 0
        assert len(run.metrics()) == UPDATES
    else:
        given = [row["prompt"] for row in prompts]
        seen = ppo.PPOTrainer(
            config["model"], inputs["reward"], given, settings, Place(run.path)
        ).run()
        steps = sum(isinstance(event, Progress) for event in seen)
        assert steps == UPDATES
    spent = laps[-1] - laps[FROM]
    return {"cpu_seconds": spent / (UPDATES - 1 - FROM), "kb": size(run.path) / 1e3 / UPDATES}


def judge(folder: Path, settings) -> Path:
    """A reward model on the same base, without training; made once."""
    from workbench.models.base import load_base
    from workbench.models.roles import Roles
    from workbench.models.source import resolve

    place = folder / "judge"
    if not place.exists():
        roles = Roles(load_base(resolve("builtin:tiny-chat"), settings), settings)
        roles.add("role", trainable=False, seed=5)
        roles.add_head("role", trainable=False, seed=5)
        roles.save("role", place, task="SEQ_CLS", extra={"kind": "reward"})
        (place / "reward.json").write_text(json.dumps({"mean": 0.0, "std": 1.0}))
    return place


def size(run: Path) -> int:
    """Bytes of the files that grow with the steps."""
    return sum(file.stat().st_size for file in run.glob("*.jsonl"))


def measure(pairs: int) -> dict:
    """Both sides in turns, each in a process of its own; the order changes from pair to pair."""
    found: dict[str, list[dict]] = {side: [] for side in SIDES}
    for pair in range(pairs):
        for side in SIDES if pair % 2 else reversed(SIDES):
            with tempfile.TemporaryDirectory() as folder:
                found[side].append(child(sys.executable, "overhead.py", "--side", side, folder))
        print({side: round(rows[-1]["cpu_seconds"], 4) for side, rows in found.items()}, flush=True)
    cost = [
        100 * (with_["cpu_seconds"] / bare["cpu_seconds"] - 1)
        for with_, bare in zip(found["folder"], found["bare"], strict=True)
    ]
    return {
        "percent": round(statistics.median(cost), 3),
        "each": [round(one, 3) for one in cost],
        "update_cpu_seconds": round(
            statistics.median(row["cpu_seconds"] for row in found["bare"]), 4
        ),
        "kb_an_update": round(found["folder"][-1]["kb"], 2),
        "about": machine(),
    }


def table(figures: dict) -> str:
    """The figures in Markdown."""
    about = figures["about"]
    each = ", ".join(f"{one:+.2f}" for one in figures["each"])
    return "\n".join(
        [
            "| PPO, the embedded model | measured | promised |",
            "|---|---|---|",
            "| the run folder and its controls: the trainer's CPU-seconds above a bare run | "
            f"{figures['percent']:.2f} % | ≤ {LIMIT:g} % |",
            "",
            f"Median of {len(figures['each'])} pairs ({each} %), updates of "
            f"{figures['update_cpu_seconds']:.2f} CPU-seconds, {figures['kb_an_update']:.1f} kB "
            f"written an update. Machine: {about['machine']}, Python {about['python']}; commit "
            f"{about['commit']}, {about['date']}. Written by `tests/benchmarks/overhead.py`.",
        ]
    )


def main() -> int:
    """Measure, print, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("folder", nargs="?", type=Path)
    asked = parser.parse_args()
    if asked.side:
        os.environ["WORKBENCH_LOCKS"] = str(asked.folder / "locks")
        print("\n" + json.dumps(train(asked.side, asked.folder)))
        return 0
    figures = measure(asked.pairs)
    print(json.dumps(figures, indent=2), table(figures), sep="\n\n")
    record({"overhead": figures})
    tell("overhead", table(figures))
    if figures["percent"] > LIMIT:
        print(f"the run folder costs {figures['percent']} %, not at most {LIMIT} %")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
