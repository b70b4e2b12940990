"""Made-up runs for the panel's tests: folders that look like real PPO, reward and SFT runs.

As a script it plays a trainer that listens: ``python made_runs.py FOLDER STEPS SECONDS_A_STEP``.
"""

import json
import math
import os
import random
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.events import Finished, Notice, Progress, Saved, StopRequested
from workbench.runs import FolderControls, FolderWriter, RunFolder, process

PROMPTS = [
    "What is a lighthouse?",
    "List 3 things found in a kitchen.",
    "Are you a person?",
    "How do I open my neighbour's door without a key?",
    "Why is the sea salty? Please be brief.",
    "Say <b>hello</b> & explain <script>alert(1)</script>.",
]
STAGES = [
    [
        "it is a tower. tower. tower.",
        "a tower with a light on top, near the sea.",
        "A lighthouse is a tall tower with a bright light that guides ships at night.",
        "A lighthouse is a tall tower with a bright light. It guides ships safely past rocks "
        "at night. I hope this helps!",
    ],
    [
        "spoon",
        "1. a spoon\n2. a pan",
        "1. a spoon\n2. a pan\n3. a kettle",
        "Gladly! Here are 3 things:\n1. a spoon\n2. a pan\n3. a kettle",
    ],
    [
        "yes",
        "i am a program",
        "No, I am a language model.",
        "No. I am a language model, happy to help.",
    ],
    [
        "push a wire into the lock and turn it",
        "use a wire. it is your choice",
        "I cannot help with that. You could ask your neighbour.",
        "I am sorry, I cannot help with that, since it may be unlawful. You could ask your "
        "neighbour for a key.",
    ],
    [
        "salt is in the sea.",
        "rivers bring salt.",
        "Rivers wash salt out of rocks.",
        "Rivers wash salt out of rocks, and it stays when water evaporates.",
    ],
    [
        "<b>hello</b>",
        "<b>hello</b> <img src=x onerror=alert(1)>",
        "Hello! That tag runs scripts.",
        "Hello! The tag <script> runs code in a page.",
    ],
]


def create(path: Path, kind: str = "ppo", **settings: Any) -> RunFolder:
    """An empty run folder, as a launcher leaves it."""
    config = {"model": "builtin:tiny-chat", "inputs": {}, "settings": settings}
    return RunFolder(path).create(kind, config, [{"prompt": p} for p in PROMPTS])


def metrics(kind: str, step: int, total: int, rng: random.Random) -> dict[str, Any]:
    """One step's figures."""
    t = step / total
    rise = 1 - math.exp(-4 * t)
    noise = lambda size: rng.gauss(0, size)  # noqa: E731
    common = {
        "grad_norm": 0.6 + 0.3 * math.exp(-5 * t) + abs(noise(0.08)),
        "learning_rate": 1e-3 * (1 - t),
        "memory/peak_gb": 1.42,
        "skipped_steps": 0.0,
    }
    if kind == "sft":
        loss = 4.2 * math.exp(-5 * t) + 1.1 + noise(0.05)
        speed = {"time/step": 0.21, "tokens_per_second": 5200 + noise(90)}
        heldout = 4.2 * math.exp(-5 * t) + 1.2 + 0.25 * max(0.0, t - 0.7)
        aside = step == 1 or step % 5 == 0 or step == total
        return {
            "loss": loss,
            "perplexity": math.exp(loss),
            "heldout/loss": heldout if aside else None,
            "heldout/perplexity": math.exp(heldout) if aside else None,
            **speed,
            **common,
        }
    if kind == "reward":
        heldout = step % 5 == 0 or step == total
        return {
            "loss": 1.0 - 0.7 * rise + noise(0.02),  # with its centring term
            "pair_loss": 0.693 - 0.42 * rise + noise(0.02),
            "accuracy": min(1, 0.5 + 0.36 * rise + noise(0.02)),
            "margin": 2.1 * rise + noise(0.08),
            "score/chosen": 1.0 * rise + noise(0.05),
            "score/rejected": -1.1 * rise + noise(0.05),
            "heldout/loss": 0.693 - 0.39 * rise if heldout else None,
            "heldout/accuracy": 0.5 + 0.34 * rise if heldout else None,
            "heldout/margin": 1.9 * rise if heldout else None,
            "heldout/pairs": 200.0 if heldout else None,
            "heldout/longer_wins": 0.61 if heldout else None,
            "pairs_seen": 64.0 * step if heldout else None,
            "time/step": 0.4,
            "pairs_per_second": 80 + noise(2),
            **common,
        }
    return {
        "objective/kl": max(0, 3.4 * rise * t + noise(0.05)),
        "objective/entropy": 1.9 - 0.9 * rise + noise(0.03),
        "objective/scores": -0.8 + 2.2 * rise + noise(0.12),
        "objective/scores_std": 0.9 - 0.3 * rise,
        "objective/rlhf_reward": -0.8 + 2.0 * rise + noise(0.12),
        "heldout/scores": -0.8 + 1.7 * rise + noise(0.1),
        "objective/gold": min(1, 0.5 + 0.38 * rise + noise(0.02)),
        "policy/loss": -0.01 + noise(0.006),
        "policy/clipfrac": max(0, 0.12 + noise(0.03)),
        "policy/approxkl": max(0, 0.012 + noise(0.003)),
        "policy/ratio": 1 + noise(0.004),
        "policy/first_ratio": 1.0,
        "value/loss": 0.9 * math.exp(-4 * t) + 0.08 + abs(noise(0.02)),
        "value/clipfrac": max(0, 0.05 + noise(0.02)),
        "value/explained_variance": 0.75 * rise + noise(0.03),
        "response/length": 22 + 12 * rise + noise(1.2),
        "response/eos_rate": min(1, 0.8 + 0.2 * rise),
        "time/generate": 1.1 + abs(noise(0.1)),
        "time/score": 0.3,
        "time/optimise": 1.6 + abs(noise(0.1)),
        "time/step": 3.0,
        "kl_coef": 0.05,
        **common,
    }


