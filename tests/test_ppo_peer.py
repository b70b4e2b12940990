"""The arithmetic of the PPO comparison: floating-point operations, and what counts as a failure."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("benchmarks")))
    for name in ("ppo_peer", "ppo_own", "ppo_made", "record"):
        sys.modules.pop(name, None)
    import ppo_peer

    return ppo_peer


def test_operations_by_hand(peer, monkeypatch):
    """A trunk of 10 weights and a head of 3, 4 + 2 tokens, one epoch."""
    monkeypatch.setattr(peer, "weights", lambda: (10, 3))
    monkeypatch.setattr(peer.made, "EPOCHS", 1)
    run = {"prompt_tokens": 4, "response_tokens": 2}
    decoded = 2 * 10 * 6 + 2 * 3 * 2
    shared = decoded + 2 * 3 * 10 * 6 + 2 * 2 * 3 * 2 + 4 * (10 * 6 + 3 * 2)
    assert peer.flops(run, "shared") == shared
    assert peer.flops(run, "adapter") == shared + 2 * 10 * 6 + 4 * 10 * 6
    lora = decoded + 2 * (3 * 10 + 3) * 6 + 6 * (4 * 13 + 4 * 10)
    assert peer.flops(run, "lora") == lora
    assert peer.flops(run, "full") == lora + 6 * 2 * 10


@pytest.mark.parametrize("value", ["adapter", "shared"])
def test_our_side_and_its_floor_run(peer, monkeypatch, tmp_path, value):
    """Two updates of four answers of four tokens to prompts of three."""
    import ppo_own
    import torch

    for owner, name in ((ppo_own.ppo, "Clock"), (ppo_own.ppo.PPOTrainer, "sample")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # it changes them for its process
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    monkeypatch.setattr(peer.made, "SIZES", {**peer.made.SIZES, **small, **heads})
    for name, size in {"PROMPTS": 8, "BATCH": 4, "ANSWER": 4, "FIXED_PROMPT": 3}.items():
        monkeypatch.setattr(peer.made, name, size)
    peer.made.make(tmp_path)
    found = ppo_own.run(str(tmp_path), "fixed", value, 2)
    assert found["sizes"] == [[(3, 4)] * 4] * 2
    assert (found["prompt_tokens"], found["response_tokens"]) == (24, 32)
    assert ppo_own.floor(str(tmp_path), "fixed", value, found["sizes"])["cpu_seconds"] > 0


def test_a_promise_that_does_not_hold_is_named(peer):
    ours = {"times_full": 5.5, "floor": 0.8, "peak_mb": 700.0}
    sides = {"full": {"peak_mb": 1000.0}, "lora": {"peak_mb": 900.0}}
    good = {"lengths": {"natural": {**sides, "adapter": ours, "shared": ours}}}
    assert peer.failures(good) == []
    bad = {**ours, "times_full": 4.0, "floor": 0.7, "peak_mb": 950.0}
    found = peer.failures({"lengths": {"natural": {**sides, "adapter": ours, "shared": bad}}})
    assert found == [
        "natural lengths, value shared: 4.0 times the peer, not 5.0",
        "natural lengths, value shared: 70% of the floor, not 75%",
        "natural lengths, value shared: 950.0 MB, the peer 900.0",
    ]
