import math

import pytest

from workbench.errors import ConfigError, DataError
from workbench.widgets.microscope import formulas
from workbench.widgets.microscope.microscope import Microscope

PPO = {
    "step": 4,
    "rank": "best",
    "prompt": "Say <b>hi</b>.",
    "response": "Hi you.",
    "tokens": ["Hi", " you", "."],
    "score": 1.5,
    "kl": 0.5,
    "paid": 2.0,
    "kl_coef": 0.1,
    "gamma": 1.0,
    "lam": 0.5,
    "clip_range": 0.2,
    "advantage": "gae",
    "estimator": "k1",
    "mean": 0.5,
    "std": 2.0,
    "logprobs": [-1.0, -2.0, -0.5],
    "ref_logprobs": [-1.5, -2.5, 0.0],
    "values": [0.5, 0.25, 1.0],
    "advantages": [0.0, 0.0, 0.0],
    "after_logprobs": [-0.5, -2.0, -0.5],
}
SFT = {
    "step": 1,
    "prompt_tokens": ["<|user|>", "hi"],
    "tokens": ["Hello", "!"],
    "learned": [True, False],
    "logprobs": [math.log(0.25), math.log(0.5)],
    "expected": [[["Good", 0.5], ["Hello", 0.25]], [["!", 0.5], [".", 0.5]]],
}


@pytest.fixture
def rows():
    worst = {**PPO, "rank": "worst", "score": -1.0}
    return [PPO, worst, {**PPO, "step": 9, "kl_coef": 0.2}]


def steps(record, **used):
    """Numbers that are seen to depend on what they are asked with."""
    size = len(record["tokens"])
    row = [used["kl_coef"] + used["paid"] * n for n in range(size)]
    names = ("log_ratio", "charge", "reward", "advantage", "whitened", "ratio", "unclipped")
    out = dict.fromkeys((*names, "clipped", "objective"), row)
    return {**out, "value": row, "delta": row}


@pytest.fixture
def scope(rows):
    return Microscope(lambda: rows, steps, name="mine", kind="ppo")


def said(scope):
    """What it tells its pages from here on."""
    messages = []
    scope.send = lambda content, *_: messages.append(content)
    return messages


def test_it_begins_with_the_last_updates_best_answer_as_the_run_had_it(scope):
    assert (scope.step, scope.rank, scope.token, scope.steps) == (9, "best", 0, [4, 9])
    assert scope.settings == {
        "kl_coef": 0.2, "gamma": 1.0, "lam": 0.5, "clip_range": 0.2, "paid": 2.0
    }  # fmt: skip
    assert scope.frame["reward"].tolist() == pytest.approx([0.2, 2.2, 4.2])
    assert scope.frame["token"].tolist() == ["Hi", " you", "."]


def test_a_slider_computes_it_again_and_the_run_comes_back(scope):
    messages = said(scope)
    scope.set(kl_coef=0.5, paid=-1.0)
    assert scope.frame["reward"].tolist() == pytest.approx([0.5, -0.5, -1.5])
    assert scope.reset().settings["kl_coef"] == 0.2
    assert [m["sliders"][0]["value"] for m in messages] == [0.5, 0.2]
    assert [m["sliders"][0]["recorded"] for m in messages] == [0.2, 0.2]


def test_the_page_moves_sliders_chooses_answers_and_tokens(scope):
    messages = said(scope)
    scope._handle_custom_msg({"type": "set", "name": "lam", "value": 0.25}, [])
    assert scope.settings["lam"] == 0.25
    scope._handle_custom_msg({"type": "choose", "step": 4, "rank": "worst"}, [])
    assert (scope.step, scope.rank, scope.settings["lam"]) == (4, "worst", 0.5)
    scope._handle_custom_msg({"type": "token", "token": 99}, [])
    assert scope.token == 2
    assert [m["type"] for m in messages] == ["state"] * 3
    assert messages[-1]["ranks"] == [
        {"rank": "best", "score": 1.5}, {"rank": "worst", "score": -1.0}
    ]  # fmt: skip
    assert scope.show(9, "worst").rank == "best"  # that update recorded no other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0.1}, "no slider beta"),
        ({"kl_coef": -0.1}, "kl_coef = -0.1"),
        ({"gamma": 1.5}, "gamma = 1.5"),
        ({"lam": float("nan")}, "lam = nan"),
    ],
)
def test_nonsense_moves_nothing(scope, settings, message):
    with pytest.raises(ConfigError, match=message):
        scope.set(**settings)
    assert scope.settings["kl_coef"] == 0.2 and scope.settings["lam"] == 0.5


def test_an_update_that_recorded_nothing_is_told_with_those_that_did(scope):
    with pytest.raises(ConfigError, match=r"(?s)update 5.*4, 9"):
        scope.show(5)


