from pathlib import Path

import pytest

from workbench.errors import DataError, ModelError
from workbench.settings import PPOSettings
from workbench.training.batch_jobs import answers
from workbench.training.playground_models import Stage, pieces

from ..models.tiny import tiny_settings, user

STILL = {"response_length": 8, "temperature": 1.0, "quantization": "none", "device": "cpu"}


def request(model, **more):
    settings = tiny_settings(PPOSettings, **STILL).to_dict()
    return {"model": str(model), "prompt": user("a b"), "settings": settings, **more}


def test_an_answer_grows_and_comes_with_its_tokens_kl_and_score(tiny, tuned, reward):
    stage, told = Stage(), []
    found = stage.play(request(tuned, reward=reward), told.append, lambda: False)
    phases = [event["phase"] for event in told if "phase" in event]
    loading = f"loading {Path(tuned).name}"
    assert phases == [loading, "reading the prompt", f"scores by {Path(reward).name}"]
    assert {key for event in told for key in event} == {"phase", "text"}
    assert found["text"] == "".join(found["pieces"]).strip()
    assert len(found["kl"]) == len(found["pieces"]) <= 8
    assert all(value >= -1e-6 for value in found["kl"]) and max(found["kl"]) > 0
    assert found["scores"] == [found["score"]] and isinstance(found["score"], float)
    again = stage.play(request(tuned, reward=reward), told.append, lambda: False)
    assert again == found  # the same seed


def test_an_answer_s_score_is_taken_apart(tiny, reward):
    stage, told = Stage(), []
    asked = request(tiny, reward=str(reward), response="c d e")
    found = stage.explain(asked, told.append, lambda: False)
    assert "".join(found["texts"]).startswith("c d e")
    assert sum(found["parts"]) == pytest.approx(found["score"] - found["empty"], abs=1e-4)
    assert told == [{"phase": f"why, by {Path(reward).name}"}]
    assert stage.explain(asked, told.append, lambda: False) == found
    with pytest.raises(DataError, match="fills max_length"):
        stage.explain({**asked, "response": "c " * 500}, told.append, lambda: False)


def test_the_base_itself_has_moved_by_nothing_and_no_reward_model_gives_no_score(tiny):
    found = Stage().play(request(tiny), lambda _: None, lambda: False)
    assert set(found["kl"]) <= {0.0} and found["scores"] == [None]


def test_the_best_of_several_has_the_highest_score(tiny, reward):
    found = Stage().play(request(tiny, reward=reward, best_of=6), lambda _: None, lambda: False)
    assert len(found["scores"]) == 6 and found["score"] == max(found["scores"])
    settings = tiny_settings(PPOSettings, **STILL)
    drawn = answers([str(tiny)], [user("a b")], settings, responses=6)[0][0]
    best = found["scores"].index(found["score"])
    assert found["text"] == drawn[best]["text"]


def test_stopped_it_keeps_what_is_there(tiny):
    found = Stage().play(request(tiny), lambda _: None, lambda: True)
    assert len(found["pieces"]) == 1


def test_a_reward_model_gives_no_answers(reward):
    with pytest.raises(ModelError, match="scores answers"):
        Stage().play(request(reward), lambda _: None, lambda: False)


def test_models_on_one_base_share_it(tiny, tuned):
    stage = Stage()
    for model in (tiny, tuned):
        stage.play(request(model), lambda _: None, lambda: False)
    assert len(stage._roles) == 1
    assert pieces is not None
