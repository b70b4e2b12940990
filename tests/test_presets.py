import json
from pathlib import Path

import pytest

import workbench as wb
from workbench.errors import ConfigError
from workbench.presets import PRESETS, preset_settings, rounded
from workbench.settings import PPOSettings


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_holds_settings_that_are_allowed_and_fit_together(name):
    made = PPOSettings.from_dict(PRESETS[name].settings)
    assert made.max_length > made.response_length
    assert made.tokens_at_once >= made.max_length  # the longest answer fits into one forward
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
    assert table["gradient_checkpointing"].tolist() == ["auto", True, True, True]


SLOW = pytest.mark.slow  # the passes of 24 to 32 layers are gone through


@pytest.mark.parametrize(
    "name", ["cpu-tiny", *(pytest.param(name, marks=SLOW) for name in list(PRESETS)[1:])]
)
def test_the_memory_that_is_told_is_what_is_planned(name, tmp_path):
    from workbench.training.checks.memory_plan import plan

    preset = PRESETS[name]
    settings, on = PPOSettings.from_dict(preset.settings), preset.planned
    (tmp_path / "config.json").write_text(json.dumps(on.shape.config))
    card = None if on.card.name.startswith("one CPU") else round(on.card.gb * 1e9)
    told = plan(
        str(tmp_path), settings.changed(device="cpu" if card is None else "auto"), card=card
    )
    phases = {}
    needed = [p for p in told["parts"] if "to train on" not in p["part"]]  # that fills free room
    for part in needed:
        phases[part["phase"]] = phases.get(part["phase"], 0) + part["bytes"] / 1e9
    assert on.gb == pytest.approx(max(phases.values()), rel=0.02)
    copied = any(part["part"].startswith("dense copy") for part in needed)
    assert on.dense == (copied or told["unpacks"])  # what is dense to train on is sampled from too


@pytest.mark.parametrize("name", PRESETS)
def test_each_fits_on_its_card_with_a_gb_for_cuda(name):
    assert PRESETS[name].planned.gb + 1 <= PRESETS[name].planned.card.gb


def test_minutes_are_of_all_updates_of_the_planned_lengths():
    from workbench.model_shapes import update_seconds

    preset = PRESETS["24gb-7b"]
    settings = PPOSettings.from_dict(preset.settings)
    one = update_seconds(*preset.planned[1::-1], settings, preset.planned.lengths, dense=False)
    assert preset.minutes == pytest.approx(150 * one.total / 60)
    assert rounded(516.5) == 520.0


def test_the_table_says_that_its_figures_are_planned_and_what_for():
    table = wb.presets()
    assert table.loc["t4-0.5b", "planned_gb"] == 3.3
    assert table.loc["t4-0.5b", "planned_minutes"] == rounded(PRESETS["t4-0.5b"].minutes)
    assert table.loc["t4-0.5b", "basis"] == (
        "planned, not measured: Qwen2.5-0.5B on T4, prompts of 256 and answers of 128 tokens"
    )


def planned_table() -> str:
    """What each preset is planned to take, as the page shows it."""
    lines = ["| preset | planned GB | planned minutes | updates | for |", "|---|---|---|---|---|"]
    for name, preset in PRESETS.items():
        steps = PPOSettings.from_dict(preset.settings).steps
        about = preset.basis.partition(": ")[2]
        figures = f"{preset.planned.gb:.2g} | {rounded(preset.minutes):g} | {steps}"
        lines.append(f"| `{name}` | {figures} | {about} |")
    return "\n".join(lines)


def test_the_examples_have_these_figures():
    page = Path(__file__).parents[1] / "notebooks" / "README.md"
    assert planned_table() in page.read_text(encoding="utf-8")
