"""Where PPO's scores come from: reward models, Python functions, ensembles and mixes of them.

``inputs.reward`` of a run's config says what to build:

    "NAME"                                     a trained reward model
    {"ensemble": ["NAME", ...]}                several; ``reward_reduce`` makes one score of theirs
    {"function": {"function": "module:name"}}  a Python function, imported
    {"function": {"file": "reward.pkl"}}       a Python function that was shipped with the run;
                                               its ``sha256`` is checked before it is loaded
    {"mix": [{"weight": w, "source": ...}]}    the weighted sum of others

A trained model's score is normalised (mean 0, deviation 1 on the answers it was measured on); a
function's is taken as it comes.
"""

import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from workbench.algos.ensembles import REDUCERS
from workbench.data.messages import Message
from workbench.errors import RunError
from workbench.models.encoding import Encoded, Encoder
from workbench.models.roles import Roles
from workbench.plain_files import LARGEST_FUNCTION, read_plain
from workbench.settings import PolicySettings
from workbench.training.reward.scorer import Scorer
from workbench.training.written_source import written_source

Function = Callable[[list[list[Message]], list[str]], Sequence[float]]


class RewardScores(NamedTuple):
    """RewardScores of ``B`` answers, and what they are made of.

    Attributes:
        total: ``(B,)`` what the policy is paid, before clipping and penalties.
        parts: by name, ``(B,)`` each: a mix's parts before their weights, or an ensemble's
            deviation; empty for a single source.
    """

    total: Tensor
    parts: dict[str, Tensor]


