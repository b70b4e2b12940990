"""Whatever a row holds: it ends in exactly one bucket, and the rest goes on."""

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data import arrow_table
from workbench.data.pairs import Pairs
from workbench.data.reading import sources
from workbench.data.reading.formats import load_pairs
from workbench.data.reading.readers import COLUMNS_OF_FORMATS, FORMATS
from workbench.data.reading.sources import open_source
from workbench.errors import DataError, WorkbenchError

from .known_rows import PKU, POST, WON

NAMES = [fmt.name for fmt in FORMATS if not fmt.asks]
WORDS = ["a", "b", " ", "", "\ud800", "\x00", "model_a", "tie", "left", "1", "-2", "0", "user"]
KEYS = [
    "role", "content", "from", "value", "text", "rank", "answer", "response", "replies", "axes",
    "overall", "annotations", "result", "selected", "post", "summary", "messages", "full_text",
    "score", "kind", "winner", "ranks", "scores", "q", "answer1", "answer2", "prompt",
]  # fmt: skip
leaf = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**400, float("nan"), float("inf"), 0.5]),
    st.just('["a","b"]'),
    st.just("\n\nHuman: a\n\nAssistant: b"),
)
junk: st.SearchStrategy[Any] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        st.builds(lambda text: [{"role": "user", "content": text}], inner),
        st.builds(lambda text: [{"role": "assistant", "content": text}], inner),
    ),
    max_leaves=6,
)


KNOWN = [
    *WON,
    ("unlabelled", {"prompt": "p", "responses": ["a", "b"]}),
    ("pku-safe-rlhf:safe", {**PKU, "safer_response_id": 1}),
    ("pku-safe-rlhf:helpful", {**PKU, "better_response_id": 0}),
    ("helpsteer2", {"prompt": "p", "response": "a", "helpfulness": 1}),
    ("helpsteer2", {"prompt": "p", "response": "b", "helpfulness": 2}),
    ("trl-unpaired", {"prompt": "p", "completion": "a", "label": True}),
    ("trl-unpaired", {"prompt": "p", "completion": "b", "label": False}),
    ("summarize-axis", {"info": POST, "summary": {"text": "a", "axes": {"overall": 3}}}),
    ("summarize-axis", {"info": POST, "summary": {"text": "b", "axes": {"overall": 3}}}),
    ("oasst", {"message_tree_id": "t", "prompt": {"text": "p", "role": "prompter", "replies": [
        {"text": "a", "role": "assistant", "rank": 0, "replies": []},
        {"text": "b", "role": "assistant", "rank": 1, "replies": [
            {"text": "q", "role": "prompter", "replies": [
                {"text": "c", "role": "assistant", "rank": 0},
                {"text": "d", "role": "assistant", "rank": 0}]}]}]}}),
]  # fmt: skip


def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """Return a row with something in it replaced, at any depth, or as it was."""
    if isinstance(value, dict) and value:
        name = draw(st.sampled_from(sorted(value)))
        held = draw(junk) if draw(st.integers(0, 2)) == 0 else spoiled(draw, value[name])
        return {**value, name: held}
    if isinstance(value, list) and value:
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], spoiled(draw, value[place]), *value[place + 1 :]]
    return draw(st.one_of(st.just(value), leaf))


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[Any]]:
    name = draw(st.sampled_from(NAMES))
    known = [row for known_name, row in KNOWN if known_name == name]
    rows: list[Any] = []
    for _ in range(draw(st.integers(1, 6))):
        row = draw(st.sampled_from(known)) if known else {}
        way = draw(st.integers(0, 3))
        rows.append(draw(junk) if way == 0 else row if way == 1 else spoiled(draw, row))
    return name, rows


def check(pairs: Pairs, rows: int) -> None:
    counts = pairs.report.as_dict()
    aside = sum(counts["quarantined"].values())
    assert counts["input"] == rows
    assert counts["imported"] + counts["ties"] + counts["duplicates"] + aside == rows
    assert counts["items"] == len(pairs) == len(set(pairs.ids()))
    assert len(pairs.report.quarantined_rows) == aside
    assert not any(why.startswith("a value that cannot be read") for why in counts["quarantined"])
    str(pairs.report).encode("utf-8")
    pairs.report._repr_html_().encode("utf-8")
    pairs.training_rows()


@settings(max_examples=400, deadline=None)
@given(tables())
def test_junk_in_every_format_ends_in_exactly_one_bucket(
    given_table: tuple[str, list[Any]],
) -> None:
    name, rows = given_table
    check(load_pairs(rows, name), len(rows))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(COLUMNS_OF_FORMATS)), junk), min_size=1))
