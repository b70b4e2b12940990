"""Which training pairs pushed a reward model's margins, up or down: a job beside scoring.

A pair's gradient is that of its margin by the head and the last layer's adapter, projected to a few
hundred numbers by random signs (a count sketch keeps dot products, on average). How far training
pair i moved another margin is sigma(-margin_i) times the product of the two gradients through the
inverse of all training gradients' second moments (influence functions, Koh and Liang 2017, as TRAK
has them, Park et al. 2023): without it what all pairs have in common drowns the few that differ.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from workbench.data.messages import as_messages
from workbench.errors import DataError
from workbench.models.base import load_base
from workbench.models.encoding import Encoded, Encoder
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import RewardSettings
from workbench.training.optimiser import make_accelerator
from workbench.training.reward.encoded_pairs import encode_comparisons, split
from workbench.training.reward.members import how_scored
from workbench.training.reward.scorer import Scorer

WIDTH = 512  # numbers that a pair's gradient is projected to
DAMPING = 10.0  # times the second moments' mean, added to each: it tames the few that all share
KEPT = "influence.npz"

_Row = dict[str, Any]


class Gradients(NamedTuple):
    """Projected gradients of N margins, or of single scores.

    Attributes:
        projected: ``(N, WIDTH)``.
        margins: ``(N,)``, chosen minus rejected, or the score. [raw reward points]
    """

    projected: NDArray[np.float32]
    margins: NDArray[np.float32]


class Kept(NamedTuple):
    """What stands beside a reward run.

    Attributes:
        rows: the numbers of the training rows that it learned from.
        aside: those of the rows that it kept aside.
        gradients: of the margins of ``rows``.
    """

    rows: list[int]
    aside: list[int]
    gradients: Gradients


def influences(
    reward: str,
    rows: Sequence[_Row],
    settings: RewardSettings,
    targets: Sequence[_Row] | None = None,
    *,
    folder: Path,
    tell: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> dict[str, Any]:
    """How far each training pair of a reward run pushed some margins, or scores.

    The gradients of the training pairs are kept in a folder, and taken from there where the model
    is still the same. Of an ensemble the first member is looked at.

    Args:
        reward: a trained reward model.
        rows: what it was trained on, those that it kept aside among them.
        settings: it was trained with.
        targets: ``{"prompt", "chosen", "rejected"}`` rows or ``{"prompt", "chosen"}``, an answer by
            itself; None: the pairs that the run kept aside.
        folder: where the gradients are kept.
        tell: told how far it is.

    Returns:
        ``{"rows", "pushes", "margins", "targets"}``: the numbers of the training rows; each one's
        share of all that pushed the targets; its own margin [reward points]; how many targets there
        were.

    Raises:
        DataError: there is nothing to explain.
    """
    make_accelerator(settings)
    tell(0, len(rows), "loading the reward model")
    roles = Roles(load_base(resolve(reward), settings), settings)
    scorer = Scorer.attach(reward, roles, settings)

    def gradients_of(some: Mapping[int, tuple[Encoded, ...]], text: str) -> Gradients:
        return gradients(scorer, list(some.values()), lambda done: tell(done, len(some), text))

    file, stamp = folder / KEPT, _stamp(resolve(reward).judges, rows)
    kept = _kept(file, stamp)
    if kept is None:
        comparisons, _ = encode_comparisons(scorer.base, rows, settings)
        prompts = {tuple(one.answers[0].prompt) for one in split(comparisons, settings)[1]}
        encoded = _encoded(scorer, rows, settings)
        aside = [n for n, own in encoded.items() if tuple(own[0].prompt) in prompts]
        learned = {n: own for n, own in encoded.items() if tuple(own[0].prompt) not in prompts}
        known = gradients_of(learned, "gradients of the training pairs, once")
        kept = Kept(list(learned), aside, known)
        _keep(file, stamp, kept)
    if targets is None:
        others = _encoded(scorer, [rows[n] for n in kept.aside], settings)
        wrong = gradients_of(others, "held-out pairs")
    else:
        wrong = gradients_of(_encoded(scorer, targets, settings), "what is to be explained")
    if not len(wrong.margins):
        raise DataError(
            "there is no pair to explain",
            where=reward,
            fix="give labelled pairs: wb.influence(run, pairs), or prompt= and response=",
        )
    std = scorer.members[0].stats.std
    return {
        "rows": kept.rows,
        "pushes": pushes(kept.gradients, wrong).tolist(),
        "margins": [float(margin) / std for margin in kept.gradients.margins],
        "targets": len(wrong.margins),
    }


def pushes(learned: Gradients, targets: Gradients) -> NDArray[np.float64]:
    """Each training pair's share ``(N,)`` of all that pushed the targets' margins; sizes sum to 1.

    sum_t sigma(-m_t) g_t' (G + d I)^-1 g_i sigma(-m_i) with G = sum_i g_i g_i' / N: a target counts
    by how wrong it is.
    """
    own, targeted = (each.projected.astype(np.float64) for each in (learned, targets))
    moments = own.T @ own / max(len(own), 1)
    moments += (DAMPING * moments.trace() / min(own.shape) or 1.0) * np.eye(len(moments))
    towards = np.linalg.solve(moments, _error(targets.margins) @ targeted)
    shares = own @ towards * _error(learned.margins)
    return shares / (np.abs(shares).sum() or 1.0)


def _error(margins: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(np.clip(margins.astype(np.float64), -50, 50)))


def gradients(
    scorer: Scorer, rows: Sequence[tuple[Encoded, ...]], tell: Callable[[int], None]
) -> Gradients:
    """The projected gradient of each margin, chosen minus rejected, or of a score by itself."""
    scoring, _ = how_scored(scorer.base)
    member, weights, device = scorer.members[0], last_weights(scorer), scorer.base.device
    lots, size = torch.Generator().manual_seed(0), sum(weight.numel() for weight in weights)
    place = torch.randint(WIDTH, (size,), generator=lots).to(device)
    sign = (torch.randint(0, 2, (size,), generator=lots) * 2.0 - 1.0).to(device)
    projected, margins = list[Tensor](), list[float]()
    for weight in weights:
        weight.requires_grad_()
    for number, answers in enumerate(rows):
        with scorer.roles.acting(member.role):
            scores = scoring.scores(scorer.base, member.head, [[own.ids for own in answers]])
        margin = scores[0] - scores[1] if len(answers) > 1 else scores[0]
        slopes = torch.autograd.grad(margin, weights)
        flat = torch.cat([slope.flatten().float() for slope in slopes])
        projected.append(flat.new_zeros(WIDTH).index_add(0, place, flat * sign).cpu())
        margins.append(float(margin.detach()))
        tell(number + 1)
    for weight in weights:
        weight.requires_grad_(False)
    table = torch.stack(projected) if projected else torch.zeros(0, WIDTH)
    return Gradients(table.numpy(), np.array(margins, np.float32))


def last_weights(scorer: Scorer) -> list[nn.Parameter]:
    """The first member's head, and its adapter on the last layer that has one."""
    roles, role = scorer.roles, scorer.members[0].role
    assert role is not None
    own = {id(weight) for weight in roles.weights(role)}
    last, weights = -1, list[nn.Parameter]()
    modules = cast("Any", scorer.base.model).named_modules()
    for name, layer in modules:
        numbers = re.findall(r"\.(\d+)\.", str(name))
        if isinstance(layer, LoraLayer) and numbers and int(numbers[0]) >= last:
            if int(numbers[0]) > last:
                last, weights = int(numbers[0]), []
            weights += [weight for weight in cast("Any", layer).parameters() if id(weight) in own]
    return [cast("nn.Parameter", roles.score_layer(role).weight), *weights]


