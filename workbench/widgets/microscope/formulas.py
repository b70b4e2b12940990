"""The rows of the microscope, and each row's formula with one token's numbers in it."""

from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import Any, NamedTuple


class TokenRow(NamedTuple):
    """One row over the tokens of an answer.

    Attributes:
        key: its name in ``microscope.frame``.
        title: what a person calls it.
        formula: as the papers write it.
        unit: of its numbers; empty where there is none.
        about: the number that says "nothing happened": where the bars stand on.
    """

    key: str
    title: str
    formula: str
    unit: str
    about: float = 0.0


PPO_ROWS = (
    TokenRow("log_ratio", "log-ratio", "log π − log π_ref", "nats"),
    TokenRow("charge", "KL charge", "−β · KL", "points"),
    TokenRow("reward", "reward of the token", "r = charge (+ score)", "points"),
    TokenRow("value", "value", "V, of the rest", "points"),
    TokenRow("delta", "surprise", "δ = r + γ V′ − V", "points"),
    TokenRow("advantage", "advantage", "A = δ + γ λ A′", "points"),
    TokenRow("whitened", "whitened", "Â = (A − mean) ÷ std", ""),
    TokenRow("ratio", "ratio after the update", "ρ = π_after ÷ π", "", 1.0),
    TokenRow("objective", "clipped objective", "min(ρ Â, clip(ρ) Â)", ""),
)
SFT_ROWS = (
    TokenRow("learned", "mask", "1 = learned, 0 = only read", ""),
    TokenRow("probability", "probability", "p: the model's, of the token that stands here", ""),
    TokenRow("loss", "loss", "−ln p", "nats"),
)


def plain(number: float) -> str:
    """A number as a person reads it: three decimals, more only where it would be lost."""
    size = abs(number)
    if not size:
        return "0.000"  # also where it is -0.0
    if size < 5e-4:
        return f"{number:.1e}".replace("e-0", "e-").replace("-", "−")
    return f"{number:.3f}".replace("-", "−")


def _signed(number: float) -> str:
    """The same inside a formula: what is below 0 stands in brackets."""
    return f"({plain(number)})" if number < 0 else plain(number)


def worked_ppo(
    steps: Mapping[str, Sequence[float]],
    record: Mapping[str, Any],
    used: Mapping[str, float],
    at: int,
) -> dict[str, str]:
    """Each row's formula for the token at place ``at``, with this answer's numbers in it.

    Args:
        steps: the rows' numbers, by key; ``value`` and ``delta`` where there is a value model.
        record: the answer as recorded.
        used: ``kl_coef``, ``gamma``, ``lam``, ``clip_range`` and ``paid``, as the sliders stand.
        at: the token's place.
    """
    last = at == len(steps["reward"]) - 1
    beta, gamma, lam, eps, paid = (
        used[name] for name in ("kl_coef", "gamma", "lam", "clip_range", "paid")
    )

    def of(key: str, place: int = at) -> float:
        return float(steps[key][place])

    policy, ref = float(record["logprobs"][at]), float(record["ref_logprobs"][at])
    ratio = of("log_ratio")
    kl = {
        "k1": _signed(ratio),
        "k2": f"{_signed(ratio)}² ÷ 2",
        "k3": f"(exp({plain(-ratio)}) − 1 + {_signed(ratio)})",
    }[str(record["estimator"])]
    lines = {
        "log_ratio": f"{plain(policy)} − {_signed(ref)} = {plain(ratio)}",
        "charge": f"−{plain(beta)} × {kl} = {plain(of('charge'))}",
        "reward": (
            f"{plain(of('charge'))} + {_signed(paid)} = {plain(of('reward'))}: the score comes here"
            if last
            else f"{plain(of('charge'))}: the charge alone, before the last token"
        ),
    }
    if "value" in steps:
        ahead = 0.0 if last else of("value", at + 1)
        later = 0.0 if last else of("advantage", at + 1)
        lines["value"] = f"{plain(of('value'))} expected of this token and the rest"
        lines["delta"] = (
            f"{plain(of('reward'))} + {plain(gamma)} × {_signed(ahead)} − {_signed(of('value'))}"
            f" = {plain(of('delta'))}"
        )
        lines["advantage"] = (
            f"{plain(of('delta'))} + {plain(gamma)} × {plain(lam)} × {_signed(later)}"
            f" = {plain(of('advantage'))}"
        )
    else:
        lines["advantage"] = _against_the_group(record, used) + f" = {plain(of('advantage'))}"
    if record.get("std") is not None:
        mean, std = float(record["mean"]), float(record["std"])
        lines["whitened"] = (
            f"({plain(of('advantage'))} − {_signed(mean)}) ÷ {plain(std)} = {plain(of('whitened'))}"
        )
    else:
        lines["whitened"] = f"{plain(of('whitened'))}: this run does not whiten"
    change = float(record["after_logprobs"][at]) - policy
    lines["ratio"] = f"exp({plain(change)}) = {plain(of('ratio'))}"
    low, high = of("unclipped"), of("clipped")
    top = 1 + (record.get("clip_range_high") or eps)
    lines["objective"] = f"min({plain(low)}, {plain(high)}) = {plain(of('objective'))}" + (
        f": clipped, beyond {1 - eps:.2f} … {top:.2f} nothing more is gained" * (high < low)
    )
    return lines


