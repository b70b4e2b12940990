"""Which tokens of an answer its reward score comes from: by taking them away, in drawn orders.

Taken away one after another until only the answer's end marks are left, the changes of the score
add up to the whole by themselves. Their mean over orders is each token's Shapley value (Castro et
al. 2009, who draw orders). Gradients are no help here: gradient times input names tokens hardly
better than chance does (RESULTS.md).
"""

import random
import re
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from workbench.data.messages import Message, as_messages
from workbench.errors import DataError
from workbench.models.base import load_base
from workbench.models.encoding import Encoded
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import PPOSettings
from workbench.training.optimiser import make_accelerator
from workbench.training.reward.scorer import Scorer

DRAWN_ORDERS = (
    8  # each second one is the one before, backwards: what is early in one is late in the next
)
UNITS = 64  # that are taken away by themselves; of a longer answer neighbours go together
_END = re.compile(r"[.!?…]['\")\]]*$")
_CLOSED = re.compile("[\u3002\uff01\uff1f]$|\n")  # full stops of scripts without blanks


class Attribution(NamedTuple):
    """What the score of one answer is made of.

    Attributes:
        texts: of its T tokens, end marks included; together they are the answer.
        score: normalised; of an ensemble the mean. [reward points]
        empty: the score where all tokens but the end marks are taken away.
        parts: of each token; they sum to ``score - empty``. [reward points]
        errors: the standard error of each part, by the drawn orders.
        together: tokens that were taken away at once, and share their part evenly.
        sentences: each with its first token, the token after its last, and the score of the answer
            without it, which is the check: ``{"first", "end", "without"}``; none of a single one.
    """

    texts: list[str]
    score: float
    empty: float
    parts: list[float]
    errors: list[float]
    together: int
    sentences: list[dict[str, Any]]


def attributions(
    reward: str,
    prompts: Sequence[Sequence[Message]],
    responses: Sequence[str],
    settings: PPOSettings,
    *,
    tell: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[Attribution]:
    """Attribute the scores of answers by a trained reward model to their tokens.

    Args:
        reward: its name or folder.
        prompts: message lists.
        responses: one to each.
        settings: quantization, dtype, device, max_length, micro_batch_tokens and seed are used.
        tell: told how far it is.

    Raises:
        DataError: an answer is so long that it has no score.
    """
    make_accelerator(settings)
    tell(0, len(responses), "loading the reward model")
    roles = Roles(load_base(resolve(reward), settings), settings)
    scorer = Scorer.attach(reward, roles, settings)
    return taken_apart(scorer, prompts, responses, settings, tell)


def taken_apart(
    scorer: Scorer,
    prompts: Sequence[Sequence[Message]],
    responses: Sequence[str],
    settings: PPOSettings,
    tell: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[Attribution]:
    """The same by a reward model that is loaded.

    Raises:
        DataError: an answer is so long that it has no score.
    """
    encoder, found = scorer.encoder(settings), list[Attribution]()
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        row = encoder.pair(prompt, as_messages(response, "assistant"))
        if row is None:
            raise DataError(
                "the answer fills max_length, and has no score",
                where=f"answer {number + 1} of {len(responses)}",
                fix="give a larger max_length, or a shorter answer",
            )
        found.append(attribution(scorer, row, encoder.pieces(row.response), settings))
        tell(number + 1, len(responses), "answers taken apart")
    return found


def attribution(
    scorer: Scorer, row: Encoded, texts: list[str], settings: PPOSettings
) -> Attribution:
    """Attribute one encoded answer's score to its tokens, whose texts are given."""
    special = set(scorer.base.tokenizer.all_special_ids)
    plain = [at for at, token in enumerate(row.response) if token not in special]
    together = -(-len(plain) // UNITS) or 1
    units = [plain[at : at + together] for at in range(0, len(plain), together)]
    orders = _orders(len(units), settings.seed)
    spans = _sentences(texts, plain)
    kept = [set(range(len(row.response))) - set(range(*span)) for span in spans]
    for order in orders:
        left = set(range(len(row.response)))
        for unit in order:
            left = left - set(units[unit])
            kept.append(left)
    rows = [row, *(_only(row, some) for some in kept)]
    scores = [float(s) for s in scorer.scores(rows, tokens=settings.tokens_at_once)]
    whole, without, along = scores[0], scores[1 : 1 + len(spans)], scores[1 + len(spans) :]
    changes: list[list[float]] = [[] for _ in units]
    for index, order in enumerate(orders):
        path = [whole, *along[index * len(units) : (index + 1) * len(units)]]
        for unit, before, after in zip(order, path, path[1:], strict=False):
            changes[unit].append(before - after)
    parts, errors = [0.0] * len(row.response), [0.0] * len(row.response)
    for unit, own in zip(units, changes, strict=True):
        halves = [fmean(own[at : at + 2]) for at in range(0, DRAWN_ORDERS, 2)]
        for at in unit:
            parts[at] = fmean(own) / len(unit)
            errors[at] = stdev(halves) / len(halves) ** 0.5 / len(unit)
    spoken = [
        {"first": first, "end": end, "without": score}
        for (first, end), score in zip(spans, without, strict=True)
    ]
    return Attribution(texts, whole, along[-1] if units else whole, parts, errors, together, spoken)


def _orders(count: int, seed: int) -> list[list[int]]:
    lots, orders = random.Random(seed), list[list[int]]()
    for _ in range(0, DRAWN_ORDERS, 2):
        order = list(range(count))
        lots.shuffle(order)
        orders += [order, order[::-1]]
    return orders


def _only(row: Encoded, kept: set[int]) -> Encoded:
    """An answer with some of its tokens."""
    return Encoded(row.prompt, [token for at, token in enumerate(row.response) if at in kept])


def _sentences(texts: Sequence[str], plain: Sequence[int]) -> list[tuple[int, int]]:
    """First token, and the token after the last, of each sentence; none where there is only one."""
    spans, first = list[tuple[int, int]](), 0
    for at in plain:
        text, following = texts[at].rstrip(" "), texts[at + 1 : at + 2]
        numbered = at > 0 and texts[at - 1].strip().isdigit()  # "1." begins a list's item
        apart = not following or following[0][:1].isspace() or at == plain[-1]
        ended = _END.search(text) and apart and not numbered
        if ended or _CLOSED.search(text) or at == plain[-1]:
            spans.append((first, at + 1))
            first = at + 1
    return spans if len(spans) > 1 else []
