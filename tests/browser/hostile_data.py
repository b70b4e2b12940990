"""Pairs, runs and an evaluation that are made of nothing but hostile texts."""

import random
from pathlib import Path
from typing import Any

import made_runs
from hostile import FIRE, LINES, SCRIPTS, TEXTS

from workbench.analysis.appraisal import appraise
from workbench.analysis.scored_items import ScoredItems
from workbench.data.pairs import Pair
from workbench.events import Finished, Notice, Progress
from workbench.reports.reward_model import RewardReport
from workbench.runs import FolderWriter, RunFolder, keep_evaluation

IMG = f"<img src=x onerror={FIRE}>"
SEEN = f"<script>{FIRE}</script>"  # the first of SCRIPTS: it stands in every view, as text
SHORT = [text for text in TEXTS if text not in LINES]


def said(text: str, role: str = "assistant") -> list[Any]:
    return [{"role": role, "content": text}]


def hostile_pairs(texts: list[str] = SHORT) -> list[Pair]:
    """Labelled pairs of nothing but hostile texts."""
    label = {"kind": "choice", "winner": 0, "annotator": IMG, "tags": {IMG: 1}}
    meta = {"subset": IMG, IMG: SEEN}
    return [
        Pair.make(
            said(text, "user"),
            [said(text + " "), said("plain")],
            label=label,
            source={"file": IMG, "row": n},
            meta=meta,
        )
        for n, text in enumerate(texts)
    ]


def hostile_run(path: Path, kind: str, *, failed: bool = False) -> RunFolder:
    """A run whose every text is hostile: its name, its configuration, its answers, its end."""
    folder = RunFolder(path)
    config = {
        "model": IMG,
        "inputs": {"reward": IMG, "judge": SEEN},
        "settings": {"steps": 10, "device": IMG, "seed": 0, IMG: SEEN},
    }
    folder.create(kind, config, [{"prompt": text} for text in SHORT])
    folder.add_to_config(hardware={"cpu_cores": 2, "python": IMG, "versions": {IMG: SEEN}})
    (folder.path / "log.txt").write_text("\n".join(SCRIPTS))
    writer = FolderWriter(folder)
    writer(Notice(0, "warning", SEEN))
    writer(Notice(1, "changed", f"kl_coef is now {IMG}", {"kl_coef": 0.1}))
    for step in range(1, 11):
        rng = random.Random(step)
        figures = {**made_runs.metrics(kind, step, 10, rng), f"rewards/{IMG}": 1.0}
        answers = tuple(
            {
                **{"prompt": text, "response": text, "score": 1.0, "kl": 0.5, "ended": True},
                **{"chosen": text, "rejected": text, "chosen_score": 1.0, "rejected_score": 0.0},
                **made_runs.tokens(text[:200] or "x"),
            }
            for text in SHORT
        )
        writer(Progress(step, 10, figures, answers if step in (1, 10) else ()))
    if failed:
        writer.failed(f"{SEEN} {IMG}")
    else:
        writer(Finished(10, False))
    writer.close()
    keep_evaluation(folder, IMG, {"accuracy": 0.5, IMG: SEEN})
    return folder


def reward_report() -> RewardReport:
    """An evaluation of hostile pairs: worst disagreements, people and subsets are theirs."""
    items = hostile_pairs()
    scores = [float(n % 3) - 1 for n in range(2 * len(items))]
    return RewardReport(appraise(ScoredItems(items), scores), name=IMG, trained_on=100)
