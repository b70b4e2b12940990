"""Each format against its row of the one table: written, read again, equal in what it can hold."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.manifest import Options
from workbench.data.messages import Unusable, turn_key
from workbench.data.pairs import Pair, Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.writing.row_layouts import FACTS, HOLDS, rows_in_format
from workbench.data.writing.writers import write_pairs

PAIRED = [name for name in HOLDS if name not in ("canonical", "events")]
READ_AS = {"trl-unpaired-standard": "trl-unpaired"}  # one reader for both
REFUSALS = {
    "a text with a role marker in it, which a transcript takes for a turn",
    "a prompt that begins with a role marker, which readers take for turns",
    "both answers begin with the same turns, which would join the prompt",
    "an answer begins with the prompt, which readers take for a repetition",
}


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def texts(hostile: bool) -> st.SearchStrategy[str]:
    plain = st.text(max_size=8)
    if hostile:
        marks = st.sampled_from(
            ["Human:", "\n\nHuman: x", "Assistant:", "\n\nAssistant:", "\n\n", "System:", "a", " "]
        )
        plain = st.lists(st.one_of(marks, plain), max_size=4).map("".join)
    return plain.filter(lambda said: bool(said.strip()))


@st.composite
def items(draw: st.DrawFn, hostile: bool = False) -> Pairs:
    """Items of two answers; their texts can be told apart whatever a format does to blanks."""
    words = texts(hostile)
    found: dict[str, Pair] = {}
    for _ in range(draw(st.integers(1, 4))):
        prompt = [turn("user", draw(words))]
        if draw(st.booleans()):
            roles = ["assistant", "user"] if hostile else ["system"]
            prompt = [turn(draw(st.sampled_from(roles)), draw(words)), *prompt]
        answers: list[list[dict[str, str]]] = [[turn("assistant", draw(words))] for _ in "ab"]
        if draw(st.booleans()):
            answers[0] += [turn("user", draw(words)), turn("assistant", draw(words))]
        kind = draw(st.sampled_from(["choice", "choice", "choice", "tie", "both_bad", None]))
        label: dict[str, Any] | None = None if kind is None else {"kind": kind}
        if kind == "choice":
            label = {"kind": kind, "winner": draw(st.integers(0, 1)), "strength": None}
            if draw(st.booleans()):
                label["margin"] = draw(st.floats(-5, 5))
        pair = Pair.make(prompt, answers, label=label, source={"file": "f"}, meta={"n": 1})
        if turn_key(answers[0][:1]) != turn_key(answers[1][:1]) or hostile:
            found[turn_key(prompt)] = pair  # unpaired rows find each other by the prompt
    return Pairs.from_items(found.values())


def needs(pair: Pair) -> set[str]:
    """What a format must hold so that the item can be in it at all."""
    found = {"choice"} if pair.label and pair.label["kind"] == "choice" else {"no choice"}
    if len(pair.prompt) > 1:
        found.add("turns")
    if any(len(response) > 1 for response in pair.responses):
        found.add("answer turns")
    return found


def seen(pair: Pair, holds: frozenset[str]) -> Any:
    """An item as far as a format holds it."""
    assert pair.label is not None
    winner = pair.label["winner"]
    told = [pair.prompt, pair.responses[winner], pair.responses[1 - winner]]
    if "blanks" not in holds:
        told = [[turn(m["role"], m["content"].strip()) for m in turns] for turns in told]
    return told, pair.label.get("margin") if "margin" in holds else None


def manifest_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(path.name + ".manifest.json").read_text())


@pytest.mark.parametrize("name", PAIRED)
@settings(max_examples=25, deadline=None)
@given(table=items())
def test_what_a_format_holds_comes_back_and_the_rest_is_counted(name, table, tmp_path_factory):
    path = write_pairs(table, tmp_path_factory.mktemp("w") / "x.jsonl", name)
    held = [pair for pair in table if needs(pair) <= HOLDS[name]]
    manifest = manifest_of(path)
    assert manifest["items"] == len(table)
    assert manifest["items_written"] == len(held)
    assert sum(manifest["left_out"].values()) == len(table) - len(held)
    if held:
        again = load_pairs(path, READ_AS.get(name, name))
        want = [seen(pair, HOLDS[name]) for pair in held if alike_not(pair)]
        assert [seen(pair, HOLDS[name]) for pair in again] == want


@pytest.mark.parametrize("name", PAIRED)
@settings(max_examples=40, deadline=None)
@given(table=items(hostile=True))
def test_no_text_is_ever_changed_but_said_to_be_left_out(name, table, tmp_path_factory):
    path = write_pairs(table, tmp_path_factory.mktemp("h") / "x.jsonl", name)
    could = [pair for pair in table if needs(pair) <= HOLDS[name]]
    manifest = manifest_of(path)
    assert manifest["items_written"] <= len(could)
    refused = sum(n for reason, n in manifest["left_out"].items() if reason in REFUSALS)
    assert len(could) - manifest["items_written"] <= refused
    if manifest["rows"]:
        facts = [seen(pair, HOLDS[name]) for pair in could]
        again = load_pairs(path, READ_AS.get(name, name))
        assert all(seen(pair, HOLDS[name]) in facts for pair in again)


def alike_not(pair: Pair) -> bool:
    """Whether the answers differ after NFC: else the reader puts the item aside, and counts it."""
    return turn_key(pair.responses[0]) != turn_key(pair.responses[1])


@settings(max_examples=25, deadline=None)
@given(table=items())
def test_the_canonical_form_holds_all_of_it(table, tmp_path_factory):
    path = write_pairs(table, tmp_path_factory.mktemp("c") / "x.jsonl", "canonical")
    if len(table):
        assert list(load_pairs(path, "canonical")) == [pair for pair in table if alike_not(pair)]


def holds_table() -> str:
    """Return :data:`HOLDS` as a Markdown table, for the documents."""
    lines = [f"| format | {' | '.join(FACTS.values())} |", "|---" * (len(FACTS) + 1) + "|"]
    for name, holds in HOLDS.items():
        cells = ("yes" if fact in holds else "–" for fact in FACTS)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_examples_page_says_what_the_written_formats_hold():
    page = Path(__file__).parents[3] / "notebooks" / "README.md"
    assert holds_table() in page.read_text(encoding="utf-8")


def test_the_table_for_the_documents_has_a_row_a_format():
    head, rule, *rows = holds_table().splitlines()
    assert head.startswith("| format | which of two answers is the better one | prompts of several")
    assert rule == "|---" * 10 + "|" and len(rows) == len(HOLDS)
    assert rows[7] == "| `hh` | yes | yes | yes | – | – | – | – | – | – |"


def test_the_table_is_whole():
    assert all(holds <= set(FACTS) for holds in HOLDS.values())
    assert HOLDS["events"] == set(FACTS)


# ------------------------------------------------------------------ rows worked by hand

PAIR = Pair.make(
    [turn("system", "be"), turn("user", "q")],
    [[turn("assistant", "no")], [turn("assistant", "yes")]],
    label={"kind": "choice", "winner": 1, "strength": 2},
)
PLAIN = Pair.make(PAIR.prompt[1:], PAIR.responses, label=PAIR.label)


@pytest.mark.parametrize(
    ("name", "pair", "expected"),
    [
        (
            "trl",
            PAIR,
            {
                "prompt": PAIR.prompt,
                "chosen": [turn("assistant", "yes")],
                "rejected": [turn("assistant", "no")],
                "margin": 2.0,
            },
        ),
        ("trl-standard", PLAIN, {"prompt": "q", "chosen": "yes", "rejected": "no", "margin": 2.0}),
        (
            "trl-implicit",
            PLAIN,
            {
                "chosen": [turn("user", "q"), turn("assistant", "yes")],
                "rejected": [turn("user", "q"), turn("assistant", "no")],
                "margin": 2.0,
            },
        ),
        (
            "trl-implicit-standard",
            PLAIN,
            {
                "chosen": "\n\nHuman: q\n\nAssistant: yes",
                "rejected": "\n\nHuman: q\n\nAssistant: no",
                "margin": 2.0,
            },
        ),
        (
            "hh",
            PAIR,
            {
                "chosen": "\n\nSystem: be\n\nHuman: q\n\nAssistant: yes",
                "rejected": "\n\nSystem: be\n\nHuman: q\n\nAssistant: no",
            },
        ),
        (
            "openai-dpo",
            PAIR,
            {
                "input": {"messages": PAIR.prompt},
                "preferred_output": [turn("assistant", "yes")],
                "non_preferred_output": [turn("assistant", "no")],
            },
        ),
        (
            "instruction",
            PLAIN,
            {"instruction": "q", "chosen": "yes", "rejected": "no", "margin": 2.0},
        ),
    ],
)
def test_a_row_of_each_format(name, pair, expected):
    assert rows_in_format(pair, name, Options()) == [expected]


def test_unpaired_rows_say_good_or_bad():
    assert rows_in_format(PLAIN, "trl-unpaired-standard", Options()) == [
        {"prompt": "q", "completion": "yes", "label": True},
        {"prompt": "q", "completion": "no", "label": False},
    ] or rows_in_format(PLAIN, "trl-unpaired-standard", Options()) == [
        {"prompt": "q", "completion": "no", "label": False},
        {"prompt": "q", "completion": "yes", "label": True},
    ]
    assert rows_in_format(PAIR, "trl-unpaired", Options())[0]["prompt"] == PAIR.prompt


def three(label: dict[str, Any]) -> Pair:
    return Pair.make(
        [turn("user", "q")], [[turn("assistant", letter)] for letter in "abc"], label=label
    )


def test_the_middle_of_a_ranking_is_bad_unless_only_the_worst_is_asked_for():
    ranked = three({"kind": "rank", "ranks": [3, 1, 2]})
    every = rows_in_format(ranked, "trl-unpaired-standard", Options())
    assert [(row["completion"], row["label"]) for row in every] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    assert {row["weight"] for row in every} == {2 / 3}
    ends = rows_in_format(ranked, "trl-unpaired-standard", Options(k_way="best-worst"))
    assert [(row["completion"], row["label"]) for row in ends] == [("a", False), ("b", True)]
    assert "weight" not in ends[0]


def test_ties_in_both_orders_weigh_one_half_each():
    tie = Pair.make(PLAIN.prompt, PLAIN.responses, label={"kind": "tie"})
    rows = rows_in_format(tie, "trl-standard", Options(ties="both"))
    assert rows == [
        {"prompt": "q", "chosen": "no", "rejected": "yes", "weight": 0.5},
        {"prompt": "q", "chosen": "yes", "rejected": "no", "weight": 0.5},
    ]
    assert len(rows_in_format(three({"kind": "tie"}), "trl", Options(ties="both"))) == 6
    with pytest.raises(Unusable, match="tie"):
        rows_in_format(three({"kind": "rank", "ranks": [1, 1, 1]}), "trl", Options())


@pytest.mark.parametrize(("kind", "good"), [("tie", True), ("both_bad", False)])
def test_unpaired_ties_are_all_good_or_all_bad(kind, good):
    rows = rows_in_format(three({"kind": kind}), "trl-unpaired", Options(ties="unpaired"))
    assert [row["label"] for row in rows] == [good] * 3
    with pytest.raises(Unusable, match=kind):
        rows_in_format(three({"kind": kind}), "trl-unpaired", Options())


def test_a_ranking_as_rows_keeps_its_weight_through_the_file(tmp_path):
    ranked = Pairs.from_items([three({"kind": "rank", "ranks": [3, 1, 2]})])
    for k_way, expected in {"all": 3, "best-worst": 1, "adjacent": 2}.items():
        path = write_pairs(ranked, tmp_path / f"{k_way}.jsonl", k_way=k_way)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(rows) == expected
        assert sum(row.get("weight", 1) for row in rows) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "prompt", "answers", "reason"),
    [
        ("hh", ["q\n\nHuman: x"], ["a", "b"], "a role marker in it"),
        ("trl-standard", ["Human: q"], ["a", "b"], "begins with a role marker"),
        ("instruction", ["q", "a", "q"], ["a", "b"], "several turns"),
        ("openai-dpo", ["q"], ["a", "b|c|d"], "several turns, which openai-dpo"),
        ("trl-implicit", ["q"], ["a|b|c", "a|b|d"], "begin with the same turns"),
        ("hh", ["q"], ["a|b|c", "a|b|d"], "begin with the same turns"),
    ],
)
def test_what_would_be_read_back_as_something_else_is_refused(name, prompt, answers, reason):
    def talk(said: str, first: str) -> list[Any]:
        roles = itertools.cycle(["user", "assistant"] if first == "user" else ["assistant", "user"])
        return [turn(role, text) for role, text in zip(roles, said.split("|"), strict=False)]

    pair = Pair.make(
        talk("|".join(prompt), "user"),  # type: ignore[arg-type]
        [talk(answer, "assistant") for answer in answers],
        label={"kind": "choice", "winner": 0},
    )
    with pytest.raises(Unusable, match=reason):
        rows_in_format(pair, name, Options())


def test_an_answer_that_repeats_the_prompt_is_refused():
    prompt = [turn("assistant", "hi"), turn("user", "q")]
    pair = Pair.make(
        prompt,  # type: ignore[arg-type]
        [[*prompt, turn("assistant", "x")], [turn("assistant", "y")]],  # type: ignore[list-item]
        label={"kind": "choice", "winner": 0},
    )
    with pytest.raises(Unusable, match="begins with the prompt"):
        rows_in_format(pair, "trl", Options())
