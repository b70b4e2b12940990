"""Export: what is left out is counted, and a file is there whole or not at all."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench import __version__
from workbench.data.pairs import Pair, Pairs
from workbench.data.reading.formats import load_pairs
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.data.writing.writers import write_pairs, write_split
from workbench.errors import ConfigError, DataError

ROWS = [
    {"prompt": "p", "responses": ["a", "b"], "label": {"kind": "choice", "winner": 1}},
    {"prompt": "q", "responses": ["a", "b"], "label": {"kind": "tie"}},
    {"prompt": "r", "responses": ["a", "b"], "label": {"kind": "both_bad"}},
    {"prompt": "s", "responses": ["a", "b"], "label": None},
    {
        "prompt": [{"role": "system", "content": "be"}, {"role": "user", "content": "t"}],
        "responses": ["a", "b", "c"],
        "label": {"kind": "choice", "winner": 0, "strength": 2},
    },
]


def test_trl_rows_are_messages_and_the_manifest_counts_what_is_left_out(tmp_path: Path) -> None:
    path = write_pairs(load_pairs(ROWS), tmp_path / "new" / "x.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == {
        "prompt": [{"role": "user", "content": "p"}],
        "chosen": [{"role": "assistant", "content": "b"}],
        "rejected": [{"role": "assistant", "content": "a"}],
    }
    assert [row["rejected"][0]["content"] for row in rows[1:]] == ["b", "c"]
    assert rows[1]["margin"] == 2.0
    manifest = json.loads((tmp_path / "new" / "x.jsonl.manifest.json").read_text())
    assert manifest == {
        "file": "x.jsonl",
        "format": "trl",
        "layout": 2,
        "items": 5,
        "items_written": 2,
        "rows": 3,
        "left_out": {"both_bad": 1, "no label": 1, "tie": 1},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "options": {
            "ties": "drop",
            "k_way": "all",
            "min_agreement": None,
            "annotators": None,
            "votes": "majority",
        },
        "split": None,
        "source": {"name": "list", "format": "canonical"},
        "workbench": __version__,
    }


def test_plain_text_leaves_out_what_it_cannot_hold(tmp_path: Path) -> None:
    path = write_pairs(load_pairs(ROWS), tmp_path / "x.jsonl", "instruction")
    assert json.loads(path.read_text()) == {"instruction": "p", "chosen": "b", "rejected": "a"}
    manifest = json.loads((tmp_path / "x.jsonl.manifest.json").read_text())
    assert manifest["left_out"]["several turns, which plain text cannot hold"] == 1


def test_a_packed_file_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    pairs = load_pairs(ROWS)
    one = write_pairs(pairs, tmp_path / "x.jsonl.gz")
    two = write_pairs(pairs, tmp_path / "y.jsonl.gz")
    assert one.read_bytes() == two.read_bytes()
    assert gzip.decompress(one.read_bytes()).count(b"\n") == 3


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no format 'xml' to write") as caught:
        write_pairs(load_pairs(ROWS), tmp_path / "x.jsonl", "xml")
    assert "trl-standard" in caught.value.fix
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pairs(load_pairs(ROWS), tmp_path / "x.jsonl")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.json_lines.os.fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        write_pairs(load_pairs(ROWS[:1]), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


# ------------------------------------------------------------------ options


def manifest(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(path.name + ".manifest.json").read_text())


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_ties_in_both_orders_are_written_and_counted(tmp_path: Path) -> None:
    path = write_pairs(load_pairs(ROWS), tmp_path / "x.jsonl", "trl-standard", ties="both")
    assert [(row["chosen"], row.get("weight", 1)) for row in rows(path)] == [
        ("b", 1),
        ("a", 0.5),
        ("b", 0.5),
        ("a", 0.5),
        ("b", 0.5),
    ]
    assert manifest(path)["items_written"] == 3


def test_items_that_people_agree_on_too_little_are_left_out(tmp_path: Path) -> None:
    def item(prompt: str, **label: Any) -> Pair:
        answers: Any = [[{"role": "assistant", "content": text}] for text in "ab"]
        told = {"kind": "choice", "winner": 0, **label}
        return Pair.make([{"role": "user", "content": prompt}], answers, label=told)

    pairs = Pairs.from_items([item("p", agreement=0.6), item("q", agreement=2 / 3), item("r")])
    path = write_pairs(pairs, tmp_path / "x.jsonl", "trl-standard", min_agreement=0.65)
    assert [row["prompt"] for row in rows(path)] == ["q"]
    assert manifest(path)["left_out"] == {"agreement not known": 1, "agreement too low": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ties": "maybe"}, "there is no ties 'maybe'"),
        ({"k_way": "some"}, "there is no k_way 'some'"),
        ({"votes": "few"}, "there is no votes 'few'"),
        ({"min_agreement": 1.5}, "min_agreement cannot be 1.5"),
        ({"ties": "unpaired"}, "ties='unpaired' does not go with the format 'trl'"),
        ({"format": "trl-unpaired", "ties": "both"}, "ties='both' does not go with the format"),
        ({"format": "canonical", "ties": "both"}, "ties='both' does not go with the format"),
        ({"format": "events"}, "are for a label store"),
        ({"annotators": ["ada"]}, "are for a label store"),
        ({"votes": "each"}, "are for a label store"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        write_pairs(load_pairs(ROWS), tmp_path / "x.jsonl", **options)
    assert caught.value.fix
    assert not list(tmp_path.iterdir())


def test_lines_are_written_as_they_are_made(tmp_path: Path, monkeypatch: Any) -> None:
    """A file of a million pairs is never whole in memory: the first lines are on disk before."""
    seen: list[int] = []

    class Watched(Pairs):
        def __iter__(self) -> Iterator[Pair]:
            for pair in super().__iter__():
                for _ in range(2_000):
                    yield pair
                seen.extend(file.stat().st_size for file in tmp_path.iterdir())

    answers: Any = [[{"role": "assistant", "content": text * 50}] for text in "ab"]
    pair = Pair.make([{"role": "user", "content": "p"}], answers)
    path = write_pairs(Watched.from_items([pair]), tmp_path / "x.jsonl", "canonical")
    assert len(seen) == 1 and seen[0] > path.stat().st_size - 20_000


# ------------------------------------------------------------------ out of a label store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    """Item p: ada and bob choose b, eve a. Item q: ada says tie. The others have no label."""
    with LabelStore(tmp_path / "labels.sqlite") as opened:
        pairs = load_pairs(ROWS)
        opened.add_items(pairs)
        choice = {"kind": "choice", "winner": 1}
        for n, (who, row, label) in enumerate(
            [
                ("ada", 0, choice),
                ("bob", 0, choice),
                ("eve", 0, {"kind": "choice", "winner": 0}),
                ("ada", 1, {"kind": "tie"}),
            ]
        ):
            opened.append(
                LabelEvent("label", pairs[row].id, who, {"label": label}, f"e{n}", 100.0 + n)
            )
        yield opened


def test_a_store_is_written_by_majority(store: LabelStore, tmp_path: Path) -> None:
    path = write_pairs(store, tmp_path / "x.jsonl", "trl-standard")
    assert rows(path) == [{"prompt": "p", "chosen": "b", "rejected": "a"}]
    told = manifest(path)
    assert (told["items"], told["left_out"]) == (5, {"no label that counts": 3, "tie": 1})
    assert told["source"]["name"] == str(store.path)
    with pytest.raises(DataError, match="no events by zoe"):
        write_pairs(store, path, annotators=["zoe"])


def test_a_store_is_written_by_person(store: LabelStore, tmp_path: Path) -> None:
    path = write_pairs(store, tmp_path / "x.jsonl", "trl-standard", annotators=["eve"])
    assert [row["chosen"] for row in rows(path)] == ["a"]
    path = write_pairs(store, tmp_path / "y.jsonl", "canonical", votes="each")
    assert [
        (row["label"]["annotator"], row["label"].get("winner"), row["label"]["agreement"])
        for row in rows(path)
    ] == [("ada", 1, 2 / 3), ("bob", 1, 2 / 3), ("eve", 0, 1 / 3), ("ada", None, 1.0)]
    path = write_pairs(store, path, votes="each", min_agreement=0.5)
    assert len(rows(path)) == 2


# ------------------------------------------------------------------ in parts


def test_parts_share_no_prompt_and_make_up_the_whole(tmp_path: Path) -> None:
    pairs = load_pairs(
        [
            {"prompt": f"{'P' if n % 2 else 'p'} {n // 4}", "chosen": f"a{n}", "rejected": "b"}
            for n in range(400)
        ]
    )
    shares = {"train": 0.75, "test": 0.25}
    written = write_split(pairs, tmp_path / "x.jsonl.gz", shares, "trl-standard", seed=3)
    assert {name: path.name for name, path in written.items()} == {
        "train": "x-train.jsonl.gz",
        "test": "x-test.jsonl.gz",
    }
    parts = {name: load_pairs(path) for name, path in written.items()}
    assert len(parts["train"]) + len(parts["test"]) == 400
    assert manifest(written["test"])["split"] == {"part": "test", "fractions": shares, "seed": 3}
    sides = [{pair.prompt[0]["content"].lower() for pair in part} for part in parts.values()]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 100


def test_a_split_of_a_store_counts_what_it_lacks_once(store: LabelStore, tmp_path: Path) -> None:
    halves = {"a": 0.5, "b": 0.5}
    written = write_split(store, tmp_path / "x.jsonl", halves, annotators=["ada"])
    told = [manifest(path) for path in written.values()]
    assert sum(each["items"] for each in told) == 5
    assert sum(each["left_out"].get("no label that counts", 0) for each in told) == 3
    with pytest.raises(ConfigError, match="archived whole"):
        write_split(store, tmp_path / "y.jsonl", halves, "events")


def test_a_reworded_answer_is_a_response_of_its_own_by_person_too(
    store: LabelStore, tmp_path: Path
) -> None:
    pair = next(item for item in store.items() if item.prompt[0]["content"] == "s")
    label = {"kind": "choice", "winner": 0}
    store.append(LabelEvent("edit", pair.id, "ada", {"label": label, "text": "a!"}, "e9", 200.0))
    path = write_pairs(store, tmp_path / "x.jsonl", "trl-standard", votes="each")
    assert [(row["chosen"], row["rejected"]) for row in rows(path) if row["prompt"] == "s"] == [
        ("a!", "a"),
        ("a!", "b"),
        ("a", "b"),
    ]
