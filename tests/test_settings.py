import dataclasses
import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigError
from workbench.settings import KINDS, Checked, PPOSettings, RewardSettings, SFTSettings, setting

ALL = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)


@dataclass(frozen=True, kw_only=True)
class Oven(Checked):
    """A settings class small enough to work out by hand."""

    kind: ClassVar[str] = "oven"

    heat: float = setting(180.0, unit="degrees", low=50, high=250, live=True, help="How hot.")
    trays: int = setting(1, low=1, help="How many.")
    fan: bool = setting(False, help="Hot air.")
    mode: str = setting("top", choices=("top", "both"), help="Which bars.")
    dishes: str | tuple[str, ...] = setting("any", help="What may go in.")
    notes: dict[str, str] = setting({}, help="Anything else.")


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("values", "what", "where", "fix"),
    [
        ({"heat": "hot"}, "heat has the wrong type (str)", "heat = 'hot'", "give float"),
        ({"trays": 1.5}, "trays has the wrong type (float)", "trays = 1.5", "give int"),
        ({"trays": True}, "trays has the wrong type (bool)", "trays = True", "give int"),
        ({"heat": True}, "heat has the wrong type (bool)", "heat = True", "give float"),
        ({"fan": 1}, "fan has the wrong type (int)", "fan = 1", "give bool"),
        ({"dishes": 3}, "dishes has the wrong type (int)", "dishes = 3", "str | tuple[str, ...]"),
        ({"notes": "x"}, "notes has the wrong type (str)", "notes = 'x'", "give dict"),
        ({"mode": "side"}, "mode cannot be 'side'", "mode = 'side'", "one of 'top', 'both'"),
        ({"heat": 300}, "heat is out of range", "heat = 300.0", "from 50 to 250 degrees"),
        ({"heat": 49.9}, "heat is out of range", "heat = 49.9", "from 50 to 250 degrees"),
        ({"heat": math.nan}, "heat is out of range", "heat = nan", "from 50 to 250 degrees"),
        ({"heat": math.inf}, "heat is out of range", "heat = inf", "from 50 to 250 degrees"),
        ({"trays": 0}, "trays is out of range", "trays = 0", "from 1 to inf"),
    ],
)
def test_a_value_that_its_declaration_does_not_allow_is_refused(values, what, where, fix):
    with pytest.raises(ConfigError) as caught:
        Oven(**values)
    assert caught.value.what == what
    assert caught.value.where == f"oven settings: {where}"
    assert fix in caught.value.fix
    assert "MISSING" not in caught.value.fix


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all_of_them():
    with pytest.raises(ConfigError) as caught:
        Oven.from_dict({"heats": 200})
    assert caught.value.what == "there is no setting called heats"
    assert caught.value.where == "oven settings"
    assert "did you mean heat?" in caught.value.fix
    assert "dishes, fan, heat, mode, notes, trays" in caught.value.fix


def test_an_unknown_name_like_no_other_gets_the_list_alone():
    with pytest.raises(ConfigError) as caught:
        Oven().changed(zzz=1)
    assert "did you mean" not in caught.value.fix


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Oven().heat = 200.0


# ------------------------------------------------------------------ what is allowed


def test_bounds_are_allowed_values():
    assert (Oven(heat=50.0).heat, Oven(heat=250.0).heat) == (50.0, 250.0)


def test_a_whole_number_is_a_float_where_a_float_is_meant():
    heat = Oven(heat=200).heat
    assert heat == 200.0 and isinstance(heat, float)


def test_one_default_dict_is_not_shared_by_all():
    first, second = Oven(), Oven()
    first.notes["a"] = "b"
    assert second.notes == {} and Oven().notes == {}


def test_changed_makes_a_copy_that_is_checked_again():
    oven = Oven()
    assert oven.changed(heat=200).heat == 200.0 and oven.heat == 180.0
    with pytest.raises(ConfigError, match="out of range"):
        oven.changed(heat=1000)