class RewardSource(Protocol):
    """Gives answers their scores."""

    name: str

    def read(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> list[Any]:
        """A policy's answers in this source's own form, one entry an answer."""
        ...

    def scores(self, read: Sequence[Any], *, tokens: int) -> RewardScores:
        """RewardScores of what :meth:`read` returned; ``tokens`` padded tokens in one forward."""
        ...


class ModelReward:
    """One reward model, or an ensemble: several, or one whose head has several members."""

    def __init__(
        self,
        name: str,
        scorers: Sequence[Scorer],
        settings: PolicySettings,
        policy: Encoder,
        eos_ids: Sequence[int],
    ) -> None:
        self.name, self.scorers, self.settings = name, list(scorers), settings
        self.policy, self.eos_ids = policy, eos_ids
        self._own = [scorer.encoder(settings) for scorer in self.scorers]

    @classmethod
    def attach(
        cls, role: str, reward: str, roles: Roles, settings: PolicySettings, policy: Encoder
    ) -> "ModelReward":
        """One reward model in a role of its own on the policy's base, or on its own beside it."""
        scorer = Scorer.attach(reward, roles, settings, role=role)
        return cls(role, [scorer], settings, policy, roles.base.eos_ids)

    def read(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> list[Any]:
        """The policy's own ids, or the text in the ids of a model on another base."""
        tables = [
            scorer.read(rows, prompts, self.policy, own, self.eos_ids)
            for scorer, own in zip(self.scorers, self._own, strict=True)
        ]
        return list(zip(*tables, strict=True))

    def _members(self, read: Sequence[Any], tokens: int) -> Tensor:
        """Each member's normalised scores ``(M, B)``."""
        return torch.cat(
            [
                scorer.member_scores([row[i] for row in read], tokens=tokens)
                for i, scorer in enumerate(self.scorers)
            ]
        )

    def mean_scores(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> Tensor:
        """Normalised scores ``(B,)`` of a policy's answers, mean over the members."""
        read = self.read(rows, prompts)
        return self._members(read, self.settings.tokens_at_once).mean(0)

    def scores(self, read: Sequence[Any], *, tokens: int) -> RewardScores:
        """The model's score, or the members' reduced to one."""
        members = self._members(read, tokens)
        if len(members) == 1:
            return RewardScores(members[0], {})
        reduce = REDUCERS[self.settings.reward_reduce]
        total = reduce(members, self.settings.reward_std_coef)
        return RewardScores(total, {"ensemble_std": members.std(0, correction=0)})


class FunctionReward:
    """A person's own function ``(prompts, responses) -> scores``."""

    def __init__(self, name: str, function: Function, policy: Encoder) -> None:
        self.name, self.function, self.policy = name, function, policy

    def read(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> list[Any]:
        """Prompt and text; copies, so that nothing a function does to them is lasting."""
        return [
            ([dict(message) for message in prompt], self.policy.decode(row.response))
            for row, prompt in zip(rows, prompts, strict=True)
        ]

    def scores(self, read: Sequence[Any], *, tokens: int) -> RewardScores:
        """What the function says of them, called once for all that this process scores.

        Raises:
            RunError: it fails, or does not return one finite number for each answer.
        """
        if not read:
            return RewardScores(torch.zeros(0), {})
        prompts, texts = [p for p, _ in read], [t for _, t in read]
        try:
            scores = [float(value) for value in self.function(prompts, texts)]
        except Exception as error:
            raise RunError(
                f"the reward function failed ({type(error).__name__}: {error})",
                where=f"{self.name}, {_line_of(error)}",
                fix="mend it and start a run with it",
            ) from error
        wrong = next((i for i, value in enumerate(scores) if not math.isfinite(value)), None)
        if len(scores) != len(texts) or wrong is not None:
            what = (
                f"{len(scores)} scores for {len(texts)} answers"
                if wrong is None
                else f"{scores[wrong]} for the answer {texts[wrong][:60]!r}"
            )
            raise RunError(
                f"the reward function returned {what}",
                where=self.name,
                fix="return one finite number for each response, in their order",
            )
        return RewardScores(torch.tensor(scores), {})


def _line_of(error: BaseException) -> str:
    """The innermost line that it was raised at."""
    frame = inspect.getinnerframes(error.__traceback__)[-1] if error.__traceback__ else None
    return "?" if frame is None else f"{Path(frame.filename).name}:{frame.lineno}"


class MixedReward:
    """The weighted sum of several sources' scores."""

    def __init__(self, parts: Sequence[tuple[float, RewardSource]]) -> None:
        self.parts = list(parts)
        self.name = " + ".join(f"{weight:g} {source.name}" for weight, source in self.parts)

    def read(self, rows: Sequence[Encoded], prompts: Sequence[list[Message]]) -> list[Any]:
        """Each answer as each source reads it."""
        return list(zip(*(source.read(rows, prompts) for _, source in self.parts), strict=True))

    def scores(self, read: Sequence[Any], *, tokens: int) -> RewardScores:
        """Sum of weight times score; each source's own score among the parts."""
        total = torch.zeros(len(read))
        shown: dict[str, Tensor] = {}
        for index, (weight, source) in enumerate(self.parts):
            own = source.scores([row[index] for row in read], tokens=tokens)
            total = total + weight * own.total
            name = source.name if source.name not in shown else f"{source.name}-{index + 1}"
            shown[name] = own.total
            shown |= {f"{name}/{key}": value for key, value in own.parts.items()}
        return RewardScores(total, shown)


class Built(NamedTuple):
    """A reward ready to score.

    Attributes:
        source: gives the scores.
        scorer: the first reward model, one on the policy's own base before others: the value
            model starts as a copy of it there. None where there is none.
        weight: that model's weight in the total.
        notices: what a person should be told.
    """

    source: RewardSource
    scorer: Scorer | None
    weight: float
    notices: list[str]


class SourceBuilder:
    """Builds what a config's ``inputs.reward`` describes.

    Args:
        roles: on the policy's base; reward models on the same base become roles there.
        settings: of the run.
        policy: encodes for the policy.
        folder: the run's, where shipped functions lie.
    """

    def __init__(
        self, roles: Roles, settings: PolicySettings, policy: Encoder, folder: Path
    ) -> None:
        self.roles, self.settings, self.policy, self.folder = roles, settings, policy, folder
        self.notices: list[str] = []
        self._scorers: list[tuple[float, Scorer]] = []

    def build(self, spec: Any) -> Built:
        """The source, and what else the trainer needs of it.

        Raises:
            ModelError: a name is no reward model's.
            RunError: a function cannot be loaded here.
        """
        source = self._source(spec, 1.0)
        paying = [(w, s) for w, s in self._scorers if w > 0]
        paying.sort(key=lambda pair: not pair[1].shares_base)
        weight, scorer = paying[0] if paying else (1.0, None)
        for _, each in self._scorers:
            self.notices += each.notices
        return Built(source, scorer, weight, self.notices)

    def _source(self, spec: Any, weight: float) -> RewardSource:
        match spec:
            case str():
                return self._models([spec], weight)
            case {"ensemble": [*names]} if names and all(isinstance(n, str) for n in names):
                return self._models(names, weight)
            case {"mix": [*parts]} if parts and all(map(_is_part, parts)):
                return MixedReward(
                    [(p["weight"], self._source(p["source"], p["weight"])) for p in parts]
                )
            case {"function": {"function": str()} as function}:
                return self._function(function)
            case _:
                raise RunError(
                    "this run's reward is none that can be built",
                    where=f"{self.folder}: inputs.reward = {str(spec)[:200]}",
                    fix="give a model's name, or one of: ensemble, mix (of anything but mixes), "
                    "function",
                )

    def _models(self, names: Sequence[str], weight: float) -> ModelReward:
        scorers: list[Scorer] = []
        for name in names:
            number = len(self._scorers)
            role = f"{Scorer.ROLE}_{number}m" if number else Scorer.ROLE  # members add a number
            scorer = Scorer.attach(name, self.roles, self.settings, role=role)
            self._scorers.append((weight, scorer))
            scorers.append(scorer)
        called = "-".join(Path(name.removesuffix("/final")).name for name in names)
        eos_ids = self.roles.base.eos_ids
        return ModelReward(called, scorers, self.settings, self.policy, eos_ids)

    def _function(self, spec: dict[str, Any]) -> FunctionReward:
        name = str(spec["function"])
        try:
            if spec.get("path") not in (None, *sys.path):
                sys.path.append(spec["path"])
            function = self._shipped(spec) if "file" in spec else resolve_name(name)
        except RunError:
            raise
        except Exception as error:
            raise RunError(
                f"the reward function cannot be loaded ({type(error).__name__}: {error})",
                where=name,
                fix="install what it imports where the run's process finds it, and resume",
            ) from error
        if "file" not in spec and written_source(function) != spec.get("source"):
            self.notices.append(f"the reward function {name} has changed since the run was made")
        return FunctionReward(name.rpartition(":")[2], function, self.policy)

    def _shipped(self, spec: dict[str, Any]) -> Function:
        import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

        packed = read_plain(self.folder, spec["file"], most=LARGEST_FUNCTION)
        digest, kept = hashlib.sha256(packed).hexdigest(), spec.get("sha256")
        if kept not in (None, digest):  # runs from before hashes were kept tell none
            raise RunError(
                "the file with the reward function is not the one that the run was made with",
                where=f"{self.folder / spec['file']}: sha256 {digest[:12]}…, not {str(kept)[:12]}…",
                fix="put the old file back, or start a run with the function that you want",
            )
        return cloudpickle.loads(packed)  # pyright: ignore


def _is_part(part: Any) -> bool:
    """Whether this is a part of a mix: its weight, and a source that is no mix itself."""
    match part:
        case {"weight": bool()} | {"source": {"mix": _}}:
            return False
        case {"weight": int() | float() as weight, "source": str() | dict()}:
            return math.isfinite(weight)
        case _:
            return False
