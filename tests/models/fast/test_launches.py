"""How many kernels a layer starts on a card: a budget, so that what was saved stays saved."""

import pytest

from .launches import a_layer, as_on_a_card, table

TRAINED, DECODED = 95, 16
"""Kernels a layer: forward and backward together, on dense weights; and a decode step."""
PACKED, AGAIN = 140, 200
"""Forward and backward where the base stays in 4 bits, and where it is computed twice besides."""


@pytest.mark.parametrize(
    ("how", "most"),
    [
        ({"unpacks": True}, TRAINED),
        ({}, PACKED),
        ({"recompute": True}, AGAIN),
    ],
    ids=["dense", "4 bits", "recomputed"],
)
def test_a_layer_starts_no_more_kernels_than_its_budget(tmp_path, monkeypatch, how, most):
    as_on_a_card(monkeypatch)
    found = a_layer(tmp_path, **how)
    taken = {phase: sum(ops.values()) for phase, ops in found.items()}
    assert taken["forward"] + taken["backward"] <= most, table(found)
    assert taken["decode"] <= DECODED, table(found)
    assert taken["decode"] >= 10  # what cannot be counted is not there
