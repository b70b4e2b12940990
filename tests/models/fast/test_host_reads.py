"""No number of a micro-batch is looked at while it goes through: on a card each look waits.

On the meta device there are no numbers, so that a look raises.
"""

import pytest
import torch

from workbench.models.fast import on_card
from workbench.models.forward import (
    Flat,
    lay,
    response_hidden,
    response_logprobs,
    sequence_scores,
)
from workbench.models.roles import Roles

from ..tiny import load, tiny_settings
from .launches import ROWS


@pytest.mark.parametrize("recompute", [False, True])
def test_a_micro_batch_goes_forward_and_backward_unseen(tiny, monkeypatch, recompute):
    settings = {"dtype": "bfloat16", "gradient_checkpointing": recompute}
    base = load(tiny, **settings)
    roles = Roles(base, tiny_settings(**settings))
    roles.add("judge", trainable=True)
    head = roles.add_head("judge", trainable=True)
    assert isinstance(lay(ROWS, base), Flat)  # what is tried once for a base needs numbers
    monkeypatch.setattr(on_card, "CARDS", frozenset(("meta",)))
    base.model.to("meta")
    head.to("meta")
    base.device = torch.device("meta")
    with roles.acting("judge"):
        batch = lay(ROWS, base)
        hidden = response_hidden(base, batch)
        said = response_logprobs(base, batch, temperature=0.7, hidden=hidden)
        (said.sum() + sequence_scores(base, head, batch).sum()).backward()
    assert all(p.grad is not None for p in roles.weights("judge"))
    with pytest.raises(RuntimeError, match="meta"):
        float(said.sum().detach())  # this is what a look would do
