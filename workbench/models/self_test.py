"""Loaded means checked: what we compute of a model is what its own forward computes.

The test takes a dozen forwards of a few tokens, and is remembered by the model's fingerprint and
all else that decides its outcome.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers

from workbench.models.answer_scores import prove_scores
from workbench.models.fast.decoding import PADDED as CACHE
from workbench.models.fast.decoding import SLOTS, prove_decoding
from workbench.models.forward import ALONE, prove_packing, prove_padding
from workbench.models.loaded_base import OWN_FORWARD, Base, Proof
from workbench.models.proof import Trial, trial
from workbench.version import __version__

LONG = 1.0
"""A test that took longer is remembered beyond this process. [seconds]"""
NOTED = 1e-3
"""Ids that are never sampled are worth a word where they had more than this. [nats]"""
_known: dict[str | None, dict[str, Proof]] = {}


def self_test(base: Base) -> None:
    """Prove every way in which a base is computed; what a person should know is in its notices.

    Raises:
        ModelError: the model's own forward fails on a few tokens, or nothing we do agrees with it.
    """
    key = _key(base)
    base.proofs |= _remembered(key)
    start = time.monotonic()
    known = None if base.proofs else trial(base)
    if base.answers:
        _ = base.width  # seen in a forward, while no adapter is there yet
    for prove in PROOFS:
        prove(base, known)
    if key is not None:
        _remember(key, base.proofs, on_disk=time.monotonic() - start > LONG)
    base.notices += _notices(base)


def _unsaid(base: Base, known: Trial | None) -> None:
    """How far what is sampled is from what is scored, since some ids are never sampled."""
    if base.answers and known is not None and len(base.unsaid):
        chances = torch.cat(known.own).exp()[:, base.unsaid].sum(-1)
        nats = -float(torch.log1p(-chances.max().clamp(max=0.999)))
        base.proofs["unsaid"] = Proof(f"{len(base.unsaid)} ids are never sampled", nats, {})


PROOFS: tuple[Callable[[Base, Trial | None], Any], ...] = (
    lambda base, _: base.own_head if base.answers else None,
    prove_packing,
    prove_padding,
    prove_scores,
    lambda base, known: prove_decoding(base, known) if base.answers else None,
    _unsaid,
)
"""What is tried, in this order; each leaves its outcome in ``base.proofs``."""


def _key(base: Base) -> str | None:
    """A digest of all that decides the outcome; None where the model's files are not at hand."""
    if base.fingerprint is None:
        return None
    versions = (__version__, torch.__version__, transformers.__version__)
    loaded = (base.device.type, str(base.dtype), base.quantization, base.source.tokenizer)
    config = base.model.config.to_json_string(use_diff=False)
    parts = (base.fingerprint, type(base.model).__name__, *versions, *loaded, config)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlhf-workbench"


def _remembered(key: str | None) -> dict[str, Proof]:
    """The proofs of a test that was made before; none where there was none."""
    if key in _known:
        return dict(_known[key])
    try:
        table = json.loads((_folder() / f"{key}.json").read_text())
        return {name: Proof(**values) for name, values in table.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _remember(key: str, proofs: dict[str, Proof], *, on_disk: bool) -> None:
    _known[key] = dict(proofs)
    if not on_disk:
        return
    table = {name: proof._asdict() for name, proof in proofs.items()}
    with suppress(OSError):  # a home that cannot be written to costs the time again
        _folder().mkdir(parents=True, exist_ok=True)
        (_folder() / f"{key}.json").write_text(json.dumps(table))


def _notices(base: Base) -> list[str]:
    """What is not done in the quickest way, and why."""
    proofs, notices = base.proofs, list[str]()
    if "head" in proofs and proofs["head"].way == OWN_FORWARD:
        notices.append(
            "log-probabilities come through the model's own forward from its last hidden states "
            "on: its output embeddings alone give other logits"
        )
    others = {"packing": "apart", "padding": "one by one", "scores": "one by one"}
    for name, slower in others.items():
        proof = proofs.get(name)
        if proof is not None and proof.way == ALONE:
            (quicker, why), *_ = proof.against.items()
            notices.append(f"sequences go through the model {slower}: {quicker} it is {why}")
    decoding = proofs.get("decoding")
    if decoding is not None and decoding.way not in (SLOTS, CACHE):
        reasons = "; ".join(f"with {way} it is {why}" for way, why in decoding.against.items())
        notices.append(f"sampling is slow, by {decoding.way}: {reasons}")
    unsaid = proofs.get("unsaid")
    if unsaid is not None and unsaid.nats > NOTED:
        notices.append(
            f"{unsaid.way}, since no token has them, though the model gives them up to "
            f"{-math.expm1(-unsaid.nats):.1%} of its probability: log-probabilities are those of "
            f"its own forward, which sampling is {unsaid.nats:.2g} nats from"
        )
    return notices