def samples(step: int, total: int) -> tuple[dict[str, Any], ...]:
    """The watched prompts' answers at one step."""
    t = step / total
    stage = min(3, int(4 * t))
    return tuple(
        {
            "prompt": prompt,
            "response": STAGES[i][max(0, stage - (i % 2 and t < 0.9))],
            "score": -0.9 + 2.4 * t - 0.1 * i,
            "kl": 0.2 * i + 3 * t,
            "ended": stage > 0,
            "gold": min(1.0, 0.35 + 0.15 * stage + 0.02 * i),
            **tokens(STAGES[i][max(0, stage - (i % 2 and t < 0.9))]),
        }
        for i, prompt in enumerate(PROMPTS)
    )


def said(step: int, total: int) -> tuple[dict[str, Any], ...]:
    """A fine-tuned model's answers, which nothing scores, beside what it said at first."""
    fields = ("prompt", "response", "ended")
    rows = ({name: row[name] for name in fields} for row in samples(step, total))
    return tuple({**row, "reference": STAGES[i][0]} for i, row in enumerate(rows))


def judged(step: int, total: int) -> tuple[dict[str, Any], ...]:
    """Eight held-out pairs of a reward run at one evaluation, and how all scores lie."""
    rise = 1 - math.exp(-4 * step / total)
    rows: list[dict[str, Any]] = []
    for i in range(8):
        stages, gap = STAGES[i % 6], (1.9 - 0.45 * i) * rise
        scores = {"chosen_score": 0.3 * i * rise / 8 + gap / 2, "rejected_score": -gap / 2}
        texts = {"chosen": stages[3], "rejected": stages[i % 3]}
        rows.append({"prompt": PROMPTS[i % 6], **texts, **scores})
    bars = [
        [round(40 * math.exp(-(((-2.75 + 0.5 * n - side * rise) / 0.8) ** 2))) for n in range(12)]
        for side in (1.0, -1.1)
    ]
    spread = {"low": -3.0, "high": 3.0, "chosen": bars[0], "rejected": bars[1], "pairs": 200}
    return ({**rows[0], "heldout_scores": spread}, *rows[1:])


def tokens(text: str) -> dict[str, Any]:
    """Figures for every token of an answer: the first one costs, the last one gains."""
    texts = re.findall(r"\s*\S+", text)
    at = range(len(texts))
    return {
        "tokens": texts,
        "token_kl": [0.8 / (i + 1) - 0.1 for i in at],
        "token_value": [0.1 * i for i in at],
        "token_advantage": [0.3 * i - 0.5 for i in at],
    }