def _against_the_group(record: Mapping[str, Any], used: Mapping[str, float]) -> str:
    """How ``rloo`` and ``group`` say what an answer was worth beside the others."""
    place, group = int(record["place"]), list(record["group"])
    totals = [float(own) - used["kl_coef"] * float(kl) for own, kl in group]
    totals[place] += used["paid"] - float(group[place][0])
    others = [total for n, total in enumerate(totals) if n != place]
    if record["advantage"] == "rloo":
        mean = sum(others) / len(others)
        return f"{plain(totals[place])} − {_signed(mean)} (mean of {len(others)} other answers)"
    mean = sum(totals) / len(totals)
    if record.get("group_scale") == "none":
        return f"{plain(totals[place])} − {_signed(mean)} (mean of {len(totals)} answers)"
    std = (sum((total - mean) ** 2 for total in totals) / len(totals)) ** 0.5
    return f"({plain(totals[place])} − {_signed(mean)}) ÷ {plain(std)} (of {len(totals)} answers)"


def verdict_ppo(steps: Mapping[str, Sequence[float]], tokens: Sequence[str], at: int) -> str:
    """What the update does about one token, in a sentence."""
    name = tokens[at].strip() or "this token"
    gain, ratio = float(steps["whitened"][at]), float(steps["ratio"][at])
    if gain == 0:
        return f"“{name}” turned out as expected: the update leaves it alone."
    wish = "better than expected: likelier" if gain > 0 else "worse than expected: rarer"
    if abs(ratio - 1) < 5e-4:
        became = "The update left its probability as it was"
    else:
        became = f"The update multiplied its probability by {ratio:.3f}"
        if (ratio - 1) * gain < 0:
            became += ", against its advantage: what other tokens wished moved it along"
    return f"“{name}” turned out {wish}. {became}."


def worked_sft(record: Mapping[str, Any], at: int) -> dict[str, str]:
    """The same for fine-tuning."""
    rows, logprob = sft_steps(record), float(record["logprobs"][at])
    learned, loss, share = rows["learned"][at], rows["loss"][at], rows["probability"][at]
    return {
        "learned": "1: this token is learned" if learned else "0: only read, never learned",
        "probability": f"exp({plain(logprob)}) = {_chance(share)}",
        "loss": f"−ln {_chance(share)} = {plain(loss)} nats"
        + ("" if learned else ", which does not count"),
    }


def verdict_sft(record: Mapping[str, Any], at: int) -> str:
    """What the model expected at one place, in a sentence."""
    name = str(record["tokens"][at]).strip() or "this token"
    likeliest, share = record["expected"][at][0]
    best = str(likeliest).strip() or "a blank"
    if likeliest == record["tokens"][at]:
        return f"The model expected “{best}” with {share:.0%}, and that is what stands here."
    own = sft_steps(record)["probability"][at]
    chance = f"{own:.2%}" if own >= 5e-5 else "less than 0.01%"
    return f"The model expected “{best}” with {share:.0%}; “{name}” stands here, with {chance}."


def _chance(share: float) -> str:
    """A probability inside a formula: four figures, a very small one with its power of ten."""
    return plain(share) if 0 < share < 5e-4 else f"{share:.4g}"


def sft_steps(record: Mapping[str, Any]) -> dict[str, list[float]]:
    """The rows' numbers of a fine-tuning example, by key."""
    logprobs = [float(number) for number in record["logprobs"]]
    return {
        "learned": [float(flag) for flag in record["learned"]],
        "probability": [exp(number) for number in logprobs],
        "loss": [-number for number in logprobs],
    }


Compute = Callable[..., Mapping[str, Sequence[float] | None]]
"""``take_apart`` of a record: (record, kl_coef=, gamma=, lam=, clip_range=, paid=) to rows."""
