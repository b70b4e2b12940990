"""The summary says what was planted, and what is not known is said to be so."""

import random

import pytest

from workbench.analysis.intervals import Share, share
from workbench.analysis.people import people_of
from workbench.analysis.quality import CHECK_COLUMNS, examine, leans
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

NAMES = (
    "repeated items",
    "near repeats",
    "prompts in both sets",
    "empty texts",
    "identical answers",
    "chat markup",
    "rendered texts",
    "outer blanks",
    "scores and margins",
    "length",
    "looks of the answers",
    "side taken",
    "agreement",
    "self-consistency",
    "gold items",
)


def item(prompt, *answers, winner=None):
    label = None if winner is None else {"kind": "choice", "winner": winner}
    return Pair.make(
        [{"role": "user", "content": prompt}],
        [[{"role": "assistant", "content": answer}] for answer in answers],
        label=label,
    )


def found(findings):
    frame = findings.summary
    assert tuple(frame.columns) == CHECK_COLUMNS and tuple(frame["check"]) == NAMES
    return {row[0]: row[1:] for row in frame.itertuples(index=False)}


def test_what_was_planted_is_found_and_counted():
    train = [item(f"question {n}", f"yes {n}", f"no {n}, not at all", winner=1) for n in range(30)]
    train += [train[0], item("question 1", "no 1, not at all", "yes 1")]
    train += [item("empty", "a", " "), item("same", "A", "a")]
    test = [item("Question 7 ", "x", "y"), item("unseen", "x", "y")]
    findings = examine(Pairs.from_items(train), Pairs.from_items(test))
    told = found(findings)
    assert told["repeated items"][0] == "1 exact, 1 with the answers in another order, of 34"
    assert told["repeated items"][2] == "look"
    assert told["near repeats"][2] == "ok" and told["near repeats"][1] == "nothing"
    assert told["prompts in both sets"][0].startswith("1 with a prompt of the other set, 0")
    assert told["empty texts"][0] == "1 empty answers, 0 empty prompts, of 34 items"
    assert told["identical answers"][0] == ("0 equal, 1 equal but for case and blanks, of 34")
    # all 31 labelled items are won by the longer answer
    assert told["length"][0].startswith("always taking the longer answer is right on 100.0%")
    assert told["length"][0].endswith("of 31 pairs") and told["length"][2] == "look"
    assert "must beat 100%" in told["length"][1]
    rows = findings.frames["leaks"]
    assert [(row.row, row.against_row) for row in rows.itertuples()] == [(7, 0)]
    assert list(findings.frames["problems"]["problem"]) == [
        "empty answer",
        "answers that differ in case or blanks alone",
    ]
    assert findings.title == "34 items, 31 with a better answer"


def test_nothing_planted_is_fine():
    rng = random.Random(0)
    items = []
    for n in range(400):
        words = [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=20)) for _ in "ab"]
        items.append(item(f"question {n}", words[0], words[1] + "!", winner=n % 2))
    told = found(examine(Pairs.from_items(items)))
    for name in ("repeated items", "near repeats", "empty texts", "identical answers", "length"):
        assert told[name][1:] == ("nothing", "ok"), name
    assert told["looks of the answers"] == (
        "no mark of an answer leans to winning or losing",
        "nothing",
        "ok",
    )


def test_what_cannot_be_known_is_said_to_be_unknown():
    told = found(examine(Pairs.from_items([item("p", "a", "b")])))
    assert {name for name in NAMES if told[name][2] == "unknown"} == {
        "prompts in both sets",
        *NAMES[NAMES.index("length") :],
    }
    assert told["length"][0] == "undefined: no labels"
    assert told["looks of the answers"][0] == "undefined: no labels"
    assert told["agreement"][0] == "not checked"
    equal = found(examine(Pairs.from_items([item("p", "a", "b", winner=0)])))
    assert equal["length"][0] == "undefined: all answers compared are equally long"
    assert equal["looks of the answers"][0] == "undefined: no feature tells two answers apart"


