"""Several annotators' rows of one item: one item, its votes, the majority's label."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from workbench.analysis.quality import examine
from workbench.data.arrow_table import ROWS_A_CHUNK
from workbench.data.pairs import Pair
from workbench.data.reading.formats import load_pairs
from workbench.data.reading.votes import annotator_column
from workbench.errors import ConfigError

SUN, MOON = "The sun.", "The moon."
ASK = "Which is warmer?"


def vote(who: Any, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": ASK, "chosen": chosen, "rejected": rejected, "annotator": who, **more}


def better(pair: Pair) -> str:
    assert pair.label is not None and pair.label["kind"] == "choice"
    return pair.responses[pair.label["winner"]][0]["content"]


ROWS = [vote("p1", MOON, SUN), vote("p2", SUN, MOON), vote("p3", SUN, MOON)]


@pytest.mark.parametrize("rows", list(permutations(ROWS)))
def test_the_majority_wins_whoever_comes_first(rows: tuple[dict[str, Any], ...]) -> None:
    pairs = load_pairs(list(rows))
    assert len(pairs) == 1 and better(pairs[0]) == SUN
    label, report = pairs[0].label or {}, pairs.report
    assert (label["annotators"], label["agreement"]) == (3, pytest.approx(2 / 3))
    assert (report.input, report.imported, report.ties, report.duplicates) == (3, 3, 0, 0)
    assert (report.items, report.quarantined) == (1, {})
    assert report.examples[0]["chosen"] == SUN
    assert pairs[0].source == {"file": "list", "rows": [1, 2, 3]}
    said = {
        entry["annotator"]: pairs[0].responses[entry["label"]["winner"]][0]["content"]
        for entry in pairs[0].meta["votes"]
    }
    assert said == {"p1": MOON, "p2": SUN, "p3": SUN}
    assert "3  annotator: votes on an item" in str(report)


def test_an_even_split_is_a_tie_or_no_label_as_asked() -> None:
    rows = ROWS[:2]
    tied = load_pairs(rows)
    assert tied[0].label == {"kind": "tie", "annotators": 2, "agreement": 0.0}
    assert (tied.report.imported, tied.report.ties) == (0, 2)
    none = load_pairs(rows, even_split="none")
    assert none[0].label is None and len(none[0].meta["votes"]) == 2
    assert (none.report.imported, none.report.ties) == (2, 0)
    assert "evenly split, taken as a tie" in str(tied.report)
    assert "evenly split, taken as no label" in str(none.report)
    with pytest.raises(ConfigError, match="even_split cannot be 'maybe'"):
        load_pairs(rows, even_split="maybe")


def test_votes_for_a_tie_count_and_stay_a_tie_when_nothing_else_is_asked() -> None:
    equal = {"score_chosen": 3, "score_rejected": 3}
    rows = [vote("p1", MOON, SUN, **equal), vote("p2", SUN, MOON, **equal), vote("p3", SUN, MOON)]
    for even_split in ("tie", "none"):
        pairs = load_pairs(rows, even_split=even_split)
        label = pairs[0].label or {}
        assert (label["kind"], label["agreement"]) == ("tie", pytest.approx(2 / 3))
        assert (pairs.report.imported, pairs.report.ties) == (0, 3)


def test_what_each_row_says_beside_its_vote_is_kept() -> None:
    rows = [
        vote("p1", MOON, SUN, topic="sky", comment="bright"),
        vote("p2", SUN, MOON, topic="sky", comment="hot"),
    ]
    meta = load_pairs(rows)[0].meta
    assert meta["topic"] == "sky" and "comment" not in meta
    assert [entry["meta"] for entry in meta["votes"]] == [{"comment": "bright"}, {"comment": "hot"}]


@pytest.mark.parametrize(
    "column",
    ["annotator", "Annotator_ID", "worker", "workerId", "rater_id", "labeler", "labelled_by",
     "user_id", "judge", "crowd-worker", "evaluator name", "annotator_hash"],
)  # fmt: skip
def test_annotators_are_known_by_many_names(column: str) -> None:
    rows = [
        {"prompt": ASK, "chosen": a, "rejected": b, "topic": "sky", column: who}
        for who, a, b in ((7, MOON, SUN), (8, SUN, MOON), (9, SUN, MOON))
    ]
    pairs = load_pairs(rows)
    assert better(pairs[0]) == SUN
    assert [entry["annotator"] for entry in pairs[0].meta["votes"]] == ["7", "8", "9"]


def test_other_columns_name_nobody() -> None:
    columns = ("id", "source", "score", "username_of_model", "model", "annotations", "notes")
    assert annotator_column(columns) is None


def test_somebody_who_repeats_himself_is_a_duplicate_and_who_contradicts_himself_put_aside() -> (
    None
):
    rows = [*ROWS, vote("p2", SUN, MOON), vote("p1", SUN, MOON)]
    report = load_pairs(rows).report
    assert (report.imported, report.duplicates) == (3, 1)
    assert report.quarantined == {
        "the same annotator labelled the item before, with another label": 1
    }


@pytest.mark.parametrize("who", [None, "", True])
@pytest.mark.parametrize("rows", list(permutations([(MOON, SUN), (SUN, MOON), (SUN, MOON)])))
def test_rows_that_contradict_each_other_are_votes_without_names_too(
    rows: tuple[tuple[str, str], ...], who: Any
) -> None:
    """Whichever comes first: two of three say the sun."""
    other = {"prompt": "p", "chosen": "a", "rejected": "b"}
    pairs = load_pairs([other, *(vote(who, *row) for row in rows)])
    assert len(pairs) == 2 and better(pairs[1]) == SUN
    label, report = pairs[1].label or {}, pairs.report
    assert (label["annotators"], label["agreement"]) == (3, pytest.approx(2 / 3))
    assert (report.input, report.imported, report.duplicates) == (4, 4, 0)
    assert report.quarantined == {} and pairs[1].source["rows"] == [2, 3, 4]
    names = [entry["annotator"] for entry in pairs[1].meta["votes"]]
    assert names == ["unnamed 1", "unnamed 2", "unnamed 3"]
    assert "3  label: votes on an item" in str(report)


def test_without_names_one_against_one_is_even_and_what_repeats_is_a_copy() -> None:
    one = [vote(None, MOON, SUN), vote(None, SUN, MOON)]
    assert (load_pairs(one)[0].label or {})["kind"] == "tie"
    assert load_pairs(one, even_split="none")[0].label is None
    copies = load_pairs([one[0]] * 3).report
    assert (copies.imported, copies.duplicates) == (1, 2)


def test_a_row_without_a_name_votes_against_one_that_has_it() -> None:
    rows = [vote("p1", MOON, SUN), vote(None, SUN, MOON), vote("p2", SUN, MOON)]
    pairs = load_pairs(rows)
    assert better(pairs[0]) == SUN and pairs.report.imported == 3
    names = [entry["annotator"] for entry in pairs[0].meta["votes"]]
    assert names == ["p1", "unnamed 1", "p2"]


def test_rankings_of_several_people_are_joined_by_mean_rank() -> None:
    def ranking(who: str, answers: str, ranks: list[int | None]) -> dict[str, Any]:
        label = {"kind": "rank", "ranks": ranks}
        return {"prompt": ASK, "responses": list(answers), "label": label, "annotator": who}

    rows = [ranking("p1", "abc", [1, 2, 3]), ranking("p2", "cab", [3, 1, 2])]
    rows.append(ranking("p3", "bca", [1, None, 2]))  # c is left out: the last of p3's
    pairs = load_pairs(rows)
    # a has ranks 1, 1, 2; b 2, 2, 1; c 3, 3, 3: mean ranks 4/3, 5/3, 3
    label = pairs[0].label or {}
    assert (label["kind"], label["ranks"], label["annotators"]) == ("rank", [1, 2, 3], 3)
    assert label["agreement"] == pytest.approx(8 / 9)  # p3 has one of three pairs otherwise


def test_margins_of_those_who_agree_are_averaged() -> None:
    rows = [vote("p1", MOON, SUN, margin=5), vote("p2", SUN, MOON, margin=1)]
    rows.append(vote("p3", SUN, MOON, margin=2))
    assert (load_pairs(rows)[0].label or {})["margin"] == 1.5


def test_votes_far_apart_in_a_long_file_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.data.arrow_table.ROWS_A_CHUNK", 3)
    assert ROWS_A_CHUNK != 3
    others = [{**vote("p1", "a", "b"), "prompt": f"p{n}"} for n in range(8)]
    pairs = load_pairs([*others[:4], ROWS[0], *others[4:], ROWS[1], ROWS[2]])
    assert (len(pairs), better(pairs[4])) == (9, SUN)
    assert [better(pair) for pair in pairs].count("a") == 8


def test_each_vote_that_was_exported_is_a_vote_again(tmp_path: Path) -> None:
    pairs = load_pairs(ROWS)
    again = load_pairs(pairs.save(tmp_path / "x.jsonl"))
    assert list(again) == list(pairs)
    each = [
        {"prompt": ASK, "responses": [MOON, SUN],
         "label": {"kind": "choice", "winner": w, "annotator": who}}
        for who, w in (("p1", 0), ("p2", 1), ("p3", 1))
    ]  # fmt: skip
    assert better(load_pairs(each)[0]) == SUN


def test_quality_computes_agreement_on_imported_votes() -> None:
    rows = []
    for n in range(10):  # ada and bob agree on 8 of 10
        for who, first in (("ada", n % 2), ("bob", n % 2 if n < 8 else 1 - n % 2)):
            a, b = ("a", "b") if first else ("b", "a")
            rows.append({"prompt": f"p{n}", "chosen": a, "rejected": b, "annotator": who})
    found = examine(load_pairs(rows))
    agreement: Any = found.frames["agreement"]
    percent = agreement[agreement.measure == "percent"].iloc[0]
    assert (percent.value, percent["items"], percent["between"]) == (0.8, 10, "2 people")
    line = next(row for row in found.summary.itertuples() if row.check == "agreement")
    assert line.finding.startswith("80.0% on what was labelled twice or more (10)")


def test_votes_that_make_no_sense_are_left_out_of_the_agreement() -> None:
    votes = [{"annotator": "x", "label": {"kind": "choice", "winner": 9}}, "junk", {"label": 3}]
    row = {
        "prompt": ASK,
        "responses": ["a", "b"],
        "label": {"kind": "tie"},
        "meta": {"votes": votes},
    }
    for meta in ({"votes": votes}, {"votes": "none"}):
        found = examine(load_pairs([{**row, "meta": meta}]))
        line = next(one for one in found.summary.itertuples() if one.check == "agreement")
        assert line.state == "unknown"
