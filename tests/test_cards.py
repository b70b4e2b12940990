import pytest

import workbench as wb
from workbench.cards import PRESETS, preset_settings
from workbench.errors import ConfigError
from workbench.settings import PPOSettings


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_holds_settings_that_are_allowed_and_fit_together(name):
    made = PPOSettings.from_dict(PRESETS[name].settings)
    assert made.max_length > made.response_length
    assert made.micro_batch_tokens >= made.max_length  # the longest answer fits into one forward
    assert made.batch_size % (made.mini_batches * made.samples_per_prompt) == 0
    assert made.learning_rate == "auto"


def test_what_is_given_counts_over_the_preset():
    found = preset_settings("t4-0.5b", {"epochs": 3, "seed": 1})
    assert found == {**PRESETS["t4-0.5b"].settings, "epochs": 3, "seed": 1}
    assert preset_settings(None, {"epochs": 3}) == {"epochs": 3}


def test_a_preset_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ConfigError, match="no preset called t4") as caught:
        preset_settings("t4", {})
    assert all(name in caught.value.fix for name in PRESETS)


def test_the_table_shows_what_each_sets_and_the_default_elsewhere():
    table = wb.presets()
    assert list(table.index) == list(PRESETS)
    assert table.loc["cpu-tiny", "batch_size"] == PPOSettings().batch_size
    assert table.loc["24gb-7b", "micro_batch_tokens"] == 2560
    assert table["gradient_checkpointing"].tolist() == [False, True, True, True]
