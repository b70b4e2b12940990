"""The reward-model comparison's arithmetic, and the pairs that both sides get."""

import statistics
import sys
from pathlib import Path

import pytest


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("benchmarks")))
    for name in ("reward_peer", "reward_made", "ppo_made", "peers", "record"):
        sys.modules.pop(name, None)
    import reward_peer

    return reward_peer


def side(seconds, **more):
    return {
        "pairs": 60,
        "given": 60,
        "cpu_seconds": seconds,
        "tokens": 100,
        "micro_batch_tokens": 1024,
        "peak_mb": 10.0,
        "heldout_loss": 0.6,
        "floor_cpu_seconds": 9.0,
        **more,
    }


def test_ratios_are_of_runs_that_followed_each_other(peer):
    found = peer.compared(
        [side(10.0), side(12.0), side(20.0)],
        [side(30.0, tokens=180), side(30.0), side(80.0)],
    )
    assert found["ratios"] == [3.0, 2.5, 4.0] and found["ratio"] == 3.0
    assert found["pairs_per_cpu_second"] == 5.0 and found["token_ratio"] == 1.8
    assert found["of_floor"] == 0.75 and found["dropped"] == 0


def test_a_promise_that_does_not_hold_is_named(peer):
    good = peer.compared([side(8.0)], [side(40.0)])
    assert peer.failures({"fixed": good, "dialogue": good}) == []
    bad = peer.compared([side(20.0, peak_mb=11.0, pairs=59, heldout_loss=0.7)], [side(40.0)])
    assert [line.split(": ")[1] for line in peer.failures({"fixed": bad, "dialogue": good})] == [
        "ratio at least 2.2 does not hold",
        "of the floor at least 0.95 does not hold",
        "memory no more than the peer's does not hold",
        "no pair dropped does not hold",
        "held-out loss no worse does not hold",
    ]


def test_the_lengths_are_those_that_are_promised(peer):
    counts = {
        kind: {
            side: [len(row[side].split()) for row in peer.reward_made.pairs(kind)]
            for side in ("prompt", "chosen", "rejected")
        }
        for kind in peer.reward_made.KINDS
    }
    assert min(counts["fixed"]["prompt"]) >= 80 and max(counts["fixed"]["prompt"]) <= 112
    assert min(counts["fixed"]["chosen"]) >= 16 and max(counts["fixed"]["chosen"]) <= 64
    talk = counts["dialogue"]
    assert 80 <= statistics.median(talk["prompt"]) <= 95
    assert 105 <= statistics.mean(talk["prompt"]) <= 123
    assert all(29 <= statistics.median(talk[side]) <= 37 for side in ("chosen", "rejected"))
