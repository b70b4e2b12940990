"""New pairs from a policy: what the reward model is least sure of, and a share at random."""

import math
import random
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from workbench import quick
from workbench.data.labelling.item_order import how_sure
from workbench.errors import DataError
from workbench.runs import Run
from workbench.verbs import batch
from workbench.verbs.views import sureness

if TYPE_CHECKING:
    from workbench.data.messages import Message
    from workbench.data.pairs import Pair

POOL = 4  # candidates drawn for each pair that is kept
SAMPLING = ("temperature", "response_length", "max_length", "quantization", "dtype", "device")


class RoundStart(NamedTuple):
    """What a round stands on: the policy of the round before, and what that was made of."""

    policy: Run
    reward: Run
    reference: str  # what the first round's policy started from
    number: int


def draw_round(start: RoundStart, *, pairs: int, explore: float, seed: int) -> "list[Pair]":
    """Sample candidates from the policy, score them, and choose.

    Raises:
        DataError: the policy gives two different answers to none of its prompts.
    """
    prompts = [row["prompt"] for row in start.policy.folder.data_rows()]
    lots = random.Random(f"{seed} {start.number}")
    wanted = min(pairs, quick.PROMPTS) if quick.is_quick() else pairs
    drawn_prompts = [prompts[i] for i in passes(len(prompts), POOL * wanted, lots)]
    own = start.policy.config["settings"]
    settings = {name: own[name] for name in SAMPLING if name in own}
    sampled = batch.answers(
        [start.policy], drawn_prompts, responses=2, **settings, seed=seed + start.number
    )[0]
    both = [
        (prompt, (first["text"], second["text"]))
        for prompt, (first, second) in zip(drawn_prompts, sampled, strict=True)
        if first["text"] != second["text"] and first["text"] and second["text"]
    ]
    if not both:
        raise DataError(
            "the policy gives the same answer twice to every prompt",
            where=str(start.policy.path),
            fix="its answers have nothing left to choose from; raise the temperature",
        )
    flat = [(prompt, text) for prompt, texts in both for text in texts]
    settings.pop("temperature", None)
    settings.pop("response_length", None)
    by_member = batch.member_scores(
        start.reward, [prompt for prompt, _ in flat], [text for _, text in flat], **settings
    )
    scores = [fmean(own) for own in zip(*by_member, strict=True)]
    gaps = [
        how_sure(sureness([own[2 * i : 2 * i + 2] for own in by_member])) for i in range(len(both))
    ]
    return [
        _pair(*both[i], scores[2 * i : 2 * i + 2], start, reason)
        for i, reason in chosen(gaps, wanted, explore, lots)
    ]


def chosen(
    gaps: Sequence[float], wanted: int, explore: float, lots: random.Random
) -> list[tuple[int, str]]:
    """Which candidates are kept, and why: the smallest gaps, and a share at random.

    Args:
        gaps: how sure the reward model is of each, 0 = not at all.
        wanted: how many to keep, at most.
        explore: the share of these drawn at random.
        lots: what is drawn with.

    Returns:
        ``(candidate, "uncertain" or "random")``, shuffled.
    """
    wanted = min(wanted, len(gaps))
    at_random = round(explore * wanted)
    order = sorted(range(len(gaps)), key=lambda i: gaps[i])
    unsure, rest = order[: wanted - at_random], order[wanted - at_random :]
    kept = [(i, "uncertain") for i in unsure]
    kept += [(i, "random") for i in lots.sample(rest, at_random)]
    lots.shuffle(kept)
    return kept


def passes(count: int, wanted: int, lots: random.Random) -> list[int]:
    """``wanted`` of ``count`` numbers, none again before each was drawn."""
    drawn: list[int] = []
    while len(drawn) < wanted:
        drawn += lots.sample(range(count), count)
    return drawn[:wanted]


def _pair(
    prompt: "list[Message]",
    texts: tuple[str, str],
    scores: Sequence[float],
    start: RoundStart,
    reason: str,
) -> "Pair":
    from workbench.data.pairs import Pair

    responses = [[{"role": "assistant", "content": text}] for text in texts]
    source = {"dataset": f"round {start.number}", "model": str(start.policy.path)}
    known = [None if math.isnan(score) else score for score in scores]
    meta = {"reason": reason, "scores": known, "reward": str(start.reward.path)}
    return Pair.make(prompt, responses, source=source, meta=meta)  # pyright: ignore[reportArgumentType]
