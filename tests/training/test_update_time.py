"""What a step takes: planned by shapes, corrected by its first seconds, then by the step before."""

from types import SimpleNamespace

import pytest
import torch

from workbench.events import Phase
from workbench.model_shapes import TINY_CHAT, Card, step_seconds, update_seconds
from workbench.settings import OnlineDPOSettings, PPOSettings, RewardSettings, SFTSettings
from workbench.training import update_time
from workbench.training.update_time import UpdateTime, UpdateTimes

PLANNED = {"generating": 10.0, "scoring": 20.0, "optimising": 30.0}
CARD = Card("a card", 1, bandwidth=4e5, peak=1e6, share=0.5)
ROWS = [{"prompt": [{"role": "user", "content": "x" * 36}]}]  # 40 letters: 10 tokens


def phase(name, done=0, total=0, step=1):
    return Phase(step, 5, name, done, total, "tokens")


def test_before_anything_is_done_it_is_as_planned():
    times = UpdateTime(PLANNED)
    assert times.seconds == 60.0
    assert "shape" in times.source
    times.take(phase("generating", 0, 64), 100.0)
    times.take(phase("generating", 8, 64), 101.0)  # one second says nothing yet
    assert times.seconds == 60.0
    assert UpdateTime({}).seconds is None


def test_the_first_seconds_of_work_correct_the_whole_step():
    times = UpdateTime(PLANNED)
    times.take(phase("generating", 0, 64), 100.0)
    times.take(phase("generating", 16, 64), 105.0)  # a quarter in 5 s: 20 s, twice the plan
    assert times.seconds == pytest.approx(120.0)
    assert times.source == "its first seconds"
    times.take(phase("scoring", 0, 8), 130.0)  # it took 30 s, three times the plan
    assert times.seconds == pytest.approx(180.0)
    times.take(phase("scoring", 4, 8), 140.0)  # half in 10 s: 20 s, so 50 s where 30 were planned
    assert times.seconds == pytest.approx(50.0 + 30.0 * 50 / 30)


def test_after_a_step_it_is_what_that_step_took():
    times = UpdateTime(PLANNED)
    times.take(phase("generating"), 100.0)
    times.take(phase("optimising"), 130.0)
    times.take(phase("generating", step=2), 142.0)
    assert (times.seconds, times.source) == (42.0, "the one before")
    times.take(phase("generating", 32, 64, step=2), 150.0)
    assert times.seconds == 42.0
    times.take(phase("generating", step=3), 160.0)
    assert times.seconds == 18.0


def test_the_watched_answers_do_not_count_as_the_steps_own():
    times = UpdateTime(PLANNED)
    for name, now in (("generating", 0.0), ("scoring", 10.0), ("optimising", 30.0)):
        times.take(phase(name), now)
    times.take(phase("generating", 8, 64), 60.0)  # of the sample table
    times.take(phase("generating", 16, 64), 70.0)
    assert times.seconds == pytest.approx(60.0)


def test_what_is_planned_is_the_formula_of_the_shapes():
    settings = PPOSettings(response_length=16, batch_size=8)
    planned = update_time.planned_phases(TINY_CHAT, CARD, settings, ROWS)
    expected = update_seconds(TINY_CHAT, CARD, settings, update_time.Lengths(10, 16), dense=True)
    assert planned == dict(zip(PLANNED, expected, strict=True))
    sft = SFTSettings(batch_size=4, quantization="none")
    seconds = step_seconds(TINY_CHAT, CARD, sft, 40, 40)
    assert update_time.planned_phases(TINY_CHAT, CARD, sft, ROWS) == {"training": seconds}
    reward = RewardSettings(batch_size=4, members=3, quantization="none")
    seconds = 3 * step_seconds(TINY_CHAT, CARD, reward, 40, 0)
    assert update_time.planned_phases(TINY_CHAT, CARD, reward, ROWS) == {"training": seconds}
    for count, size in ((799, 8), (5000, 32)):  # a batch that was left open
        rows = (ROWS * count)[:count]
        seconds = 3 * step_seconds(TINY_CHAT, CARD, reward, 10 * size, 0)
        open_ = reward.changed(batch_size=0)
        assert update_time.planned_phases(TINY_CHAT, CARD, open_, rows) == {"training": seconds}


def test_online_dpo_is_planned_as_an_update_of_two_answers_to_each_prompt():
    online = OnlineDPOSettings(batch_size=32)
    alike = PPOSettings(batch_size=64, advantage="rloo", samples_per_prompt=2, mini_batches=1)
    one, other = (
        update_time.planned_phases(TINY_CHAT, CARD, settings, ROWS) for settings in (online, alike)
    )
    assert list(one) == ["generating", "scoring", "training"]
    assert list(one.values()) == list(other.values())


def test_a_model_whose_config_cannot_be_read_has_no_plan(tmp_path):
    assert update_time.model_shape(str(tmp_path / "none")) is None
    assert UpdateTime.planned(str(tmp_path), PPOSettings(), ROWS).seconds is None
    assert update_time.model_shape("builtin:tiny-chat").linear == TINY_CHAT.linear


def test_the_machine_is_measured_and_its_threads_stay():
    before = torch.get_num_threads()
    card = update_time.measured_card(torch.device("cpu"), 1)
    assert torch.get_num_threads() == before
    assert 1e8 < card.peak < 1e14
    assert 1e8 < card.bandwidth < 1e13


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, [64, 32, 16, 8, 4]),
        ({"batch_size": 24, "samples_per_prompt": 4}, [24, 12, 4]),
        ({"batch_size": 2}, [2]),
    ],
)
def test_batches_are_halved_in_whole_prompts(settings, sizes):
    assert update_time.halved(PPOSettings(**settings)) == sizes


def test_a_short_update_says_what_larger_ones_take(monkeypatch):
    settings = PPOSettings(batch_size=16, response_length=20)
    short = settings.changed(batch_size=8, response_length=10, mini_batches=1)
    metrics = {"time/generate": 2.0, "time/score": 3.0, "time/optimise": 5.0}
    monkeypatch.setattr(update_time, "model_shape", lambda _: None)
    by_tokens = UpdateTimes("m", settings, [])
    assert by_tokens.by_update(short, metrics) == [(16, 40.0), (8, 20.0), (4, 10.0)]
    monkeypatch.setattr(update_time, "model_shape", lambda _: TINY_CHAT)
    monkeypatch.setattr(update_time, "measured_card", lambda *_: CARD)
    by_plan = UpdateTimes("m", settings, [[{"role": "user", "content": "why?"}]])
    assert by_plan.words.startswith("an update of 16 answers takes about ")
    same = UpdateTimes("m", short, [[{"role": "user", "content": "why?"}]])
    assert same.by_update(short, metrics)[0] == (8, pytest.approx(10.0))  # what was measured
    sizes, seconds = zip(*by_plan.by_update(short, metrics), strict=True)
    assert sizes == (16, 8, 4)
    assert seconds[0] > seconds[1] > seconds[2] > 0


def test_a_pause_is_no_work():
    """The clock that is handed over stands still meanwhile (child.py), so that nothing changes."""
    times, controls = UpdateTime(PLANNED), SimpleNamespace(waited=0.0)
    times.take(phase("generating", 0, 64), 100.0 - controls.waited)
    controls.waited = 1000.0
    times.take(phase("generating", 16, 64), 1105.0 - controls.waited)
    assert times.seconds == pytest.approx(120.0)
