import pytest

from workbench import quick
from workbench.settings import PPOSettings, RewardSettings, SFTSettings


@pytest.fixture
def in_a_hurry(monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUICK", "1")


@pytest.mark.parametrize("value", [None, "", "0"])
def test_nothing_is_cut_unless_asked(monkeypatch, value):
    monkeypatch.delenv("WORKBENCH_QUICK", raising=False)
    if value is not None:
        monkeypatch.setenv("WORKBENCH_QUICK", value)
    settings, rows = RewardSettings(), list(range(1000))
    assert quick.shortened(settings, rows) == (settings, rows)
    assert quick.few(rows, 8) == rows


@pytest.mark.usefixtures("in_a_hurry")
def test_a_run_by_epochs_gets_four_steps_and_says_so(capsys):
    settings, rows = quick.shortened(SFTSettings(epochs=3.0, seed=7), list(range(1000)))
    assert (settings.steps, settings.batch_size, settings.seed) == (4, 8, 7)
    assert rows == list(range(256))
    assert "WORKBENCH_QUICK is set: this sft run has 4 steps" in capsys.readouterr().out


@pytest.mark.usefixtures("in_a_hurry")
def test_what_is_shorter_already_stays():
    settings, rows = quick.shortened(RewardSettings(steps=2, batch_size=4), [1, 2, 3])
    assert (settings.steps, settings.batch_size, rows) == (2, 4, [1, 2, 3])


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize(("group", "batch"), [(1, 8), (3, 6), (4, 8), (12, 12)])
def test_ppo_keeps_whole_groups_of_answers_to_a_prompt(group, batch):
    settings, _ = quick.shortened(PPOSettings(batch_size=48, samples_per_prompt=group), [1])
    assert (settings.steps, settings.batch_size) == (4, batch)


@pytest.mark.usefixtures("in_a_hurry")
def test_only_the_first_rows_are_sampled_or_measured():
    assert quick.few("abcdef", 3) == ["a", "b", "c"]


def test_prompts_to_watch_are_cut_too(monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUICK", "1")
    watched = ["a", "b", "c", "d", "e", "f"]
    settings, _ = quick.shortened(PPOSettings(watch_prompts=watched), [])
    assert settings.watch_prompts == ("a", "b", "c", "d")
