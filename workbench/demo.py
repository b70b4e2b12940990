"""The whole loop on the embedded default, headless: pairs, reward model, PPO, before and after."""

import json
import random
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import workbench as wb
from workbench.runs import Run
from workbench.verbs.batch import before_and_after
from workbench.verbs.train import finished
from workbench.world.judge import gold_parts
from workbench.world.sample_files import sample_dir

MODEL = "builtin:tiny-chat"
REWARD: dict[str, Any] = {"epochs": 1.3, "evaluate_every": 200}
PPO: dict[str, Any] = {}
TEMPERATURE = 1.0
HELDOUT_PAIRS = 2000


class Demo:
    """One pass through the loop, told step by step.

    Args:
        out: where the two runs, ``report.html`` and ``summary.json`` go.
        seed: of the reward model, of PPO and of the sampled answers.
        shuffle_labels: the control: labels that say nothing (:func:`dealt`).
        quick: very short runs, to see that everything is in place.
    """

    def __init__(
        self, out: Path, *, seed: int = 0, shuffle_labels: bool = False, quick: bool = False
    ) -> None:
        self.out, self.seed = out.absolute(), seed
        self.shuffle_labels, self.quick = shuffle_labels, quick
        self.console = Console(highlight=False)
        self.samples = sample_dir()
        self.begun = time.time()

    def run(self) -> dict[str, Any]:
        """Do it all; returns what ``summary.json`` holds."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._say("1", "Preference pairs: two answers to one prompt, and which one was preferred")
        pairs = wb.load_pairs(self.samples / "pairs_train.jsonl")
        self.console.print(str(pairs.report))
        self._say("2", "The reward model: a 4-bit base, a LoRA adapter and a head learn the pairs")
        short: dict[str, Any] = {"steps": 6} if self.quick else {}
        options = {**REWARD, "seed": self.seed, **short, "name": str(self.out / "reward")}
        reward = finished(wb.train_reward(MODEL, self._rows(pairs), **options))
        accuracy = self._accuracy(reward)
        self._say("3", "PPO: the policy answers, the reward model scores, the policy is updated")
        prompts = self.samples / "prompts_ppo.jsonl"
        short = {"steps": 2, "batch_size": 16} if self.quick else {}
        options = {**PPO, "seed": self.seed, "temperature": TEMPERATURE, **short}
        ppo = finished(wb.train_ppo(MODEL, reward, prompts, name=str(self.out / "ppo"), **options))
        self._say("4", "Before and after, on prompts that neither model was trained on")
        rows = self._compare(reward, ppo)
        return self._report(reward, ppo, rows, accuracy)

    def _say(self, number: str, text: str) -> None:
        self.console.print(f"\n[bold]{number}  {text}[/bold]")

    def _rows(self, pairs: Any) -> Any:
        if not self.shuffle_labels:
            return pairs
        return _without_blanks(dealt(pairs.training_rows(), random.Random(self.seed)))

    def _accuracy(self, reward: Run) -> dict[str, float]:
        heldout = wb.load_pairs(self.samples / "pairs_heldout.jsonl")
        rows = _without_blanks(heldout.training_rows())
        rows = rows[: 100 if self.quick else HELDOUT_PAIRS]
        report = wb.evaluate_reward(reward, rows)
        self.console.print(
            f"agrees with {report['accuracy']:.1%} of {report['pairs']:.0f} held-out labels "
            f"(95 % interval {report['low']:.1%} to {report['high']:.1%}); the labeller who makes "
            f"no slips: {report['ceiling']:.1%}; preferring the longer: {report['longer_wins']:.1%}"
        )
        return report

    def _compare(self, reward: Run, ppo: Run) -> list[dict[str, Any]]:
        prompts = wb.load_prompts(self.samples / "prompts_heldout.jsonl")
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task("sampling answers", total=None)

            def show(row: dict[str, Any]) -> None:
                bar.update(task, completed=row["done"], total=row["total"])

            return before_and_after(
                [MODEL, ppo],
                prompts[: 20 if self.quick else None],
                reward=reward,
                with_kl=True,
                on_progress=show,
                temperature=TEMPERATURE,
                seed=self.seed + 1,
            )

    def _report(
        self, reward: Run, ppo: Run, rows: list[dict[str, Any]], accuracy: dict[str, float]
    ) -> dict[str, Any]:
        from workbench.reports.run_page import write_report

        summary = summarise(rows, accuracy)
        summary["seconds"] = round(time.time() - self.begun, 1)
        summary["seed"] = self.seed
        (self.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        path = write_report(
            self.out / "report.html",
            title="The whole loop on the embedded default",
            runs=[reward.folder, ppo.folder],
            summary=summary,
            samples=rows,
        )
        self._print(summary, rows)
        self.console.print(f"\nreport: {path}\nsummary: {self.out / 'summary.json'}")
        return summary

    def _print(self, summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        table = Table(title="What changed", title_justify="left")
        table.add_column("")
        table.add_column("before (SFT)", justify="right")
        table.add_column("after (PPO)", justify="right")
        table.add_row(
            "gold score, 0 to 1", f"{summary['gold_sft']:.3f}", f"{summary['gold_ppo']:.3f}"
        )
        table.add_row(
            "reward score", f"{summary['score_sft']:+.2f}", f"{summary['score_ppo']:+.2f}"
        )
        table.add_row("KL from SFT, nats", "0.00", f"{summary['kl']:.2f}")
        self.console.print(table)
        for row in rows[:: max(1, len(rows) // 4)][:4]:
            before, after = row["answers"]
            self.console.print(f"\n[bold]{row['prompt']}[/bold]")
            self.console.print(f"  before  {before['gold']:.2f}  {before['text']}", markup=False)
            self.console.print(f"  after   {after['gold']:.2f}  {after['text']}", markup=False)


def dealt(rows: list[dict[str, Any]], lots: random.Random) -> list[dict[str, Any]]:
    """Rows whose labels say nothing: of the pairs that differ alike, half change sides by lot.

    A coin for each pair would not do. The pairs differ in a few ways only, so that by chance one
    way wins a little more often, and a model that finds it is right or wrong about all the rest.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    for index, row in enumerate(rows):
        alike.setdefault(_difference(row), []).append(index)
    turned: set[int] = set()
    for indices in alike.values():
        half = (len(indices) + lots.randrange(2)) // 2
        turned.update(lots.sample(indices, half))
    sides = {"chosen": "rejected", "rejected": "chosen"}
    return [
        {sides.get(name, name): value for name, value in row.items()} if index in turned else row
        for index, row in enumerate(rows)
    ]