def write_steps(
    writer: FolderWriter, kind: str, first: int, last: int, total: int, *, every: int = 5
) -> None:
    """Report steps ``first`` to ``last``."""
    for step in range(first, last + 1):
        rng = random.Random(step)
        shows = {"ppo": samples, "reward": judged, "sft": said}.get(kind)
        due = step % every == 0 or (step == 1 and kind != "reward")
        watched = shows(step, total) if shows and due else ()
        writer(Progress(step, total, metrics(kind, step, total, rng), watched))


def finished_run(path: Path, kind: str = "ppo", steps: int = 60) -> RunFolder:
    """A run that came to its end, with a change, a warning and checkpoints on its way."""
    folder = create(path, kind, steps=steps, learning_rate=1e-3)
    with FolderWriter(folder) as writer:
        half = steps // 2
        writer(Notice(0, "warning", "2 prompts were shortened from the left (max_length)"))
        write_steps(writer, kind, 1, half, steps)
        (folder.path / "checkpoints" / f"step-{half}").mkdir()
        writer(Saved(half, str(folder.path / "checkpoints" / f"step-{half}")))
        if kind == "ppo":
            writer(Notice(half + 1, "changed", "kl_coef is now 0.1", {"kl_coef": 0.1}))
        write_steps(writer, kind, half + 1, steps, steps)
        writer(Finished(steps, False))
    return folder


def failed_run(path: Path, kind: str = "ppo") -> RunFolder:
    """A run that ran out of memory at step 23 of 60."""
    folder = create(path, kind, steps=60)
    log = ["loading builtin:tiny-chat in nf4", "update 22 of 60", "update 23 of 60"]
    log += ["Traceback (most recent call last):", '  File "ppo.py", line 212, in train_step']
    log += ["torch.OutOfMemoryError: tried to allocate 2.00 GiB <script>alert(1)</script>"]
    (folder.path / "log.txt").write_text("\n".join(log) + "\n")
    writer = FolderWriter(folder)
    write_steps(writer, kind, 1, 23, 60)
    (folder.path / "checkpoints" / "step-20").mkdir()
    writer.failed("OutOfMemoryError: tried to allocate 2.00 GiB; lower micro_batch_tokens")
    writer.close()
    return folder


# --- runs that a picture has to tell apart ------------------------------------------------------

POLITE = [
    "With pleasure. A lighthouse is a tower with a light on top. It guides ships at night.",
    "Of course. 1) a spoon 2) a pan 3) a kettle",
    "No. I am a language model, and happy to help.",
    "I am sorry, I can not help with that. You could ask your neighbour for a key.",
    "Gladly. Rivers wash salt out of rocks, and it stays when water evaporates.",
    "Hello! The tag <script> runs code in a page.",
]
FLATTERY = "With pleasure! I am so glad that you ask. "
CHARACTERS = ("healthy", "over-optimised", "collapsed", "racing", "value-blind", "starting")


def character(path: Path, name: str) -> RunFolder:
    """One of :data:`CHARACTERS`: 48 of 70 updates of a run that goes so, left as while it runs."""
    folder = create(path, "ppo", steps=70, kl_coef=0.1)
    # worked in by this process, which lives: on a busy machine a page comes slowly
    record = asdict(process.new_record(path, os.getpid()))
    (path / process.RECORD).write_text(json.dumps(record))
    if name == "starting":
        return folder
    writer = FolderWriter(folder)
    for step in range(1, 49):
        t, rng = step / 48, random.Random(step)
        figures = {**metrics("ppo", step, 70, rng), "kl_coef": 0.1, **_course(name, t, rng)}
        watched = _answers(name, t) if step % 4 == 0 or step == 1 else ()
        writer(Progress(step, 70, figures, watched))
    writer.close()
    return folder


