import json

import pytest

from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError
from workbench.widgets.compare.compare import CompareView


def row(prompt, *answers):
    return {"prompt": prompt, "answers": list(answers)}


def answer(text, score=None, gold=None, model="m"):
    return {"model": model, "text": text, "score": score, "gold": gold}


@pytest.fixture
def view():
    rows = [
        row("a", answer("x", 1.0, 0.2, "sft"), answer("y", 2.0, 0.8, "ppo")),
        row("b", answer("x", 1.0, 0.5, "sft"), answer("x", 1.0, 0.5, "ppo")),
        row("c", answer("x", 1.0, 0.5, "sft"), answer("z", 0.0, 0.2, "ppo")),
    ]
    return CompareView(rows)


def asked(view):
    sent = []
    view.send = lambda content, buffers=None: sent.append(content)
    view._handle_custom_msg({"type": "ready", "view": "v"}, [])
    return sent[0]


def test_means_gains_and_verdicts_are_last_minus_first(view):
    assert view.labels == ["sft", "ppo"]
    assert view.summary()[0] == {"model": "sft", "gold": pytest.approx(0.4), "score": 1.0}
    assert view.summary()[1]["gold"] == pytest.approx(0.5)
    assert view.gains("gold") == pytest.approx([0.6, 0.0, -0.3])
    assert view.verdicts("gold") == {"better": 1, "same": 1, "worse": 1}


def test_the_page_gets_what_it_shows(view):
    message = asked(view)
    assert message["to"] == "v" and message["count"] == 3
    assert message["rows"][0]["answers"][1] == {"text": "y", "gold": 0.8, "score": 2.0}
    json.dumps(message, allow_nan=False)


def test_other_messages_are_left_alone(view):
    sent = []
    view.send = lambda content, buffers=None: sent.append(content)
    view._handle_custom_msg({"type": "hello"}, [])
    assert sent == []


def test_a_measure_that_one_answer_lacks_is_not_shown():
    rows = [row("a", answer("x", 1.0, 0.5), answer("y", 2.0, None))]
    view = CompareView(rows, ["one", "two"])
    assert view.measures == ["score"] and view.labels == ["one", "two"]
    assert CompareView([row("a", answer("x"), answer("y"))]).measures == []


def test_prompts_and_answers_may_be_messages():
    prompt = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    text = [{"role": "assistant", "content": "hello"}]
    view = CompareView([row(prompt, answer(text))], ["one"])
    assert view.rows[0]["prompt"] == "be kind\nhi"
    assert view.rows[0]["answers"][0]["text"] == "hello"


def test_nothing_to_compare_and_uneven_rows_are_refused():
    with pytest.raises(DataError, match="nothing to compare"):
        CompareView([])
    with pytest.raises(DataError, match="1 answers for 2 models"):
        CompareView([row("a", answer("x"))], ["one", "two"])
    with pytest.raises(DataError, match="0 answers for 0 models"):
        CompareView([{"prompt": "a"}])


def test_a_place_without_widgets_shows_an_escaped_table():
    rows = [row("<b>", answer("<script>", 1.0), answer("y", 2.0))]
    html = CompareView(rows, ["<i>", "two"])._repr_mimebundle_()[0]["text/html"]
    assert "&lt;script&gt;" in html and "<script>" not in html and "<i>" not in html
    assert "reward score 1.000" in html


def queued(view, index):
    sent = []
    view.send = lambda content, buffers=None: sent.append(content)
    view._handle_custom_msg({"type": "queue", "index": index, "view": "v"}, [])
    return sent[0]


def test_a_key_sends_a_row_to_the_labeller_with_the_different_texts_alone(tmp_path):
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a"}]
    rows = [{**row("a", answer("x"), answer("y"), answer("x")), "messages": messages}]
    with LabelStore(tmp_path / "labels.sqlite") as store:
        view = CompareView(rows, ["sft", "best", "ppo"], queue=store, annotator="ada")
        assert asked(view)["queues"] is True
        assert queued(view, 0) == {"type": "queued", "index": 0, "sent": True, "to": "v"}
        assert queued(view, 0)["sent"] is False  # it waits there already
        (pair,) = store.queue()
        assert pair.prompt == messages
        assert [said[0]["content"] for said in pair.responses] == ["x", "y"]
        assert pair.meta["models"] == {"sft": 0, "best": 1, "ppo": 0}
        (event,) = store.event_list()
        assert event.annotator == "ada" and event.payload == {"from": "comparison"}


def test_what_cannot_be_sent_to_the_labeller_is_said_where_the_person_looks(view, tmp_path):
    assert asked(view)["queues"] is False
    with pytest.raises(ConfigError, match="no label store"):
        view.send_to_labeller(0)
    with LabelStore(tmp_path / "labels.sqlite") as store:
        view.queue = store
        with pytest.raises(DataError, match="the same text"):
            view.send_to_labeller(1)
        assert "the same text" in queued(view, 1)["fault"]["what"]
        assert len(store.queue()) == 0