def test_looking_for_the_format_raises_nothing_but_our_own(rows: list[Any]) -> None:
    with contextlib.suppress(WorkbenchError):  # every other error fails the test
        check(load_pairs(rows), len(rows))


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), kind=st.sampled_from(["jsonl", "json", "csv", "tsv", "txt"]))
def test_bytes_by_any_name_raise_nothing_but_our_own(
    data: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for path, content in (
        (folder / f"x.{kind}", data),
        (folder / f"y.{kind}.gz", data),
        (folder / f"z.{kind}.gz", gzip.compress(data)),
        (folder / "w.parquet", data),
    ):
        path.write_bytes(content)
        with contextlib.suppress(WorkbenchError):  # every other error fails the test
            report = load_pairs(path, "trl").report
            aside = sum(report.quarantined.values())
            assert report.input == report.imported + report.duplicates + aside > 0


class Odd:
    """Cannot be compared, tested or written."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_a_value_that_nobody_foresaw_puts_its_row_aside() -> None:
    ring: dict[str, Any] = {"a": 1}
    ring["ring"] = ring
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    good = {"instruction": "p", "chosen": "a", "rejected": "b"}
    rows: list[Any] = [
        good,
        {**good, "instruction": "odd", "system": Odd()},
        {**good, "instruction": "ring", "extra": ring},
        {**good, "instruction": "deep", "extra": deep},
        {**good, "instruction": "keys", "extra": {("a", "b"): 1}},
        {**good, "instruction": "last", 7: "a number for a name"},
    ]
    pairs = load_pairs(rows)
    assert [pair.prompt[0]["content"] for pair in pairs] == ["p", "last"]
    assert pairs[1].meta == {"7": "a number for a name"}
    assert sum(pairs.report.quarantined.values()) == 4
    assert all("cannot be read" in why for why in pairs.report.quarantined)
    steer = {"prompt": "p", "response": "a", "helpfulness": 1, "extra": Odd()}
    for second in (steer | {"response": "b"}, steer | {"extra": Odd()}):
        report = load_pairs([steer, second], "helpsteer2").report
        assert (report.input, sum(report.quarantined.values())) == (2, 2)


HOSTILE = [
    "a\u2028b",
    "x" * 1_000_000,
    "lone \ud83d",
    "nul \x00",
    "\u202eright",
    "\ufeffbom",
    "a\x85b\x0b\x1cc",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_through_every_source_as_it_is(text: str, tmp_path: Path) -> None:
    row = {"prompt": f"p{text}", "chosen": text, "rejected": f"{text}!"}
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row).encode() + b"\r\n")
    (tmp_path / "x.json").write_text(json.dumps([row]))
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    sources: list[Any] = [[row], path, tmp_path / "x.json", tmp_path / "x.jsonl.gz"]
    if "\ud83d" not in text:  # which these two cannot hold
        (tmp_path / "raw.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode())
        pd.DataFrame([row]).to_csv(tmp_path / "x.csv", index=False)
        pd.DataFrame([row]).to_parquet(tmp_path / "x.parquet")
        sources += [tmp_path / name for name in ("raw.jsonl", "x.csv", "x.parquet")]
    for source in sources:
        pairs = load_pairs(source)
        assert pairs[0].prompt[0]["content"] == row["prompt"]
        assert [said[0]["content"] for said in pairs[0].responses] == [text, f"{text}!"]
        again = load_pairs(pairs.save(tmp_path / "again.jsonl"))
        assert list(again) == list(pairs)


def test_numbers_past_every_float_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    big = 123456789012345678901234567890
    path.write_text(f'{{"prompt": "p", "chosen": "a", "rejected": "b", "n": {big}, "n2": NaN}}\n')
    assert load_pairs(path)[0].meta == {"n": big, "n2": None}


def test_a_packed_file_damaged_in_the_middle_gives_what_was_before(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{hash(n)}{n * 7919}", "chosen": "a", "rejected": "b"} for n in range(9000)
    ]
    data = bytearray(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    data[len(data) // 2 : len(data) // 2 + 100] = b"\xff" * 100
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(bytes(data))
    report = load_pairs(path).report
    assert 100 < report.imported < 9000
    assert report.quarantined["the file is damaged from here on"] == 1


def test_a_parquet_file_that_is_damaged_gives_what_was_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_table, "BATCH", 100)
    rows = [{"prompt": f"p{n} {'x' * 50}", "chosen": f"a{n}", "rejected": "b"} for n in range(2000)]
    path = tmp_path / "x.parquet"
    pd.DataFrame(rows).to_parquet(path, row_group_size=500, compression=None)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = b"\xff" * 20_000
    path.write_bytes(bytes(data))
    report = load_pairs(path).report
    assert 100 <= report.imported < 2000
    assert report.input == report.imported + report.duplicates + sum(report.quarantined.values())


def test_a_parquet_row_that_cannot_be_read_is_one_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = [b"a", b"\xff\xfe", b"c"]
    chosen = pa.array(raw, type=pa.binary()).view(pa.string())
    columns = {"prompt": ["p", "q", "r"], "chosen": chosen, "rejected": ["x", "y", "z"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    report = load_pairs(tmp_path / "x.parquet").report
    assert (report.imported, report.quarantined) == (2, {"the row cannot be read": 1})


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')

    def refused(*given: Any, **more: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(DataError, match="the file cannot be read: Permission denied"):
            load_pairs(path)

    class Torn:
        closed = False

        def __init__(self, lines: int) -> None:
            self.lines = lines

        def __enter__(self) -> "Torn":
            return self

        def __exit__(self, *why: object) -> None:
            pass

        def readline(self, most: int) -> bytes:
            self.lines -= 1
            if self.lines < 0:
                raise OSError(5, "Input/output error")
            return path_line

    path_line = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda *given: Torn(150))
    with pytest.raises(DataError, match="the file cannot be read: Input/output error"):
        load_pairs(path)


# --- files that unpack to more than they could mean


PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def gz(path: Path, *parts: bytes) -> Path:
    with gzip.open(path, "wb") as file:
        for part in parts:
            file.write(part)
    return path


def counts(path: Path) -> tuple[int, dict[str, int]]:
    report = load_pairs(path, "trl").report
    return report.imported, dict(report.quarantined)


def test_a_line_that_is_longer_than_any_is_put_aside_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LONGEST_ROW", 1000)
    good, long = json.dumps(PAIR).encode() + b"\n", b"x" * 5000 + b"\n"
    for name in ("a.jsonl", "b.jsonl.gz"):
        path = tmp_path / name
        gz(path, good, long, good) if name.endswith("gz") else path.write_bytes(good + long)
        imported, aside = counts(path)
        assert imported == 1 and list(aside) == ["the line is longer than 256 MB"]
    (tmp_path / "c.jsonl").write_bytes(b"x" * 5000)  # and no newline at its end
    assert load_pairs(tmp_path / "c.jsonl", "trl").report.input == 1


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json", "txt", "tsv"])
def test_a_packed_bomb_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sources, "UNPACKED_FREE", 100_000)
    monkeypatch.setattr(sources, "LONGEST_ROW", 2**20)
    good = json.dumps(PAIR).encode() + b"\n" if kind == "jsonl" else b"prompt,chosen,rejected\n"
    path = gz(tmp_path / f"bomb.{kind}.gz", good, b"x" * 2**24)
    taken = 0
    read = sources._Unpacked.readinto

    def counted(self: Any, buffer: Any) -> int:
        nonlocal taken
        taken += (n := read(self, buffer))
        return n

    monkeypatch.setattr(sources._Unpacked, "readinto", counted)
    records = list(open_source(path).records)
    assert "unpacks to over 200 times its size" in records[-1].bad
    assert taken < 2**23


def test_what_is_in_proportion_is_read_to_its_end(tmp_path: Path) -> None:
    rows = [{**PAIR, "prompt": f"question {n}"} for n in range(3000)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    assert counts(gz(tmp_path / "fine.jsonl.gz", lines)) == (3000, {})


def test_a_parquet_file_of_more_rows_or_larger_ones_than_it_could_mean_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    same = pa.table({name: pa.array([text] * 4000) for name, text in PAIR.items()})
    pq.write_table(same, tmp_path / "rows.parquet")
    monkeypatch.setattr(arrow_table, "ROWS_FREE", 100)
    monkeypatch.setattr(arrow_table, "ROWS_A_BYTE", 1)
    with pytest.raises(DataError, match=r"says that it has 4,000 rows in"):
        load_pairs(tmp_path / "rows.parquet", "trl")
    monkeypatch.undo()
    monkeypatch.setattr(sources, "UNPACKED_FREE", 2**20)
    large = pa.table({**same.to_pydict(), "prompt": pa.array(["x" * 2**16] * 4000)})
    pq.write_table(large, tmp_path / "large.parquet")
    imported, aside = counts(tmp_path / "large.parquet")
    assert imported <= 1 and any("unpacks to over 200 times" in why for why in aside)
