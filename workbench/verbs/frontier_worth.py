"""What the policies of a frontier are worth on prompts kept aside, kept in its ``frontier.json``.

Each policy is asked once: what is there, on the same prompts by the same models, is read again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench import quick
from workbench.json_lines import read_json, write_json
from workbench.runs import Run, run_job
from workbench.settings import PolicySettings, PPOSettings
from workbench.verbs.gold import gold_scores
from workbench.verbs.model_names import Model, model_name
from workbench.verbs.optimisation_limits import SIZES, best_of_n

if TYPE_CHECKING:
    from workbench.analysis.frontier import Measured, Moment
    from workbench.data.messages import Message

WATCHED = 32
"""Of the prompts kept aside, those that a run watches on its way."""
LEARNING = ("time/generate", "time/score", "time/optimise")
"""Seconds of a step that count; looking on does not."""
ANSWERING = {field.name for field in fields(PolicySettings)} - {"watch_prompts", "watch_every"}
"""Settings that count where a policy answers and nothing is learned."""
_START = "start"


class FrontierWorth:
    """Asks policies and keeps what came of it.

    Args:
        folder: the frontier's.
        model: what all policies started from.
        prompts: those kept aside.
        rewards: the models that score, ``score`` and ``heldout``.
        settings: of every run; those of :data:`ANSWERING` count.
        say: told what is done.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        prompts: "Sequence[list[Message]]",
        rewards: Mapping[str, str],
        settings: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.path, self.model, self.prompts = folder / "frontier.json", model, list(prompts)
        self.rewards, self.say = dict(rewards), say
        self.settings = {name: value for name, value in settings.items() if name in ANSWERING}

    def measure(self, runs: Collection[Run], seed: int) -> None:
        """Have the policies of one seed answer, and what they started from; all in one job."""
        models: dict[str, Model] = {_START: self.model, **{_known_by(run): run for run in runs}}
        kept = self._kept()
        missing = {n: m for n, m in models.items() if f"{n} {seed}" not in kept["measured"]}
        if not missing:
            return
        self.say(f"answers of {len(missing)} policies to {len(self.prompts)} held-out prompts")
        request = {
            "models": [model_name(model) for model in missing.values()],
            "rewards": self.rewards,
            "prompts": self.prompts,
            "settings": PPOSettings.from_dict({**self.settings, "seed": seed + 1}).to_dict(),
        }
        answers = run_job("measured", request)["answers"]
        for name, rows in zip(missing, answers, strict=True):
            gold = gold_scores(self.prompts, [row["text"] for row in rows])
            some = [_means(rows[:most], gold and gold[:most]) for most in (len(rows), WATCHED)]
            kept["measured"][f"{name} {seed}"] = some
        write_json(self.path, kept)

    def of(self, run: Run, seed: int) -> "Measured":
        """A run's policy on all prompts."""
        return self._measured(_known_by(run), seed)[0]

    def start(self, seed: int) -> "Measured":
        """What all started from, on all prompts."""
        return self._measured(_START, seed)[0]

    def on_the_way(self, run: Run, seed: int) -> "list[Moment]":
        """What the watched answers were worth on the way, with the seconds until then."""
        from workbench.analysis.frontier import Moment

        start = self._measured(_START, seed)[1]
        moments, seconds, by_step = [Moment(0, 0.0, start.score, start.gold)], 0.0, {}
        for row in run.folder.samples():
            by_step.setdefault(int(row["step"]), []).append(row)
        for row in run.folder.metrics():
            seconds += learning_seconds(row)
            if (seen := by_step.get(int(row["step"]))) is not None:
                gold = [each.get("gold") for each in seen]
                known = None if None in gold else sum(gold) / len(gold)
                score = sum(each["score"] for each in seen) / len(seen)
                moments.append(Moment(int(row["step"]), seconds, score, known))
        return moments

    def best_of_n(self, settings: Mapping[str, Any]) -> list[dict[str, float]]:
        """What choosing among several answers of the model brings, a row a number."""
        kept = self._kept()
        if "best_of_n" not in kept:
            more: dict[str, Any] = {**self.settings, "batch_size": 256, **settings}
            drawn = best_of_n(
                self.model,
                self.rewards["score"],
                self.prompts,
                SIZES[:3] if quick.is_quick() else SIZES[:-1],
                heldout_reward=self.rewards["heldout"],
                **more,
            )
            kept["best_of_n"] = cast("Any", drawn.frame).to_dict("records")
            write_json(self.path, kept)
        return kept["best_of_n"]

    def _measured(self, name: str, seed: int) -> "tuple[Measured, Measured]":
        """On all prompts, and on those that are watched; asked before."""
        from workbench.analysis.frontier import Measured

        both = self._kept()["measured"][f"{name} {seed}"]
        return Measured(**both[0]), Measured(**both[1])

    def _kept(self) -> dict[str, Any]:
        """What was measured so far, on these prompts by these models; else nothing yet."""
        by = {"prompts": self.prompts, "rewards": self.rewards, "model": model_name(self.model)}
        kept = read_json(self.path)
        return kept if kept is not None and kept["by"] == by else {"by": by, "measured": {}}


def learning_seconds(row: Mapping[str, Any]) -> float:
    """Return the seconds of learning in a row of metrics."""
    return sum(float(row.get(name) or 0.0) for name in LEARNING)


def _known_by(run: Run) -> str:
    """A run's name, and when it was made: another one may come in its place."""
    return f"{run.name} of {run.config['created']}"


def _means(rows: Sequence[Mapping[str, Any]], gold: Sequence[float] | None) -> dict[str, Any]:
    means: dict[str, Any] = {
        name: sum(float(row[name]) for row in rows) / len(rows)
        for name in ("kl", "score", "heldout")
    }
    return {**means, "gold": None if gold is None else sum(gold) / len(gold)}
