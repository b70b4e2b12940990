"""The settings of a run: one source for defaults, validation, documentation, tooltips and sliders.

Every field is declared once with :func:`setting`; nothing is filled in later. A run stores its
settings as JSON (:meth:`Checked.to_dict`) and is repeated from them (:meth:`Checked.from_dict`).
"""

import dataclasses
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast, get_args, get_origin, get_type_hints

from workbench.errors import ConfigError, nearest

TRACKERS = ("tensorboard", "wandb", "trackio")
"""Where a run can report to, through accelerate."""
ROLES = ("system", "developer", "user", "assistant", "tool")
"""Who speaks in a prompt that is watched."""


def setting(
    default: Any,
    *,
    help: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    live: bool = False,
) -> Any:
    """Declare one setting.

    Args:
        default: runs as it stands.
        help: one line: what it does and why one would change it.
        unit: what the number counts; empty where it has no unit.
        low: the smallest value allowed, inclusive.
        high: the largest value allowed, inclusive.
        choices: the only values allowed, where there are few.
        live: may be changed while the run goes on (``run.set``).
    """
    metadata = {
        "help": help,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "live": live,
    }
    if isinstance(default, dict):
        copied = cast("dict[str, Any]", default)
        return field(default_factory=lambda: dict(copied), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A frozen settings object whose every field was checked against its declaration."""

    kind: ClassVar[str] = "settings"
    refused: ClassVar[dict[str, str]] = {}
    """Names that other tools have, and why there is no such setting here."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for spec in dataclasses.fields(self):
            value = _coerced(getattr(self, spec.name), hints[spec.name])
            object.__setattr__(self, spec.name, value)
            _check(self.kind, spec, value, hints[spec.name])

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from names and values.

        Raises:
            ConfigError: a name that does not exist (naming the nearest one that does), or a value
                that its declaration does not allow.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name in cls.refused:
                raise ConfigError(
                    f"{name} cannot be set",
                    where=f"{cls.kind} settings",
                    fix=f"leave it out: {cls.refused[name]}",
                )
            if name not in known:
                raise ConfigError(
                    f"there is no setting called {name}",
                    where=f"{cls.kind} settings",
                    fix=f"{nearest(name, known)}the settings are: {', '.join(sorted(known))}",
                )
        return cls(**dict(values))

    def changed(self, **values: Any) -> Self:
        """A copy with some values replaced, checked again."""
        return type(self).from_dict({**self.to_dict(), **values})

    def live_changes(self, values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
        """What is asked to change while a run goes on, checked and in the settings' own types.

        Raises:
            ConfigError: nothing is asked, a setting that is not live, or a value that its
                declaration does not allow.
        """
        live = self.live_fields()
        fixed = [name for name in values if name not in live]
        if fixed or not values:
            named = ", ".join(name[:60] for name in fixed[:5])
            raise ConfigError(
                f"{named or 'no setting'} {'cannot be changed' if fixed else 'was given to change'}"
                " while a run goes on",
                where=where,
                fix=f"these can: {', '.join(live)}",
            )
        changed = self.changed(**values)
        return {name: getattr(changed, name) for name in values}

    @classmethod
    def live_fields(cls) -> tuple[str, ...]:
        """The settings that may change while a run goes on."""
        return tuple(f.name for f in dataclasses.fields(cls) if f.metadata["live"])

    @classmethod
    def table(cls) -> list[dict[str, Any]]:
        """One row a setting (name, default, unit, help, low, high, choices, live), for docs."""
        defaults = cls().to_dict()
        return [
            {"name": f.name, "default": defaults[f.name], **dict(f.metadata)}
            for f in dataclasses.fields(cls)
        ]


def _coerced(value: Any, hint: Any) -> Any:
    """Lossless conversions a person would expect: 1 for 1.0, a list for a tuple."""
    options = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and float in options and int not in options:
        return float(value) if abs(value) <= sys.float_info.max else cast("Any", value)
    if isinstance(value, list) and any(get_origin(option) is tuple for option in options):
        return tuple(cast("list[Any]", value))
    return cast("Any", value)


def _matches(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is None:
        if hint is Any:
            return True
        return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    if origin in (dict, tuple):
        return isinstance(value, origin)
    return any(_matches(value, option) for option in get_args(hint))


def _default(spec: "dataclasses.Field[Any]") -> Any:
    if spec.default_factory is dataclasses.MISSING:
        return spec.default
    return spec.default_factory()


def _check(kind: str, spec: "dataclasses.Field[Any]", value: Any, hint: Any) -> None:
    where = f"{kind} settings: {spec.name} = {value!r}"
    if not _matches(value, hint):
        raise ConfigError(
            f"{spec.name} has the wrong type ({type(value).__name__})",
            where=where,
            fix=f"give {getattr(hint, '__name__', hint)}, as in the default {_default(spec)!r}",
        )
    choices, low, high = (spec.metadata[k] for k in ("choices", "low", "high"))
    items = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
    if choices and (wrong := [item for item in items if item not in choices]):
        raise ConfigError(
            f"{spec.name} cannot be {wrong[0]!r}",
            where=where,
            fix=f"{nearest(wrong[0], map(str, choices))}choose one of "
            f"{', '.join(map(repr, choices))}",
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        outside = (low is not None and value < low) or (high is not None and value > high)
        if outside or (isinstance(value, float) and not math.isfinite(value)):
            bounds = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            raise ConfigError(
                f"{spec.name} is out of range",
                where=where,
                fix=f"give a value from {bounds} {spec.metadata['unit']}".rstrip(),
            )


@dataclass(frozen=True, kw_only=True)
class RunSettings(Checked):
    """What every kind of training run shares."""

    seed: int = setting(0, low=0, help="Decides data order, new weights and sampling.")
    device: str = setting(
        "auto", choices=("auto", "cpu", "cuda"), help="auto takes a GPU where there is one."
    )
    quantization: str = setting(
        "nf4", choices=("nf4", "none"), help="nf4 keeps the frozen base in 4 bits."
    )
    dtype: str = setting(
        "auto",
        choices=("auto", "float64", "float32", "bfloat16", "float16"),
        help="What the base computes in; auto: bfloat16 or float16 on a GPU, float32 on a CPU.",
    )
    lora_rank: int = setting(16, unit="rank", low=0, high=1024, help="Size of the adapters.")
    lora_alpha: float = setting(32.0, low=0.0, help="Adapter output is scaled by alpha / rank.")
    target_modules: str | tuple[str, ...] = setting(
        "all-linear", help="Which layers get an adapter: all-linear, or names such as q_proj."
    )
    max_length: int = setting(
        1024, unit="tokens", low=8, help="Longest prompt plus response; prompts are shortened."
    )
    max_grad_norm: float = setting(1.0, low=0.0, help="Gradient norm is clipped to this; 0 = off.")
    warmup_steps: int = setting(
        0, unit="steps", low=0, help="Steps of rising learning rate; 0 = as warmup_share says."
    )
    warmup_share: float = setting(
        0.0, low=0.0, high=1.0, help="Share of the steps with a rising rate, if warmup_steps is 0."
    )
    schedule: str = setting(
        "linear", choices=("linear", "constant"), help="linear falls to 0 at the last step."
    )
    weight_decay: float = setting(0.0, low=0.0, help="AdamW weight decay.")
    adam_epsilon: float = setting(1e-8, low=0.0, help="AdamW epsilon.")
    micro_batch_tokens: int = setting(
        0,
        unit="tokens",
        low=0,
        help="Padded tokens in one forward; less saves memory; 0 = 2048, on a GPU as it has room.",
    )
    checkpoint_every: int = setting(
        0, unit="steps", low=0, help="A checkpoint every so many steps; 0 = none."
    )
    keep_checkpoints: int = setting(2, low=1, help="How many of the newest checkpoints stay.")
    max_skipped_steps: int = setting(
        5, unit="steps", low=0, help="Stop after so many non-finite gradients in a row; 0 = never."
    )
    gradient_checkpointing: bool | str = setting(
        "auto",
        choices=(True, False, "auto"),
        help="Compute layers twice: less memory, a third slower; auto: on a GPU where it must be.",
    )
    report_to: tuple[str, ...] = setting(
        (),
        choices=TRACKERS,
        help="Where metrics go beside the run folder, e.g. ('tensorboard',).",
    )
    chat_template_kwargs: dict[str, Any] = setting(
        {},
        help="Passed to the chat template, e.g. enable_thinking=False, or today='2026-01-31'.",
    )
    fold_system: bool = setting(
        False,
        help="Put a system text before the first user turn, for templates that refuse one.",
    )
    threads: int = setting(
        0, unit="threads", low=0, help="CPU threads; 0 = one for small models, else all but one."
    )

    @property
    def tokens_at_once(self) -> int:
        """Padded tokens of a micro-batch; what auto means on a GPU is for the plan to say."""
        return self.micro_batch_tokens or 2048

    @property
    def recomputes(self) -> bool:
        """Whether layers forget their activations; what auto means is for the plan to say."""
        return self.gradient_checkpointing is True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (n for n in self.live_fields() if n.endswith("learning_rate")):
            if isinstance(rate := getattr(self, name), str) and rate != "auto":
                raise ConfigError(
                    f"{name} cannot be {rate!r}",
                    where=f"{self.kind} settings: {name} = {rate!r}",
                    fix="give a number of 0 or more, or 'auto'",
                )


@dataclass(frozen=True, kw_only=True)
class SFTSettings(RunSettings):
    """Settings for supervised fine-tuning, or next-token pretraining on plain texts."""

    kind: ClassVar[str] = "sft"

    learning_rate: float | str = setting(
        "auto",
        low=0.0,
        live=True,
        help="Peak AdamW rate; auto: 2e-4 at a width of 128 to 1e-4 at 4096 (every weight: 1e-5).",
    )
    assistant_turns: str = setting(
        "all",
        choices=("all", "last"),
        help="Which of a conversation's answers are learned: every one, or the last alone.",
    )
    batch_size: int = setting(16, unit="examples", low=1, help="Examples in one step.")
    epochs: float = setting(1.0, low=0.0, help="Passes over the data; used where steps is 0.")
    steps: int = setting(0, unit="steps", low=0, help="Optimiser steps; 0 = as epochs say.")
    holdout: float = setting(
        0.02, low=0.0, high=0.5, help="Share of the examples kept aside for a loss; 256 at most."
    )
    evaluate_every: int = setting(
        50, unit="steps", low=0, help="Held-out loss every so many steps; 0 = first and last alone."
    )
    watch_prompts: int = setting(
        6, unit="prompts", low=0, high=64, help="Prompts kept aside to answer at each evaluation."
    )


@dataclass(frozen=True, kw_only=True)
class PolicySettings(RunSettings):
    """What runs share that train a policy and watch what it answers."""

    response_length: int = setting(64, unit="tokens", low=1, help="Longest answer sampled.")
    temperature: float = setting(
        1.0, low=0.05, high=5.0, live=True, help="Sampling temperature; scoring uses the same."
    )
    reward_reduce: str = setting(
        "mean",
        choices=("mean", "worst", "mean_minus_std"),
        help="What several reward models' scores become: their mean, or a careful one.",
    )
    reward_std_coef: float = setting(
        1.0, low=0.0, help="Charge for the members' disagreement under mean_minus_std."
    )
    watch_every: int = setting(
        5, unit="updates", low=0, help="Sample the same fixed prompts every so many updates."
    )
    watch_prompts: int | tuple[Any, ...] = setting(
        8, unit="prompts", low=0, live=True, help="How many fixed prompts; or a list of prompts."
    )

    refused: ClassVar[dict[str, str]] = dict.fromkeys(
        ("top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "no_repeat_ngram_size"),
        "log-probabilities would be of another distribution than the one that answers: sampling "
        "and scoring take the same temperature, and nothing cuts or bends the distribution",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        watched = self.watch_prompts if isinstance(self.watch_prompts, tuple) else ()
        for number, prompt in enumerate(watched):
            if not _is_prompt(prompt):
                raise ConfigError(
                    f"prompt {number} is neither a text nor a list of messages",
                    where=f"{self.kind} settings: watch_prompts[{number}] = {prompt!r}",
                    fix='give texts, or lists of {"role": ..., "content": ...}',
                )


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings(RunSettings):
    """What runs share that learn from comparisons of answers."""

    batch_size: int = setting(
        0,
        unit="comparisons",
        low=0,
        help="Comparisons in one step; 0 = 32, in one pass over under 1600 16, under 800 8.",
    )
    epochs: float = setting(1.0, low=0.0, help="Passes over the data; used where steps is 0.")
    steps: int = setting(0, unit="steps", low=0, help="Optimiser steps; 0 = as epochs say.")
    label_smoothing: float = setting(
        0.0, low=0.0, high=0.49, help="Share of labels believed to be flipped."
    )
    holdout: float = setting(
        0.05, low=0.0, high=0.5, help="Share of the pairs kept aside to measure accuracy."
    )
    evaluate_every: int = setting(
        50, unit="steps", low=0, help="Held-out accuracy every so many steps; 0 = at the end."
    )
    ties: str = setting(
        "drop", choices=("drop", "half"), help="half: each answer of a tie is half preferred."
    )
    margins: str = setting(
        "gap",
        choices=("gap", "weight", "ignore"),
        help="What a label's margin or strength is: the gap to win by, the pair's weight, nothing.",
    )

    @property
    def once(self) -> bool:
        """Whether each comparison is seen once at most."""
        return self.steps == 0 and self.epochs <= 1.0


@dataclass(frozen=True, kw_only=True)
class RewardSettings(ComparisonSettings):
    """Settings for training a reward model on comparisons."""

    kind: ClassVar[str] = "reward"

    learning_rate: float | str = setting(
        "auto",
        low=0.0,
        live=True,
        help="Peak AdamW rate; auto: 2e-3 at width 128 to 1e-4 at 4096, in small batches less.",
    )
    warmup_share: float = setting(
        0.03, low=0.0, high=1.0, help="Share of the steps with a rising rate, if warmup_steps is 0."
    )
    members: int = setting(
        1, unit="members", low=1, high=64, help="Adapters that learn apart and vote: an ensemble."
    )
    head_start: str = setting(
        "zero",
        choices=("zero", "classic"),
        help="zero: a new head scores 0, first loss ln 2; classic: it is drawn from N(0, 1/(D+1)).",
    )
    centering: float = setting(
        0.01, low=0.0, help="Weight of (chosen + rejected)^2: keeps scores near 0."
    )
    keep_best: bool = setting(
        True, help="Keep the weights of the lowest held-out loss, not those of the last step."
    )
    patience: int = setting(
        0, unit="evaluations", low=0, help="Stop after so many without a lower loss; 0 = never."
    )
    normalise: str = setting(
        "pairs",
        choices=("pairs", "samples"),
        help="Scores get mean 0 on the pairs' answers, or on ones that the start model samples.",
    )


@dataclass(frozen=True, kw_only=True)
class DirectSettings(PolicySettings):
    """What runs share whose policy learns from comparisons directly."""

    learning_rate: float | str = setting(
        "auto",
        low=0.0,
        live=True,
        help="Peak AdamW rate; auto: by the model's width, 1e-4 at 128 to 5e-6 at 4096.",
    )
    warmup_share: float = setting(
        0.1, low=0.0, high=1.0, help="Share of the steps with a rising rate, if warmup_steps is 0."
    )
    beta: float = setting(
        0.1,
        unit="reward/nat",
        low=1e-4,
        live=True,
        help="What a nat of leaving the reference is worth: more holds the policy nearer to it.",
    )
    loss_type: str = setting(
        "sigmoid",
        choices=("sigmoid", "sigmoid_norm", "ipo"),
        help="sigmoid: DPO; sigmoid_norm: by log-ratios a token; ipo: a square about a fixed gap.",
    )
    label_smoothing: float = setting(
        0.0, low=0.0, high=0.49, help="Share of labels believed to be flipped."
    )
    watch_every: int = setting(
        10, unit="steps", low=0, help="Sample the same fixed prompts every so many steps."
    )
    watch_prompts: int | tuple[Any, ...] = setting(
        16, unit="prompts", low=0, live=True, help="How many fixed prompts; or a list of prompts."
    )


@dataclass(frozen=True, kw_only=True)
class DPOSettings(ComparisonSettings, DirectSettings):
    """Settings for direct preference optimisation (DPO) on comparisons."""

    kind: ClassVar[str] = "dpo"

    evaluate_every: int = setting(
        20, unit="steps", low=0, help="Held-out accuracy every so many steps; 0 = at the end."
    )


PERSON, PERSON_STORE, PERSON_ASKED = "person", "labels.sqlite", "waiting for labels"
"""Online DPO's reward where a person judges; the store in the run's folder that asks; the phase."""


@dataclass(frozen=True, kw_only=True)
class OnlineDPOSettings(DirectSettings):
    """Settings for DPO on the policy's own answers, compared by a reward (online DPO)."""

    kind: ClassVar[str] = "online_dpo"

    learning_rate: float | str = setting(
        "auto",
        low=0.0,
        live=True,
        help="Peak AdamW rate; auto: by the model's width, 5e-4 at 128 to 2e-5 at 4096.",
    )
    batch_size: int = setting(32, unit="prompts", low=1, help="Prompts of a step, answered twice.")
    steps: int = setting(70, unit="steps", low=1, help="Optimiser steps, each on new answers.")
    missing_eos_penalty: float = setting(
        1.0, unit="reward", low=0.0, help="Taken from an answer that did not end by itself."
    )
    length_penalty: float = setting(
        0.0, unit="reward/token", low=0.0, help="Taken for every token of an answer."
    )


@dataclass(frozen=True, kw_only=True)
class PPOSettings(PolicySettings):
    """Settings for one PPO run."""

    kind: ClassVar[str] = "ppo"

    learning_rate: float | str = setting(
        "auto",
        low=0.0,
        live=True,
        help="Policy's AdamW rate; auto: by the model's width, 1e-3 at 128 to 1e-5 at 4096.",
    )
    value_learning_rate: float | str = setting(
        "auto",
        low=0.0,
        live=True,
        help="The value adapter's and head's; auto: 1e-3 at a width of 128 to 4e-5 at 4096.",
    )
    batch_size: int = setting(64, unit="episodes", low=1, help="Episodes in one update.")
    steps: int = setting(70, unit="updates", low=1, help="PPO updates.")
    epochs: int = setting(1, low=1, help="Passes over each update's episodes.")
    mini_batches: int = setting(4, low=1, help="Optimiser steps in one epoch.")
    samples_per_prompt: int = setting(1, low=1, help="Answers sampled for each prompt.")
    kl_coef: float = setting(
        0.1, unit="reward/nat", low=0.0, live=True, help="Charge for leaving the reference."
    )
    kl_control: str = setting(
        "fixed",
        choices=("fixed", "adaptive"),
        help="adaptive moves kl_coef after each update to hold adaptive_kl_target.",
    )
    adaptive_kl_target: float = setting(
        6.0, unit="nats/answer", low=1e-3, help="The KL that adaptive control holds."
    )
    adaptive_kl_horizon: float = setting(
        10_000.0, unit="answers", low=1.0, help="How slowly adaptive control moves kl_coef."
    )
    kl_estimator: str = setting(
        "k1",
        choices=("k1", "k2", "k3"),
        help="How a token's KL(policy || reference) is estimated for the charge.",
    )
    kl_place: str = setting(
        "reward",
        choices=("reward", "loss"),
        help="Where KL is charged: in the reward of each token, or as GRPO in the loss (k2, k3).",
    )
    gamma: float = setting(1.0, low=0.0, high=1.0, help="Discount for each token.")
    lam: float = setting(0.95, low=0.0, high=1.0, help="GAE's lambda: 1 = no bias, 0 = one step.")
    clip_range: float = setting(
        0.2, low=0.0, high=10.0, live=True, help="How far the ratio may move and still learn."
    )
    clip_range_high: float = setting(
        0.0, low=0.0, high=10.0, help="Clip-higher: how far above 1 it may move; 0 = clip_range."
    )
    value_clip_range: float = setting(
        0.2, low=0.0, high=1e6, help="How far a value may move from its rollout value."
    )
    value_coef: float = setting(0.5, low=0.0, help="Weight of the value loss.")
    value: str = setting(
        "adapter",
        choices=("adapter", "shared"),
        help="adapter: a LoRA of its own; shared: a head on the policy's trunk.",
    )
    advantage: str = setting(
        "gae", choices=("gae", "rloo", "group"), help="rloo and group need no value model."
    )
    group_scale: str = setting(
        "deviation",
        choices=("deviation", "none"),
        help="group: advantages in deviations of their group, or as they are (Dr. GRPO).",
    )
    whiten_advantages: bool | str = setting(
        "auto",
        choices=("auto", True, False),
        help="Advantages to mean 0, deviation 1 an update; auto: gae's alone.",
    )
    score_normalisation: str = setting(
        "none",
        choices=("none", "running", "batch"),
        help="Scores to mean 0, deviation 1: of all so far, or of each update's.",
    )
    score_clip: float = setting(
        10.0, unit="deviations", low=0.0, help="Scores are clipped to +- this; 0 = off."
    )
    missing_eos_penalty: float = setting(
        1.0, unit="reward", low=0.0, help="Taken from an answer that did not end by itself."
    )
    length_penalty: float = setting(
        0.0, unit="reward/token", low=0.0, help="Taken for every token of an answer."
    )
    target_kl: float = setting(
        0.0, unit="nats/token", low=0.0, help="Stop an update's epochs past this; 0 = off."
    )
    keep_best: bool = setting(
        False, help="final/ is the update with the best watched score, not the last one."
    )
    patience: int = setting(
        0,
        unit="updates",
        low=0,
        help="Stop when the watched score has had no new best for so many updates; 0 = off.",
    )

    @property
    def whitens(self) -> bool:
        """Whether advantages are whitened; rloo's and group's stay as they are unless asked."""
        whitening = self.whiten_advantages
        return self.advantage == "gae" if whitening == "auto" else bool(whitening)

    def check_heldout(self, heldout: bool) -> None:
        """Refuse settings that go by the watched score where there is none.

        Raises:
            ConfigError: ``keep_best`` or ``patience`` without a held-out reward model.
        """
        name = "keep_best" if self.keep_best else "patience"
        if not heldout and (self.keep_best or self.patience):
            raise ConfigError(
                f"{name} goes by the watched score, and there is none",
                where=f"{name} = {getattr(self, name)}",
                fix="give heldout_reward, a reward model that was trained on other pairs",
            )


def _is_prompt(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value)
    if not isinstance(value, list | tuple) or not value:
        return False
    messages = cast("Sequence[Any]", value)
    return all(isinstance(m, dict) and _is_message(cast("dict[str, Any]", m)) for m in messages)


def _is_message(message: dict[str, Any]) -> bool:
    return message.get("role") in ROLES and isinstance(message.get("content"), str)


KINDS: dict[str, type[RunSettings]] = {
    cls.kind: cls
    for cls in (SFTSettings, RewardSettings, DPOSettings, OnlineDPOSettings, PPOSettings)
}