@given(
    heat=st.floats(50, 250),
    trays=st.integers(1, 99),
    fan=st.booleans(),
    mode=st.sampled_from(["top", "both"]),
    dishes=st.one_of(st.text(), st.lists(st.text()).map(tuple)),
    notes=st.dictionaries(st.text(), st.text()),
)
def test_settings_come_back_from_json_as_they_were(**values):
    oven = Oven(**values)
    assert Oven.from_dict(json.loads(json.dumps(oven.to_dict()))) == oven


# ------------------------------------------------------------------ what documents read


def test_a_table_row_says_all_that_was_declared():
    assert Oven.table()[0] == {
        "name": "heat",
        "default": 180.0,
        "unit": "degrees",
        "help": "How hot.",
        "low": 50,
        "high": 250,
        "choices": (),
        "live": True,
    }


def test_live_settings_are_those_declared_so():
    assert Oven.live_fields() == ("heat",)


# ------------------------------------------------------------------ the three that there are


@ALL
def test_defaults_run_as_they_stand_and_survive_json(settings):
    made = settings()
    assert settings.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@ALL
def test_every_setting_says_in_one_line_what_it_is_for(settings):
    for row in settings.table():
        text = row["help"]
        assert text.endswith(".") and "\n" not in text and len(text) <= 100, row["name"]


@ALL
def test_the_names_that_notebooks_use_are_there(settings):
    shared = {"seed", "steps", "learning_rate", "quantization", "dtype", "lora_rank", "lora_alpha"}
    shared |= {"target_modules", "max_length", "checkpoint_every", "gradient_checkpointing"}
    assert shared | {"chat_template_kwargs"} <= {row["name"] for row in settings.table()}


def test_the_names_of_one_kind_are_there():
    reward = {row["name"] for row in RewardSettings.table()}
    assert {"batch_size", "epochs"} <= reward
    ppo = {row["name"] for row in PPOSettings.table()}
    assert {"batch_size", "epochs", "mini_batches", "response_length", "temperature"} <= ppo
    assert {"kl_coef", "gamma", "lam", "clip_range", "value", "advantage"} <= ppo
    assert "samples_per_prompt" in ppo


def test_what_may_change_while_a_run_goes_on():
    assert "learning_rate" in SFTSettings.live_fields()
    assert {"kl_coef", "learning_rate", "temperature"} <= set(PPOSettings.live_fields())
    assert not {"batch_size", "seed", "gamma"} & set(PPOSettings.live_fields())


def test_kinds_are_found_by_their_name():
    assert {name: cls.kind for name, cls in KINDS.items()} == {
        "sft": "sft",
        "reward": "reward",
        "dpo": "dpo",
        "online_dpo": "online_dpo",
        "ppo": "ppo",
    }


# ------------------------------------------------------------------ PPO's own


@pytest.mark.parametrize("name", sorted(PPOSettings.refused))
def test_what_would_bend_the_distribution_is_refused_with_the_reason(name):
    with pytest.raises(ConfigError, match=f"{name} cannot be set") as caught:
        PPOSettings.from_dict({name: 50})
    assert "same temperature" in caught.value.fix


def test_prompts_to_watch_are_a_number_or_prompts():
    messages = [{"role": "user", "content": "b"}]
    made = PPOSettings(watch_prompts=["a", messages])
    assert made.watch_prompts == ("a", messages)
    assert PPOSettings.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    for wrong in (3, "", [], [{"role": "user"}]):
        with pytest.raises(ConfigError, match="prompt 1 is neither") as caught:
            PPOSettings(watch_prompts=["a", wrong])
        assert "watch_prompts[1]" in caught.value.where and caught.value.fix


@pytest.mark.parametrize("kind", [SFTSettings, RewardSettings, PPOSettings])
def test_a_rate_is_auto_or_a_number(kind):
    assert kind().learning_rate == "auto"
    assert kind(learning_rate=1).learning_rate == 1.0
    assert isinstance(kind(learning_rate=1).learning_rate, float)
    with pytest.raises(ConfigError, match="learning_rate cannot be 'fast'") as caught:
        kind(learning_rate="fast")
    assert f"{kind.kind} settings" in caught.value.where and "'auto'" in caught.value.fix
    with pytest.raises(ConfigError, match="out of range"):
        kind(learning_rate=-1.0)
    with pytest.raises(ConfigError, match="out of range"):
        PPOSettings(value_learning_rate=-1.0)
