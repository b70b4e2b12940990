"""Every verb that takes a label store takes its path too, and tells at once what is wrong."""

import os
from pathlib import Path

import pytest

import workbench as wb
from workbench.data.store.labels import as_store
from workbench.errors import ConfigError, DataError

ROWS = [{"prompt": f"q{n}", "responses": ["good", "bad"]} for n in range(4)]


@pytest.mark.parametrize("name", ["labels.sqlite", "labels.db", "labels"])
@pytest.mark.parametrize("kind", [str, Path])
def test_labels_go_to_the_file_at_the_path(name, kind, tmp_path):
    at = kind(tmp_path / "new" / name)
    desk = wb.label(ROWS, at, annotator="ada", tags=["short"], guidelines="Take the good one.")
    assert desk.session.choose("left", tags=["short"])
    assert desk.store.path == Path(at) and list(desk.store.labels()["tags"]) == [["short"]]
    desk.store.close()
    with wb.LabelStore(at) as store:
        assert len(store.labels()) == 1
        assert list(store.sessions()["guidelines"]) == ["Take the good one."]


def test_what_looks_and_what_reports_takes_a_path(tmp_path):
    at = str(tmp_path / "labels.sqlite")
    desk = wb.label(ROWS, at)
    desk.session.choose("left")
    browser = wb.browse(ROWS, at)
    assert browser is not None
    found = wb.quality(ROWS, store=at)
    assert found.frames["sides"].to_dict("records")[0]["left"] == 1
    assert len(wb.quality(at).frames["sides"]) == 2  # a store's path: its labels, and its people
    with pytest.raises(DataError, match="no such label store"):
        wb.quality(ROWS, store=str(tmp_path / "typo.sqlite"))
    assert not (tmp_path / "typo.sqlite").exists()


def test_the_sample_worlds_judge_labels_into_a_path(tmp_path):
    pairs = wb.load_pairs("sample:pairs_heldout")[:6]
    assert wb.gold_labels(pairs, tmp_path / "labels.sqlite") == 6
    assert len(wb.LabelStore(tmp_path / "labels.sqlite").labels()) == 6


@pytest.mark.parametrize("store", [3, ["labels.sqlite"], {}])
def test_what_is_no_store_is_told(store):
    with pytest.raises(ConfigError, match="a label store is needed, not a") as told:
        wb.label(ROWS, store)
    assert "store='labels.sqlite'" in told.value.fix
    with pytest.raises(ConfigError, match="a label store is needed"):
        wb.compare("builtin:tiny-chat", prompts=["a"], store=store)


def test_a_store_that_can_only_be_read_is_told_before_the_labelling(tmp_path, monkeypatch):
    at = tmp_path / "labels.sqlite"
    wb.LabelStore(at).close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match="can only be read"):
        wb.label(ROWS, at)
    assert as_store(at).read_only
