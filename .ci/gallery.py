"""A page to try the workbench in without a kernel: ``make gallery`` writes build/gallery.

    python .ci/gallery.py build/gallery                 trains two short runs on the embedded model
    python .ci/gallery.py build/gallery --runs FOLDER   keeps the runs there, and finds them again

What is on the page are the widgets themselves, with the answers that their Python side gave while
the page was made; so it shows what the workbench is today.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from recorded_sessions import record_comparison, record_explorer, record_labeller

import workbench as wb
from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.pairs import Pairs
from workbench.errors import RunError
from workbench.reports.without_kernel.recorded_page import placed, write_recorded
from workbench.reports.without_kernel.recording import record_panel
from workbench.runs import Run
from workbench.runs.alarms import of_run
from workbench.runs.folder import LIVE
from workbench.verbs import batch
from workbench.verbs.train import finished
from workbench.widgets.kit.markdown import rendered

ROOT = Path(__file__).parents[1]

MODEL, PROMPTS, HELDOUT = "builtin:tiny-chat", "sample:prompts_ppo", "sample:prompts_heldout"
STEPS = 70
LEASH = 0.3  # what a nat costs from the update on at which the first alarm was seen
LABELLED, COMPARED = 5, 3
MOST_BYTES = 3_000_000
LEAD = (
    "<p class='wb-page-text'>Align a language model to human preferences in a Jupyter notebook, "
    "and see what happens at every step. These are the notebook's own views, with what their "
    "kernel said while this page was made: click into one, and its keys and buttons work. What "
    "needs a kernel says so. Nothing is sent anywhere.</p>"
)
SECTIONS = {
    "label": (
        "Judge five pairs",
        "Which answer is better? <kbd>1</kbd> the left one, <kbd>2</kbd> the right one, "
        "<kbd>T</kbd> a tie, <kbd>B</kbd> both bad, <kbd>S</kbd> skip, <kbd>U</kbd> takes the last "
        "one back. A small model wrote them; in a notebook each label is on disk before the screen "
        "says so.",
    ),
    "loss": (
        "What a comparison costs a reward model",
        "A reward model gives both answers a score. Move them: the loss is −log σ of their "
        "difference. <kbd>A</kbd> keeps a row.",
    ),
    "run": (
        "A PPO run that went too far, and came back",
        "The policy learns to please a reward model of 200 labels; at first nothing holds it. When "
        "an alarm rang, KL was made dear. <kbd>←</kbd> <kbd>→</kbd> or a click on a curve go to "
        "the answers of a step, <kbd>R</kbd> <kbd>D</kbd> mark what changed, <kbd>T</kbd> colours "
        "the tokens, <kbd>M</kbd> opens all other curves.",
    ),
    "compare": (
        "Before or after PPO? Judge three blind",
        "The first held-out prompts on which the model before and after that run differ, in an "
        "order that was drawn. Judge them by the same keys, then <kbd>V</kbd> reveals who wrote "
        "what, beside what the reward model and the sample world’s judge say.",
    ),
}


def train() -> tuple[Run, Run]:
    """Return a reward model of few labels, and a PPO run against it that goes too far.

    Nothing holds the policy back at first. When an alarm rings, KL is made dear, as a person
    would by the slider.
    """
    with suppress(RunError):
        return wb.open_run("few-labels"), wb.open_run("too-far")
    few = wb.load_pairs("sample:pairs_heldout")[:200]
    reward = finished(wb.train_reward(MODEL, few, epochs=4, name="few-labels"))
    free: dict[str, Any] = {"kl_coef": 0.0, "learning_rate": 1e-3, "steps": STEPS}
    run = wb.train_ppo(MODEL, reward, PROMPTS, name="too-far", **free)
    while run.status in LIVE and not any(alarm.until is None for alarm in of_run(run.folder)):
        time.sleep(1)
    if run.status in LIVE:
        run.set(kl_coef=LEASH)
    return reward, finished(run)


def contest(reward: Run, run: Run) -> BlindComparison:
    """Return three prompts, the first on which the model before and after PPO differ."""
    rows: list[dict[str, Any]] = batch.before_and_after(
        (MODEL, run), wb.load_prompts(HELDOUT)[:12], reward=reward, best_of=1, gold=True, seed=0
    )
    differ = [row for row in rows if len({answer["text"] for answer in row["answers"]}) > 1]
    return BlindComparison(differ[:COMPARED], ["before PPO", "after PPO"])


def write_gallery(path: Path, run: Run, pairs: Pairs, judged: BlindComparison) -> Path:
    """Write the page: what is on it is recorded now."""
    recordings = {
        "label": record_labeller(pairs),
        "loss": record_explorer(),
        "run": record_panel(run),
        "compare": record_comparison(judged),
    }
    body = "".join(
        f"<h2 id='to-{name}'>{title}</h2><p class='wb-page-text'>{text}</p>{placed(name)}"
        for name, (title, text) in SECTIONS.items()
    )
    titles = {name: title for name, (title, _) in SECTIONS.items()} | {"start": "How to start"}
    links = "".join(f"<a href='#to-{name}'>{title}</a>" for name, title in titles.items())
    start = f"<h2 id='to-start'>How to start</h2><div class='wb-page-text'>{how_to_start()}</div>"
    return write_recorded(
        path, "The RLHF workbench", f"{LEAD}<nav>{links}</nav>{body}{start}", recordings
    )


def how_to_start() -> str:
    """The README's own words, as HTML."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Start\n")[1].split("\n## ")[0]
    parts = section.split("```")  # every other one is code
    parts[::2] = [re.sub(r"(?<!\n)\n(?!\n)", " ", prose) for prose in parts[::2]]
    section = "```".join(parts)
    lines = text.split("\nIn five lines:\n")[1].split("```")[1].removeprefix("python")
    words = rendered(f"{section}\n### In five lines\n\n```{lines}```\n")
    assert words is not None
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the page needs, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, help="where the runs are kept; else nowhere")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        os.environ["WORKBENCH_RUNS"] = str((args.runs or Path(place)).absolute())
        reward, run = train()
        pairs = Pairs.from_items(list(wb.load_pairs("sample:unlabelled"))[:LABELLED])
        page = write_gallery(args.out / "index.html", run, pairs, contest(reward, run))
        wb.share(run, args.out / "run.html")
    size = page.stat().st_size
    print(f"{page}: {size:,} bytes")
    return 0 if size <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