def _difference(row: dict[str, Any]) -> tuple[Any, ...]:
    """What kind of prompt it is, and in which qualities the chosen answer is better or worse."""
    first, second = (gold_parts(row["prompt"], row[side]) for side in ("chosen", "rejected"))
    qualities = ("form", "content", "opening", "closing", "gold")
    gaps = [getattr(first, name) - getattr(second, name) for name in qualities]
    return first.kind, *((gap > 0) - (gap < 0) for gap in gaps)


def _without_blanks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as they would stand in a file: without the fields that nobody gave."""
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


def summarise(rows: list[dict[str, Any]], accuracy: dict[str, float]) -> dict[str, Any]:
    """The figures of ``summary.json``: means over prompts, one answer each."""

    def mean(which: int, name: str) -> float:
        return sum(row["answers"][which][name] for row in rows) / len(rows)

    return {
        "gold_sft": round(mean(0, "gold"), 4),
        "gold_ppo": round(mean(1, "gold"), 4),
        "score_sft": round(mean(0, "score"), 4),
        "score_ppo": round(mean(1, "score"), 4),
        "kl": round(mean(1, "kl"), 4),
        "rm_accuracy": round(accuracy["accuracy"], 4),
        "rm_ceiling": round(accuracy["ceiling"], 4),
        "rm_longer_wins": round(accuracy["longer_wins"], 4),
        "rm_ece": round(accuracy["ece"], 4),
        "rm_ece_low": round(accuracy["ece_low"], 4),
        "rm_ece_high": round(accuracy["ece_high"], 4),
        "prompts": len(rows),
        "pairs": int(accuracy["pairs"]),
    }