def _encoded(
    scorer: Scorer, rows: Sequence[_Row], settings: RewardSettings
) -> dict[int, tuple[Encoded, ...]]:
    """The answers of each row by its number; what training leaves out is left out."""
    encoder, answers_of = Encoder.of(scorer.base, settings), dict[int, tuple[Encoded, ...]]()
    for number, row in enumerate(rows):
        sides = [as_messages(row[s], "assistant") for s in ("chosen", "rejected") if s in row]
        answers = [own for own in encoder.answers(row["prompt"], sides) if own is not None]
        if len(answers) == len(sides) and (len(sides) == 1 or answers[0] != answers[1]):
            answers_of[number] = tuple(answers)
    return answers_of


def _stamp(adapters: Sequence[Path], rows: Sequence[_Row]) -> str:
    """What kept gradients belong to: the weights, and the rows."""
    digest = hashlib.sha256(f"{WIDTH} {json.dumps(rows)}".encode())
    for adapter in adapters:
        digest.update((adapter / "adapter_model.safetensors").read_bytes())
    return digest.hexdigest()


def _kept(path: Path, stamp: str) -> Kept | None:
    """What was kept of this model and these rows; None where there is nothing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["stamp"]) == stamp:
                known = Gradients(file["projected"], file["margins"])
                return Kept(file["rows"].tolist(), file["aside"].tolist(), known)
    except (OSError, ValueError, KeyError, EOFError):
        pass  # it is made anew
    return None


def _keep(path: Path, stamp: str, kept: Kept) -> None:
    hidden = path.with_name(f".{path.name}")
    numbers = {"rows": np.array(kept.rows, int), "aside": np.array(kept.aside, int)}
    with hidden.open("wb") as file:
        np.savez(file, stamp=np.array(stamp), **numbers, **kept.gradients._asdict())
    hidden.replace(path)