def test_a_feature_that_wins_is_named():
    items = [item(f"q{n}", f"Sure, {n} it is", f"It is {n} then", winner=0) for n in range(40)]
    told = found(examine(Pairs.from_items(items)))
    assert told["looks of the answers"][0].startswith("begins with Sure: wins 100.0%")
    assert told["looks of the answers"][2] == "look"


def test_no_items_are_refused():
    with pytest.raises(DataError, match="no items to look at"):
        examine(Pairs.from_items([]))


def test_leaning_is_sure_and_large():
    assert leans(share(700, 1000)) and leans(share(300, 1000))
    assert not leans(share(3, 4))  # not sure
    assert not leans(share(52_000, 100_000))  # sure, but small
    assert not leans(Share(None, None, None, 0))


@pytest.fixture
def store(tmp_path):
    """Ten items. ada and bob label all: they agree on 8. ada always takes the left side.

    Of ada's two repeats one is the same; bob passes one gold item of two; eve undid all she did.
    """
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        items = [item(f"p{n}", f"a{n}", f"b{n}") for n in range(12)]
        opened.add_items(items)

        def label(row, who, winner, side, **more):
            payload = {"label": {"kind": "choice", "winner": winner}, "choice": side, **more}
            event = LabelEvent("label", items[row].id, who, payload)
            opened.append(event)
            return event

        for row in range(10):
            label(row, "ada", row % 2, "left")
            label(row, "bob", row % 2 if row < 8 else 1 - row % 2, "right" if row % 2 else "left")
        label(0, "ada", 0, "left", reason="repeat", repeat=True)
        label(1, "ada", 0, "left", reason="repeat", repeat=True)
        label(10, "bob", 0, "right", reason="gold", passed=True)
        label(11, "bob", 0, "left", reason="gold", passed=False)
        undone = label(0, "eve", 0, "left")
        opened.append(LabelEvent("undo", items[0].id, "eve", {"event": undone.event_id}))
        yield opened


def test_the_people_behind_the_labels(store):
    people = people_of(store)
    sides = {side.annotator: (side.left, side.right, side.rate) for side in people.sides}
    assert sides == {
        "everyone": (18, 6, 18 / 24),
        "ada": (12, 0, 1.0),
        "bob": (6, 6, 0.5),
    }
    measures = {m.measure: m for m in people.measures}
    assert (measures["percent"].value, measures["percent"].items) == (0.8, 10)
    assert measures["Cohen's kappa"].between == "ada, bob"
    steady = {(s.test, s.annotator): (s.items, s.passed) for s in people.steadiness}
    assert steady == {
        ("repeat", "everyone"): (2, 1),
        ("repeat", "ada"): (2, 1),
        ("gold", "everyone"): (2, 1),
        ("gold", "bob"): (2, 1),
    }


def test_the_summary_of_the_people(store):
    findings = examine(store.pairs(ties="keep"), store=store)
    told = found(findings)
    # 18 of 24: Wilson 0.551 to 0.880
    assert told["side taken"][0] == (
        "P(left) = 75.0% (55.1% to 88.0%) over 24 labels; one-sided: ada"
    )
    assert told["side taken"][2] == "look"
    assert told["agreement"][0].startswith(
        "80.0% on what was labelled twice or more (10); Krippendorff"
    )
    assert told["self-consistency"][0].startswith("same label on 50.0%")
    assert told["gold items"][2] == "look"
    assert len(findings.frames["agreement"]) == 4


