import json
import threading

import pytest

from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError, RunError
from workbench.widgets.compare.playground import Playground

SAID = {"ended": True, "pieces": ["go", "od"], "kl": [0.1, 0.3]}


class Worker:
    """Answers as the worker does: "MODEL at TEMPERATURE", by a script."""

    def __init__(self):
        self.asked, self.hold, self.stopped = [], threading.Event(), False
        self.hold.set()

    def __call__(self, request, told):
        self.asked.append(request)
        told({"text": "gro"})
        self.hold.wait(5)
        if request["model"] == "/bad":
            raise RunError("the worker ended", where="log", fix="ask again")
        text = f"{request['model']} at {request['settings']['temperature']:g}"
        return {**SAID, "text": text, "score": 1.5, "scores": [1.5]}

    def stop(self):
        self.stopped = True
        self.hold.set()


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def made(worker, store):
    models = {"sft": "/sft", "ppo": "/ppo"}
    settings = {"seed": 7, "response_length": 16}
    return Playground(
        models, worker, stop=worker.stop, reward="/reward", store=store, settings=settings
    )


def tell(widget, **content):
    heard = []
    widget.send = lambda content, buffers=None: heard.append(json.loads(json.dumps(content)))
    widget._handle_custom_msg({"view": "v", **content}, [])
    return heard[-1]


def ask(widget, **more):
    state = tell(widget, type="ask", prompt="hello", **more)
    widget._thread.join(5)
    return state


PARTS = {"texts": ["go", "od"], "parts": [1.0, 0.75], "score": 1.5, "empty": -0.25}


def test_a_score_is_taken_apart_once(made, worker):
    asked = []

    def explain(request, told):
        asked.append(request)
        told({"phase": "why, by reward"})
        if len(asked) == 2:
            raise DataError("the answer fills max_length", where="answer", fix="a shorter one")
        return PARTS

    assert tell(made, type="look")["explains"] is False
    made._explain = explain
    assert tell(made, type="why", columns=[0])["said"].startswith("there is no score to explain")
    ask(made)
    tell(made, type="why", columns=[0, 1, 7])
    made._thread.join(5)
    first, second = tell(made, type="look")["columns"]
    assert first["why"] == PARTS and second["why"]["fault"]["fix"] == "a shorter one"
    assert asked[0]["response"] == first["text"] and asked[0]["reward"] == "/reward"
    assert asked[0]["prompt"] == [{"role": "user", "content": "hello"}]
    tell(made, type="why", columns=[0])
    made._thread.join(5)
    assert len(asked) == 2  # it is there
    ask(made)
    assert "why" not in tell(made, type="look")["columns"][0]


def test_each_model_answers_at_each_temperature(made, worker):
    ask(made, temperatures=[0.5, 1.0], best_of=4)
    state = tell(made, type="look")
    assert (state["to"], state["busy"], state["prompt"]) == ("v", False, "hello")
    told = [(c["model"], c["temperature"], c["text"], c["state"]) for c in state["columns"]]
    assert told == [
        ("sft", 0.5, "/sft at 0.5", "done"),
        ("sft", 1.0, "/sft at 1", "done"),
        ("ppo", 0.5, "/ppo at 0.5", "done"),
        ("ppo", 1.0, "/ppo at 1", "done"),
    ]
    assert state["columns"][0]["score"] == 1.5 and state["columns"][0]["kl"] == [0.1, 0.3]
    first = worker.asked[0]
    assert first["prompt"] == [{"role": "user", "content": "hello"}]
    assert (first["best_of"], first["reward"], first["settings"]["seed"]) == (4, "/reward", 7)
    ask(made, again=True)
    assert worker.asked[-1]["settings"]["seed"] == 8  # another draw


def test_an_answer_is_seen_while_it_grows_and_can_be_stopped(made, worker):
    worker.hold.clear()
    assert tell(made, type="ask", prompt="hello")["busy"] is True
    while not worker.asked:
        pass
    state = tell(made, type="look")
    assert state["columns"][0]["text"] in ("", "gro") and state["columns"][1]["state"] == "waits"
    refused = tell(made, type="ask", prompt="another")
    assert "still being answered" in refused["said"] and refused["prompt"] == "hello"
    tell(made, type="stop")
    made._thread.join(5)
    states = [c["state"] for c in tell(made, type="look")["columns"]]
    assert worker.stopped and states == ["done", "stopped"]


def test_a_model_that_fails_says_so_in_its_place_and_the_others_answer(worker):
    made = Playground({"bad": "/bad", "ppo": "/ppo"}, worker)
    ask(made)
    bad, good = tell(made, type="look")["columns"]
    assert bad["state"] == "failed" and bad["fault"]["what"] == "the worker ended"
    assert good["state"] == "done"


def test_prefer_this_one_is_a_label_in_the_store(made, store):
    ask(made)
    state = tell(made, type="prefer", column=1)
    assert state["columns"][1]["preferred"] is True and "Saved" in state["said"]
    (pair,) = store.pairs()
    assert pair.prompt == [{"role": "user", "content": "hello"}]
    assert pair.responses[pair.label["winner"]][0]["content"] == "/ppo at 1"
    assert tell(made, type="prefer", column=1)["said"] == "Saved already."
    assert [event.payload["reason"] for event in store.event_list()] == ["playground"]


def test_the_answers_are_sent_to_the_labeller_once(made, store):
    ask(made)
    assert tell(made, type="queue")["said"] == "Sent to the labeller."
    assert len(store.queue()) == 1
    assert "already" in tell(made, type="queue")["said"]


def test_without_a_store_or_two_answers_there_is_nothing_to_prefer(worker, store):
    alone = Playground({"sft": "/sft"}, worker, store=store)
    ask(alone)
    with pytest.raises(DataError, match="two different answers"):
        alone.prefer(0)
    without = Playground({"sft": "/sft", "ppo": "/ppo"}, worker)
    ask(without)
    assert tell(without, type="look")["stored"] is False
    with pytest.raises(DataError, match="no label store"):
        without.send_to_labeller()
    assert "no label store" in tell(without, type="prefer", column=0)["said"]


@pytest.mark.parametrize(
    ("wishes", "error", "told"),
    [
        ({"prompt": "  "}, DataError, "no prompt"),
        ({"prompt": "a", "temperatures": []}, ConfigError, "temperatures cannot be"),
        ({"prompt": "a", "temperatures": [9.0]}, ConfigError, "temperatures cannot be"),
        ({"prompt": "a", "temperatures": [0.1, 0.2, 0.3, 0.4, 0.5]}, ConfigError, "10 answers"),
        ({"prompt": "a", "best_of": 65}, ConfigError, "best of 65"),
    ],
)
def test_what_cannot_be_asked_is_refused(made, wishes, error, told):
    with pytest.raises(error, match=told):
        made.play(**wishes)


def test_a_playground_needs_a_model(worker):
    with pytest.raises(ConfigError, match="0 models"):
        Playground({}, worker)
