"""Guidelines and reasons: given, stored with the label, counted, exported, read back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench.analysis.quality import examine
from workbench.data.labelling.guidelines import LONGEST, read_guidelines, tag_names
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store.labels import LabelStore
from workbench.data.writing.store_archive import pairs_of_each_vote, read_events, write_events
from workbench.errors import ConfigError, DataError

from .made_sessions import table

TAGS = ("accurate", "too long", "style")


def session_of(store: LabelStore, who: str = "ada", **wishes: Any) -> LabelSession:
    told: dict[str, Any] = {"guidelines": "Take the true one.", "tags": TAGS, **wishes}
    return LabelSession(table(), store, annotator=who, overlap=None, **told)


def test_reasons_are_stored_with_the_label_in_the_lists_order(store: LabelStore) -> None:
    session = session_of(store)
    assert session.choose("left", tags=["style", "accurate"])
    assert session.skip(tags=["too long"])
    assert session.edit("right", "better", tags=["too long"])
    kinds = [(event.kind, event.payload.get("tags")) for event in store.event_list()]
    assert kinds == [
        ("session", ["accurate", "too long", "style"]),
        ("label", ["accurate", "style"]),
        ("skip", ["too long"]),
        ("edit", ["too long"]),
    ]
    assert list(store.labels()["tags"]) == [["accurate", "style"], ["too long"]]
    assert session.jump(0).tags == ("accurate", "style")
    assert session.jump(2).tags == ("too long",)
    session.undo()
    assert session.jump(2).tags == ()


def test_a_reason_that_was_not_offered_is_refused(store: LabelStore) -> None:
    session = session_of(store)
    with pytest.raises(ConfigError, match="no tag 'stile'") as told:
        session.choose("left", tags=["stile"])
    assert "did you mean style?" in told.value.fix and not store.event_list()
    with pytest.raises(ConfigError, match="no tag 'style'"):
        LabelSession(table(), store, annotator="ada").choose("left", tags="style")


def test_what_annotators_were_told_is_kept_once_and_named_by_their_labels(
    store: LabelStore, tmp_path: Path
) -> None:
    (tmp_path / "rules.md").write_text("Take the\nshort one.\n", encoding="utf-8-sig")
    for _ in range(2):  # the cell is run again
        assert session_of(store).choose("left")
    assert session_of(store, "bob", guidelines=tmp_path / "rules.md").choose("right")
    assert LabelSession(table(), store, annotator="cyd", overlap=None).choose("right")
    rows = store.sessions().to_dict("records")
    assert [(row["annotator"], row["guidelines"]) for row in rows] == [
        ("ada", "Take the true one."),
        ("bob", "Take the\nshort one."),
    ]
    assert rows[0]["tags"] == list(TAGS)
    named = [event.payload.get("session") for event in store.event_list() if event.kind == "label"]
    assert named == [rows[0]["session"]] * 2 + [rows[1]["session"], None]


def test_a_store_with_reasons_is_exported_and_read_back(store: LabelStore, tmp_path: Path) -> None:
    session_of(store).choose("left", tags=["accurate"])
    session_of(store, "bob").choose("left", tags=["accurate", "style"])
    session_of(store, "cyd").choose("left")
    (pair,) = store.pairs(ties="keep")
    assert pair.label is not None and pair.label["tags"] == {"accurate": 2, "style": 1}
    store.pairs(ties="keep").save(tmp_path / "pairs.jsonl")
    (again,) = load_pairs(tmp_path / "pairs.jsonl")
    assert again.label == pair.label
    each = [item.label or {} for item in pairs_of_each_vote(store)]
    assert [label.get("tags") for label in each] == [
        {"accurate": 1},
        {"accurate": 1, "style": 1},
        None,
    ]
    archive = write_events(store, tmp_path / "events.jsonl")
    with LabelStore(tmp_path / "again.sqlite") as other:
        assert read_events(archive, other).event_list() == store.event_list()
        assert len(other.sessions()) == 3


def test_a_ranking_and_an_edit_keep_their_reasons(store: LabelStore) -> None:
    pairs = load_pairs([{"prompt": "q", "responses": ["a", "b", "c"]}])
    session = LabelSession(pairs, store, annotator="ada", tags=TAGS)
    session.rank([2, [0, 1]], tags=["style"])
    (pair,) = store.pairs()
    assert pair.label is not None and pair.label["tags"] == {"style": 1}


def test_the_quality_report_counts_the_reasons(store: LabelStore) -> None:
    ada, bob = session_of(store), session_of(store, "bob")
    for n in range(4):
        ada.choose("left", tags=["accurate"] if n < 3 else ["style"])
    bob.choose("left", tags=["accurate"])
    found = examine(store.pairs(ties="keep"), None, store)
    (line,) = [row for row in found.summary.to_dict("records") if row["check"] == "reasons given"]
    assert line["finding"] == "accurate 4, style 1 (of 5 labels)" and line["state"] == "ok"
    assert found.frames["reasons"].to_dict("records") == [
        {"tag": "accurate", "annotator": "everyone", "labels": 4, "of": 5},
        {"tag": "accurate", "annotator": "ada", "labels": 3, "of": 4},
        {"tag": "accurate", "annotator": "bob", "labels": 1, "of": 1},
        {"tag": "style", "annotator": "everyone", "labels": 1, "of": 5},
        {"tag": "style", "annotator": "ada", "labels": 1, "of": 4},
    ]
    imported = examine(store.pairs(ties="keep"))  # of four items, three were found accurate
    assert imported.frames["reasons"].to_dict("records")[0] == {
        **{"tag": "accurate", "annotator": "everyone", "labels": 3, "of": 4}
    }
    none = examine(table())
    assert "reasons given" not in list(none.summary["check"])


def test_guidelines_are_a_text_or_a_file(tmp_path: Path) -> None:
    assert read_guidelines(None) == ""
    assert read_guidelines("  Be kind.  See rules.md ") == "Be kind.  See rules.md"
    (tmp_path / "rules.txt").write_text("Be brief.\n")
    assert read_guidelines(str(tmp_path / "rules.txt")) == "Be brief."
    for source in ("nowhere.md", tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError, match="the guidelines cannot be read"):
            read_guidelines(source)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="cannot be read"):
        read_guidelines(tmp_path / "latin.txt")
    with pytest.raises(DataError, match="60,001 characters long"):
        read_guidelines("x" * (LONGEST + 1))


def test_half_a_character_is_marked_and_breaks_nothing(store: LabelStore) -> None:
    session = session_of(store, guidelines="a\ud800b", tags=["\udfff lone"])
    assert session.guidelines == "a\ufffdb" and session.tags == ("\ufffd lone",)
    session.choose("left", tags=session.tags)
    assert examine(store.pairs(), None, store).frames["reasons"]["tag"][0] == "\ufffd lone"
    imported = load_pairs([{"prompt": "q", "responses": ["a", "b"]}])[0]
    label = {"kind": "choice", "winner": 0, "tags": {"\ud800": 1}}
    found = examine(Pairs.from_items([replace(imported, label=label)]))
    assert found.frames["reasons"]["tag"][0] == "\\ud800"


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (["a", "a"], "the tag 'a' is there twice"),
        (["a", " "], "a tag cannot be ' '"),
        (["a", 1], "a tag cannot be 1"),
        ([f"t{n}" for n in range(25)], "there are 25 tags"),
    ],
)
def test_tags_that_cannot_be(tags: list[Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tag_names(tags)
