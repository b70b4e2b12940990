"""A label store as a file: all of it, and the very same store again."""

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.pairs import Pair
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.data.writing.store_archive import read_events, write_events
from workbench.data.writing.writers import write_pairs
from workbench.errors import DataError


def item(n, text="x", label=None):
    answers = [[{"role": "assistant", "content": f"{text}{k}"}] for k in "ab"]
    return Pair.make(
        [{"role": "user", "content": f"{n}"}],
        answers,
        label=label,
        source={"file": "f", "row": n},
        meta={"m": [1.5, None, "\ud800"]},
    )


def rows(path):
    """Every cell of every table that holds what people gave."""
    with closing(sqlite3.connect(path)) as db:
        return {
            name: sorted(db.execute(f"SELECT * FROM {name}"))
            for name in ("events", "items", "sides")
        }


actions = st.lists(
    st.tuples(
        st.sampled_from(["label", "skip", "flag", "note", "undo", "redo"]),
        st.integers(0, 3),
        st.sampled_from(["ada", "bob"]),
        st.text(max_size=5),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(actions, st.booleans())
def test_a_store_read_back_is_the_same_to_the_last_cell(tmp_path_factory, done, packed):
    folder = tmp_path_factory.mktemp("a")
    items = [item(n, label={"kind": "tie"} if n else None) for n in range(4)]
    with LabelStore(folder / "one.sqlite") as one, LabelStore(folder / "two.sqlite") as two:
        one.add_items(items)
        for n, (kind, row, who, text) in enumerate(done):
            payload = {"text": text, "order": [1, 0], "event": f"e{n - 1}"}
            if kind == "label":
                payload["label"] = {"kind": "choice", "winner": row % 2}
            one.append(LabelEvent(kind, items[row].id, who, payload, f"e{n}", n + 0.25))
        path = write_events(one, folder / ("x.jsonl.gz" if packed else "x.jsonl"))
        assert read_events(path, two) is two
        assert rows(two.path) == rows(one.path)
        assert two.event_list() == one.event_list()
        again = write_events(two, folder / ("y.jsonl.gz" if packed else "y.jsonl"))
        assert again.read_bytes() == path.read_bytes()
        read_events(path, two)  # a second time changes nothing
        assert rows(two.path) == rows(one.path)


def test_the_lines_and_the_manifest_say_what_they_are(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        pair = item(1)
        store.append(LabelEvent("skip", pair.id, "ada", {}, "e", 3.5), item=pair)
        path = write_pairs(store, tmp_path / "x.jsonl", "events")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(line) for line in lines] == [["archive", "version"], ["item"], ["event"]]
    assert lines[2]["event"] == {
        "kind": "skip",
        "item_id": pair.id,
        "annotator": "ada",
        "payload": {},
        "event_id": "e",
        "time": 3.5,
    }
    told = json.loads((tmp_path / "x.jsonl.manifest.json").read_text())
    assert (told["items"], told["events"], told["rows"]) == (1, 1, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "p"}\n', "not an archive of a label store"),
        ("no json\n", "not an archive of a label store"),
        ('{"archive": "x", "version": "1"}\n', "not an archive of a label store"),
        ('{"archive": "x", "version": 99}\n', "newer version"),
        ('{"archive": "x", "version": 1}\n{"item": {"id": "1"}}\n', "neither an item nor an event"),
        ('{"archive": "x", "version": 1}\n{"other": {}}\n', "neither an item nor an event"),
        ('{"archive": "x", "version": 1}\n{"event":\n', "neither an item nor an event"),
    ],
)
def test_another_file_is_refused(text, message, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with LabelStore(tmp_path / "s.sqlite") as store, pytest.raises(DataError, match=message):
        read_events(path, store)
