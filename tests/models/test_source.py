import json

import pytest

from workbench.errors import ModelError
from workbench.models.source import CARD, RewardStats, resolve
from workbench.world.sample_files import sample_dir


def adapter(folder, made_for, **card):
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": str(made_for)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if card:
        (folder / CARD).write_text(json.dumps(card))
    return folder


def three_parts(error: ModelError) -> bool:
    return all((error.what, error.where, error.fix))


def test_an_embedded_default_is_a_folder_of_the_sample_data():
    found = resolve("builtin:tiny-chat")
    assert found.base == str(sample_dir() / "tiny-chat")
    assert (found.adapter, found.reference, found.is_reward) == (None, "builtin:tiny-chat", False)


def test_an_embedded_default_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ModelError, match="builtin:tiny-base, builtin:tiny-chat"):
        resolve("builtin:huge")


def test_a_folder_with_a_transformers_config_is_a_base(tiny):
    found = resolve(str(tiny))
    assert (found.base, found.adapter, found.reference) == (str(tiny), None, str(tiny))


def test_a_relative_folder_is_remembered_whole(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    assert resolve("tiny").base == str(tiny.resolve())


def test_a_hub_id_stays_as_it_is_and_nothing_is_loaded():
    found = resolve("owner/some-Model_1.5")
    assert found.base == found.reference == "owner/some-Model_1.5"
    assert found.adapter is None


def test_an_adapter_folder_stands_on_the_base_that_it_names(tiny, tmp_path):
    folder = adapter(tmp_path / "adapter", tiny)
    found = resolve(str(folder))
    assert (found.base, found.adapter) == (str(tiny), folder.resolve())


def test_the_card_names_the_base_where_the_recorded_path_has_moved(tmp_path):
    folder = adapter(tmp_path / "adapter", "/gone/tiny-chat", base="builtin:tiny-chat")
    found = resolve(str(folder))
    assert found.base == str(sample_dir() / "tiny-chat")
    assert found.reference == "builtin:tiny-chat"


@pytest.mark.parametrize("kind", ["sft", "reward", "ppo"])
def test_a_run_is_the_adapter_in_its_final_folder(kind, tiny, tmp_path):
    run = tmp_path / "run"
    adapter(run / "final", tiny)
    (run / "config.json").write_text(json.dumps({"kind": kind}))
    assert resolve(str(run)).adapter == (run / "final").resolve()


def test_a_run_that_trained_every_weight_is_a_base_itself(tmp_path):
    run = tmp_path / "run"
    (run / "final").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"kind": "sft"}))
    (run / "final" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    found = resolve(str(run))
    assert (found.base, found.adapter) == (str((run / "final").resolve()), None)


def test_a_reward_model_is_known_by_its_reward_json(tiny, tmp_path):
    folder = adapter(tmp_path / "reward", tiny)
    assert not resolve(str(folder)).is_reward
    assert resolve(str(folder)).reward_stats() == RewardStats(0.0, 1.0)
    (folder / "reward.json").write_text('{"mean": 1.5, "std": 0.25}')
    assert resolve(str(folder)).is_reward
    assert resolve(str(folder)).reward_stats() == RewardStats(1.5, 0.25)


def test_a_reward_model_gives_no_answers(tiny, tmp_path):
    folder = adapter(tmp_path / "reward", tiny)
    resolve(str(folder)).check_answers()
    (folder / "reward.json").write_text('{"mean": 1.5, "std": 0.25}')
    with pytest.raises(ModelError, match="gives none") as caught:
        resolve(str(folder)).check_answers()
    assert caught.value.where == str(folder) and "train_sft" in caught.value.fix


def test_a_file_is_not_a_model(tmp_path):
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(ModelError, match="this is a file") as caught:
        resolve(str(tmp_path / "model.bin"))
    assert three_parts(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/at-all", "/nowhere/model", "a/b/c"])
def test_what_is_not_there_lists_what_a_model_can_be(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"builtin:tiny-base") as caught:
        resolve(name)
    assert "config.json" in caught.value.fix and "hub id" in caught.value.fix


@pytest.mark.parametrize("content", [None, "{}", '{"kind": "something"}'])
def test_a_folder_without_a_model_says_what_is_missing(content, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match="holds no model") as caught:
        resolve(str(tmp_path))
    assert caught.value.where == str(tmp_path) and "config.json" in caught.value.fix


def test_a_run_without_a_final_model_asks_to_wait(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "reward"}))
    with pytest.raises(ModelError, match="no final model") as caught:
        resolve(str(tmp_path))
    assert "wait" in caught.value.fix


def test_a_config_that_is_not_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON") as caught:
        resolve(str(tmp_path))
    assert caught.value.where == str(tmp_path / "config.json")


def test_an_adapter_on_another_adapter_is_refused(tiny, tmp_path):
    lower = adapter(tmp_path / "lower", tiny)
    upper = adapter(tmp_path / "upper", lower)
    with pytest.raises(ModelError, match="stands on another adapter") as caught:
        resolve(str(upper))
    assert str(lower) in caught.value.where and "merge" in caught.value.fix


def test_an_adapter_whose_base_is_gone_says_which(tmp_path):
    folder = adapter(tmp_path / "adapter", tmp_path / "gone")
    with pytest.raises(ModelError, match="no such model") as caught:
        resolve(str(folder))
    assert str(tmp_path / "gone") in caught.value.where