def test_an_empty_store_has_nothing_to_say(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        told = found(examine(Pairs.from_items([item("p", "a", "b")]), store=store))
    assert told["side taken"][0] == "undefined: nobody took a side"
    assert told["agreement"][0] == "undefined: no item was labelled by two people"
    assert told["self-consistency"][0] == "undefined: there are none"
    assert told["gold items"][0] == "undefined: there are none"


def test_agreement_on_one_answer_alone_is_undefined_not_perfect(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        pair = item("p", "a", "b")
        for who in ("ada", "bob"):
            store.append(LabelEvent("label", pair.id, who, {"label": {"kind": "tie"}}), item=pair)
        told = found(examine(Pairs.from_items([pair]), store=store))
    assert told["agreement"] == (
        "100.0% on what was labelled twice or more (1);"
        " alpha undefined: only one answer was ever used",
        "label more items twice",
        "unknown",
    )


def scored(number, winner, scores=None, margin=None):
    pair = item(f"q{number}", f"a{number}", f"b{number}", winner=winner)
    more = {"scores": scores, "margin": margin}
    pair.label.update({name: value for name, value in more.items() if value is not None})
    return pair


def test_scores_and_margins_that_contradict_the_order_are_counted():
    pairs = Pairs.from_items(
        [
            scored(0, 0, [2, 8]),
            scored(1, 1, [2, 8]),
            scored(2, 0, [8, 8]),
            scored(3, 0, None, -2),
            scored(4, 1, [5, 1], -1),
            scored(5, 0, ["x", None], "wide"),
            scored(6, 0, None, 0),
        ]
    )
    findings = examine(pairs)
    finding, advice, state = found(findings)["scores and margins"]
    assert finding == (
        "2 of 7 items prefer an answer whose score is not the highest, 2 have a margin below 0"
    )
    assert state == "look" and "swapped" in advice
    assert findings.rows["scores and margins"] == [0, 3, 4]


RENDERED = [
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] hi [/INST]",
    "<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
    "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<|user|>\nhi\n<|assistant|>",
    "<\uff5cUser\uff5c>hi<\uff5cAssistant\uff5c>",
    "### Instruction:\nhi\n\n### Response:\n",
    "\n\nHuman: hi\n\nAssistant:",
    "USER: hi\nASSISTANT: hello",
]
NOT_RENDERED = [
    "Human: nature is odd.",
    "a [list] of <tags> and #marks: none",
    "## Instructions\nMix the flour.",
    "The assistant: a play",
    "user: x",
]


def test_rows_that_a_template_has_rendered_are_counted():
    texts = [*RENDERED, *NOT_RENDERED]
    pairs = Pairs.from_items(item(text, "yes", "no") for text in texts)
    findings = examine(pairs)
    assert findings.rows["rendered texts"] == list(range(len(RENDERED)))
    assert found(findings)["rendered texts"][0].startswith(f"{len(RENDERED)} of {len(texts)} items")


MARKUP = [
    *("<|endoftext|>", "</s>", "<pad>", "[MASK]", "[CLS]", "<extra_id_0>", "<unused12>", "<think>"),
    *("<end_of_utterance>", "<tool_call>", "[gMASK]"),
]


def test_special_tokens_of_many_tokenizers_are_chat_markup():
    items = [item(f"q{n}", f"yes {mark}", "no") for n, mark in enumerate(MARKUP)]
    items += [item("plain", "a < b > c [x] <b>bold</b>", "no")]
    assert examine(Pairs.from_items(items)).rows["chat markup"] == list(range(len(MARKUP)))


def test_the_same_answer_with_and_without_outer_blanks_is_found_across_items():
    pairs = Pairs.from_items(
        [
            item("p0", "yes", "no"),
            item("p1", " yes", "maybe"),
            item("p2", " always so", "never"),
            item("p3", "both\n", "both\n\n"),
            item("p4", "yes!", "no!"),
        ]
    )
    findings = examine(pairs)
    assert findings.rows["outer blanks"] == [0, 1, 3]
    assert found(findings)["outer blanks"][0].startswith("3 of 5 items")


def test_the_rows_behind_length_looks_and_agreement_are_those_that_it_is_about():
    vote = {"annotator": "x", "label": {"kind": "choice", "winner": 0}}
    other = {"annotator": "y", "label": {"kind": "choice", "winner": 1}}
    items = [item(f"q{n}", f"- long and good {n}", f"no {n}", winner=0) for n in range(30)]
    items.append(item("q30", "- long and bad", "short", winner=1))
    items.append(item("q31", "same", "size", winner=0))
    items[3].meta["votes"] = [vote, other]
    items[4].meta["votes"] = [vote, {**vote, "annotator": "y"}]
    rows = examine(Pairs.from_items(items)).rows
    assert rows["length"] == list(range(30))
    assert rows["looks of the answers"] == list(range(31))
    assert rows["agreement"] == [3]