def test_a_run_without_records_says_what_to_do():
    with pytest.raises(DataError, match="watch_every=0"):
        Microscope(lambda: [], steps, name="old", kind="ppo")


def test_each_formula_with_one_tokens_numbers():
    numbers = {
        "log_ratio": [0.5, 0.5, -0.5],
        "charge": [-0.05, -0.05, 0.05],
        "reward": [-0.05, -0.05, 2.05],
        "value": [0.5, 0.25, 1.0],
        "delta": [-0.3, 0.7, 1.05],
        "advantage": [0.3125, 1.225, 1.05],
        "whitened": [-0.094, 0.3625, 0.275],
        "ratio": [1.649, 1.0, 1.0],
        "unclipped": [-0.155, 0.3625, 0.275],
        "clipped": [-0.1125, 0.3625, 0.275],
        "objective": [-0.155, 0.3625, 0.275],
    }
    used = {"kl_coef": 0.1, "gamma": 1.0, "lam": 0.5, "clip_range": 0.2, "paid": 2.0}
    first = formulas.worked_ppo(numbers, PPO, used, 0)
    assert first == {
        "log_ratio": "−1.000 − (−1.500) = 0.500",
        "charge": "−0.100 × 0.500 = −0.050",
        "reward": "−0.050: the charge alone, before the last token",
        "value": "0.500 expected of this token and the rest",
        "delta": "−0.050 + 1.000 × 0.250 − 0.500 = −0.300",
        "advantage": "−0.300 + 1.000 × 0.500 × 1.225 = 0.312",
        "whitened": "(0.312 − 0.500) ÷ 2.000 = −0.094",
        "ratio": "exp(0.500) = 1.649",
        "objective": "min(−0.155, −0.113) = −0.155",
    }
    last = formulas.worked_ppo(numbers, PPO, used, 2)
    assert last["reward"] == "0.050 + 2.000 = 2.050: the score comes here"
    assert last["delta"] == "2.050 + 1.000 × 0.000 − 1.000 = 1.050"
    assert "against its advantage" in formulas.verdict_ppo(numbers, PPO["tokens"], 0)
    clipped = {**numbers, "unclipped": [9.0] * 3, "clipped": [1.2] * 3}
    assert "clipped" in formulas.worked_ppo(clipped, PPO, used, 1)["objective"]


def test_fine_tuning_shows_what_was_expected_and_the_mask():
    scope = Microscope(lambda: [SFT], steps, name="sft", kind="sft")
    assert scope.frame.to_dict("list") == {
        "token": ["Hello", "!"],
        "learned": [1.0, 0.0],
        "probability": pytest.approx([0.25, 0.5]),
        "loss": pytest.approx([math.log(4), math.log(2)]),
    }
    state = scope._state()
    assert state["sums"] == {"loss": pytest.approx(math.log(4)), "learned": 1}
    assert state["before"] == ["<|user|>", "hi"]
    assert (
        state["verdict"] == "The model expected “Good” with 50%; “Hello” stands here, with 25.00%."
    )
    unlikely = {**SFT, "logprobs": [-10.431, *SFT["logprobs"][1:]]}  # exp(−10.431) is 0.0000295
    worked = formulas.worked_sft(unlikely, 0)
    assert worked["probability"] == "exp(−10.431) = 3.0e−5"
    assert worked["loss"] == "−ln 3.0e−5 = 10.431 nats"
    assert formulas.verdict_sft(unlikely, 0).endswith("stands here, with less than 0.01%.")
    scope.token = 1
    assert "does not count" in scope._state()["worked"]["loss"]
    with pytest.raises(ConfigError, match="no slider"):
        scope.set(kl_coef=1.0)


def test_a_score_is_taken_apart_once_and_shown_where_it_belongs(rows):
    asked = []

    def explain(record):
        asked.append(record)
        if record["rank"] == "worst":
            raise DataError("it has no score", where="answer", fix="a shorter one")
        return {"texts": ["Hi"], "parts": [0.5]}

    scope = Microscope(lambda: rows, steps, name="mine", kind="ppo", explain=explain)
    told = said(scope)
    for _ in range(2):
        scope._answer_page({"type": "why"})
        scope.explaining.join(5)
    assert [message["why"] for message in told] == [
        {"phase": "taking the answer apart"},
        {"texts": ["Hi"], "parts": [0.5]},
    ]
    assert asked == [rows[-1]]
    scope.show(4, "worst")
    assert told[-1]["why"] is None
    scope._answer_page({"type": "why"})
    scope.explaining.join(5)
    assert told[-1]["why"]["fault"]["fix"] == "a shorter one"


def test_where_nobody_can_explain_it_is_not_offered(scope):
    told = said(scope)
    scope._answer_page({"type": "why"})
    assert told == [] and scope._answer_page({"type": "ready"})["explains"] is False