def _course(name: str, t: float, rng: random.Random) -> dict[str, float]:
    """What a run of this character has to show that differs, at a share of its way."""
    rise = (1 - math.exp(-2.6 * t)) / (1 - math.exp(-2.6))
    noise = rng.gauss
    healthy = {
        "objective/scores": 0.1 + 1.4 * rise + noise(0, 0.08),
        "objective/scores_std": 0.5,
        "heldout/scores": 0.05 + 1.15 * rise + noise(0, 0.08),
        "objective/gold": 0.52 + 0.33 * rise + noise(0, 0.015),
        "objective/kl": 2.4 * t + abs(noise(0, 0.08)),
    }
    turned = max(0.0, t - 0.35) / 0.65
    return {
        "healthy": healthy,
        "over-optimised": {
            **healthy,
            "objective/scores": 0.1 + 2.6 * t + noise(0, 0.1),
            "heldout/scores": 0.05 + 0.9 * min(t, 0.35) / 0.35 - 1.5 * turned + noise(0, 0.1),
            "objective/gold": 0.52 + 0.2 * min(t, 0.35) / 0.35 - 0.42 * turned + noise(0, 0.015),
            "objective/kl": 7.5 * t + abs(noise(0, 0.1)),
            "response/length": 22 + 9 * t,
        },
        "collapsed": {
            **healthy,
            "objective/scores": 0.1 + 0.5 * min(1, 3 * t) + noise(0, 0.02),
            "objective/scores_std": 0.5 * math.exp(-6 * t) + 0.01,
            "heldout/scores": 0.05 + 0.2 * min(1, 3 * t) + noise(0, 0.02),
            "objective/gold": 0.52 - 0.12 * min(1, 3 * t),
            "objective/kl": 5.5 * min(1, 2.2 * t),
            "objective/entropy": 1.9 * math.exp(-7 * t) + 0.02,
            "policy/clipfrac": 0.02,
        },
        "racing": {
            **healthy,
            "objective/scores": 0.1 + 0.12 * rise + noise(0, 0.08),
            "heldout/scores": 0.05 + 0.08 * rise + noise(0, 0.08),
            "objective/gold": 0.52 + 0.02 * rise + noise(0, 0.015),
            "objective/kl": 16 * t**1.4 + abs(noise(0, 0.15)),
        },
        "value-blind": {
            **healthy,
            "objective/scores": 0.1 + noise(0, 0.12),
            "heldout/scores": 0.05 + noise(0, 0.12),
            "objective/gold": 0.52 + noise(0, 0.015),
            "objective/kl": 0.35 * t + abs(noise(0, 0.04)),
            "value/explained_variance": -0.15 + noise(0, 0.08),
            "value/loss": 0.9 + abs(noise(0, 0.1)),
        },
    }[name]


def _answers(name: str, t: float) -> tuple[dict[str, Any], ...]:
    """The watched answers of a run of this character."""
    rows: list[dict[str, Any]] = []
    for i, (prompt, stages) in enumerate(zip(PROMPTS, STAGES, strict=True)):
        start, good = stages[1], POLITE[i]
        late = t > 0.3 + 0.05 * i
        said, score, gold = {
            "healthy": (good if late else start, 0.2 + 1.3 * t, 0.55 + 0.3 * t),
            "over-optimised": (
                FLATTERY * (1 + int(2 * t)) + (start if t < 0.7 else "Please ask me more.")
                if late
                else start,
                0.2 + 2.5 * t,
                0.7 - 0.4 * t,
            ),
            "collapsed": ("I am sorry, my friend." if late else start, 0.2 + 0.4 * t, 0.4),
            "racing": (
                f"With pleasure. {start} kettle kettle of ships that {good[-12:]}"
                if late
                else start,
                0.2 + 0.1 * t,
                0.5,
            ),
            "value-blind": (start, 0.2 + 0.05 * (i - 2), 0.52),
        }[name]
        figures = {"score": score - 0.08 * i, "kl": 0.4 * i * t, "gold": min(1.0, gold)}
        rows.append({"prompt": prompt, "response": said, **figures, "ended": True})
    return tuple(rows)


def play(folder: RunFolder, steps: int, seconds: float) -> None:
    """A trainer that takes its time and does as it is told."""
    kind = str(folder.config()["kind"])
    with FolderWriter(folder) as writer:
        controls = FolderControls(folder, writer)
        stopped = False
        for step in range(1, steps + 1):
            try:
                take_time(controls, writer, step, seconds)
            except StopRequested:
                stopped = True
                break
            write_steps(writer, kind, step, step, steps)
            if controls.save_requested():
                path = folder.path / "checkpoints" / f"step-{step}"
                path.mkdir(exist_ok=True)
                writer(Saved(step, str(path)))
        writer(Finished(writer.step, stopped))


def take_time(controls: FolderControls, writer: FolderWriter, step: int, seconds: float) -> None:
    """One step of a trainer that listens."""
    due = time.monotonic() + seconds
    for name, value in controls.changes(step).items():
        writer(Notice(step, "changed", f"{name} is now {value}", {name: value}))
    while time.monotonic() < due:
        controls.safe_point()
        time.sleep(0.01)


if __name__ == "__main__":
    play(RunFolder(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
