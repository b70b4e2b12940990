"""A run's model as plain weights: the adapter merged into its base, in 16 or 32 bits."""

import json
from pathlib import Path
from typing import Any

import torch

from workbench.errors import ConfigError, ModelError, disk_watched
from workbench.models.base import DTYPES, Base, check_plain, load_base, load_plain
from workbench.models.fast.dense_weights import layers_of, merged
from workbench.models.roles import Roles
from workbench.models.source import CARD, STATS, Source, resolve
from workbench.settings import RunSettings
from workbench.training.checkpoint import replace_folder
from workbench.training.reward.scorer import Scorer

_ROLE = Scorer.ROLE
CHOICES = ("auto", "float32", "bfloat16", "float16")


def export_model(model: str, folder: Path, settings: RunSettings, *, dtype: str) -> dict[str, Any]:
    """Write plain weights that need neither peft nor the base.

    The base is taken as the run saw it: where that was NF4, its 4-bit values are unpacked, so that
    the model scores and speaks as it was trained to. Nothing is merged into 4 bits.

    Args:
        model: a run or its ``final/``: of a reward model a sequence classifier is made, of any
            other a causal language model.
        folder: where to; must not exist yet.
        settings: device and threads.
        dtype: of the weights; auto is what the run computed in.

    Returns:
        What was written: ``folder``, ``kind``, ``dtype`` and ``base``.

    Raises:
        ConfigError: the folder exists, or the dtype is none of weights.
        ModelError: there is no adapter to merge, or several.
    """
    if dtype not in CHOICES:
        raise ConfigError(
            f"weights cannot be written as {dtype!r}",
            where="export_model",
            fix=f"choose one of {', '.join(CHOICES)}; nothing is merged into 4 bits",
        )
    if folder.exists():
        raise ConfigError(
            "there is something there already", where=str(folder), fix="give a folder that is new"
        )
    source = resolve(model)
    _check_one_adapter(source, model)
    check_plain(source)
    trained = _card(source)
    as_trained = {name: trained[name] for name in ("quantization", "dtype") if name in trained}
    base = load_base(source, settings.changed(**as_trained))
    roles = Roles(base, settings)
    roles.add(_ROLE, trainable=False, source=source.adapter)
    wide = base.dtype if dtype == "auto" else DTYPES[dtype]
    plain = load_plain(base, scores=source.is_reward, dtype=wide)
    with torch.no_grad():
        for name, layer in layers_of(base.model):
            plain.get_parameter(f"{name}.weight").copy_(merged(layer, _ROLE, torch.float32))
    if source.is_reward:
        _put_head(roles, plain)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with disk_watched(folder):
        replace_folder(folder, lambda aside: _write(aside, plain, base, source))
    name = str(wide).removeprefix("torch.")
    kind = "reward" if source.is_reward else "policy"
    return {"folder": str(folder), "kind": kind, "dtype": name, "base": source.reference}


def _check_one_adapter(source: Source, model: str) -> None:
    if source.adapter is None:
        raise ModelError(
            "this model has no adapter: it is plain weights already",
            where=model,
            fix="give a run of train_sft, train_reward or train_ppo",
        )
    if source.members:
        raise ModelError(
            f"an ensemble of {len(source.members)} members is no single model",
            where=model,
            fix=f"export one of them, e.g. {source.members[0]}",
        )


def _card(source: Source) -> dict[str, Any]:
    path = source.judges[0] / CARD
    return json.loads(path.read_text()) if path.is_file() else {}


@torch.no_grad()
def _put_head(roles: Roles, plain: Any) -> None:
    """The head that was trained: a decoder's, or an encoder's modules of several layers."""
    if not roles.base.encoder:
        plain.score.weight.copy_(roles.heads[_ROLE].weight)
        return
    for name in roles.whole_heads():
        plain.get_submodule(name).load_state_dict(roles.own_head(_ROLE, name).state_dict())


def _write(folder: Path, plain: Any, base: Base, source: Source) -> None:
    plain.save_pretrained(str(folder))
    base.tokenizer.save_pretrained(str(folder))  # pyright: ignore[reportUnknownMemberType]
    card = {"kind": "export", "started_from": source.reference, "adapter": str(source.adapter)}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
    stats = source.judges[0] / STATS
    if stats.is_file():
        (folder / STATS).write_text(stats.read_text())
