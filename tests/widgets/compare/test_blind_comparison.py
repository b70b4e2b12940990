import json
import re

import pytest

from workbench.analysis.blind_comparison import BlindComparison
from workbench.data.store.labels import LabelStore
from workbench.widgets.compare.blind_comparison import BlindComparisonView, sentences

from ..labeller.test_labeller import Page


def rows(count=4):
    return [
        {
            "prompt": f"question {n}",
            "messages": [{"role": "user", "content": f"question {n}"}],
            "answers": [
                {"model": "sft", "text": f"poor {n}", "score": -1.0, "gold": 0.25},
                {"model": "ppo-secret", "text": f"good {n}", "score": 2.0, "gold": 0.75},
            ],
        }
        for n in range(count)
    ]


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


@pytest.fixture
def desk(store):
    return BlindComparisonView(
        BlindComparison(rows(), ["sft", "ppo-secret"]), store, annotator="ada", seed=3
    )


def judge(page, desk, choose):
    """Judge all that is left by its texts, as a person does."""
    state = page.tell(type="ready")
    while state["queue"]:
        current = desk.session.current()
        state = page.act("choose", token=current.token, choice=choose(current))


def prefer(text):
    return lambda shown: "left" if shown.left[0]["content"].startswith(text) else "right"


def test_no_model_score_or_place_travels_before_the_reveal(desk):
    page = Page(desk)
    judge(page, desk, prefer("good"))
    sent = json.dumps(page.heard)
    for secret in ("secret", "sft", "0.75", "2.0", "score", "gold", "order", "models"):
        assert not re.search(rf"(?<!\d){re.escape(secret)}", sent)  # 12.0 an hour is not 2.0
    assert "secret" not in json.dumps(desk.get_state(drop_defaults=True), default=str)
    assert "secret" not in str(desk._repr_mimebundle_())


def test_sides_are_drawn_so_that_a_model_is_not_always_left(desk):
    lefts = [shown.left[0]["content"].split()[0] for shown in desk.session.upcoming(9)]
    lefts.append(desk.session.current().left[0]["content"].split()[0])
    assert set(lefts) == {"poor", "good"}


def test_verdicts_are_label_events_and_the_result_counts_models_not_sides(desk, store):
    judge(Page(desk), desk, prefer("good"))
    assert [event.kind for event in store.event_list()] == ["label"] * 4
    you, reward, gold = desk.result().to_dict("records")
    assert (you["model"], you["against"], you["wins"], you["prompts"]) == (
        "ppo-secret",
        "sft",
        4,
        4,
    )
    assert you["win_rate"] == 1.0 and you["p"] == pytest.approx(2 / 16)
    assert (reward["against_you"], gold["against_you"]) == (0, 0)
    assert len(store.pairs()) == 4  # and a reward model can learn from them


def test_the_reveal_tells_all_and_ends_the_judging(desk, store):
    page = Page(desk)
    state = page.tell(type="ready")
    page.act("choose", token=state["queue"][0]["token"], choice=prefer("poor")(desk.current))
    shown = page.tell(type="reveal")
    assert shown["type"] == "rows" and shown["labels"] == ["sft", "ppo-secret"]
    assert shown["said"][0] == {"kind": "choice", "best": [0]} and shown["said"][1] is None
    assert shown["against"] == {"reward model": [0], "gold judge": [0]}
    assert shown["told"][0].startswith("You: ppo-secret against sft: win rate 0%")
    assert shown["told"][-1] == "1 of 4 prompts judged."
    late = page.act("choose", token=state["queue"][1]["token"], choice="left")
    assert late["ack"]["ok"] is False and "revealed" in late["ack"]["what"]
    assert len(store.event_list()) == 1
    assert page.tell(type="ready")["type"] == "rows"  # a second view, or a reload
    assert "ppo-secret" in desk._repr_mimebundle_()[0]["text/html"]
    assert desk.disagreements().ids() == [desk.contest.ids[0]]


def test_the_same_comparison_goes_on_where_it_was_left(desk, store):
    page = Page(desk)
    state = page.tell(type="ready")
    page.act("choose", token=state["queue"][0]["token"], choice="tie")
    desk.session.close()
    again = BlindComparisonView(
        BlindComparison(rows(), ["sft", "ppo-secret"]), store, annotator="ada", seed=3
    )
    assert Page(again).tell(type="ready")["progress"]["left"] == 3


def test_another_persons_verdicts_are_not_mine(desk, store):
    judge(Page(desk), desk, prefer("good"))
    other = BlindComparisonView(
        BlindComparison(rows(), ["sft", "ppo-secret"]), store, annotator="bob"
    )
    assert other.labels() == {}
    assert sentences(other.contest, other.labels())[0] == "You: nothing is judged yet."


def test_after_the_reveal_a_row_goes_to_the_labeller_unless_it_is_judged(desk, store):
    page = Page(desk)
    state = page.tell(type="ready")
    assert page.tell(type="queue", index=1) is None  # not while it is judged
    page.act("choose", token=state["queue"][0]["token"], choice="left")
    judged = desk.contest.ids.index(next(iter(desk.labels())))
    assert page.tell(type="reveal")["queues"] is True
    assert page.tell(type="queue", index=judged, view="v")["sent"] is False
    other = (judged + 1) % 4
    told = page.tell(type="queue", index=other, view="v")
    assert told == {"type": "queued", "index": other, "sent": True, "to": "v"}
    assert store.queue().ids() == [desk.contest.ids[other]]
