"""JSON as text and on disk."""

import gzip
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.messages import Message, dump_messages
from workbench.json_lines import (
    AT_ONCE,
    Follower,
    append_line,
    clean,
    dumps,
    encode,
    new_lines,
    parse,
    read_json,
    read_lines,
    stretches,
    write_json,
)


def test_nan_and_infinities_become_null_at_any_depth():
    assert dumps({"a": float("nan"), "b": [float("inf"), 1.5], "c": (1, "é")}) == (
        '{"a":null,"b":[null,1.5],"c":[1,"é"]}'
    )


# At most one lone surrogate: two side by side are read back as the one character they spell.
plain = st.text()
any_text = st.builds(
    lambda before, odd, after: before + odd + after,
    plain,
    st.sampled_from(["", "\ud800", "\udfff", "\x00", "\u2028"]),
    plain,
)


@given(any_text)
def test_any_text_comes_back_and_can_be_written(text: str) -> None:
    packed = dumps(text)
    assert json.loads(packed) == text
    packed.encode("utf-8")
    assert "\n" not in packed and "\x00" not in packed
    turns: list[Message] = [{"role": "user", "content": text}]
    assert dump_messages(turns) == dumps(turns)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": float("nan"), "b": [float("inf"), 1.5]}, '{"a":null,"b":[null,1.5]}'),
        (np.array([1, 2]), "[1,2]"),
        ({"a": np.array([1.5, np.nan])}, '{"a":[1.5,null]}'),
        (np.float32(0.5), "0.5"),
        ({"b", "a"}, '["a","b"]'),
        (pd.Timestamp("2024-01-02"), '"2024-01-02T00:00:00"'),
        (Path("x/y"), '"x/y"'),
    ],
)
def test_strangers_are_written_as_what_they_mean(value: object, text: str) -> None:
    assert dumps(value) == text
    json.loads(dumps(value), parse_constant=lambda name: pytest.fail(name))


def test_a_lone_surrogate_is_an_escape_in_text_and_a_question_mark_in_a_run_folder() -> None:
    assert dumps({"a": "\ud800é"}) == '{"a":"\\ud800é"}'
    assert encode({"a": "\ud800é"}) == '{"a":"?é"}\n'.encode()


def test_a_key_that_json_does_not_know_is_refused_in_text_and_its_text_in_a_run_folder() -> None:
    with pytest.raises(TypeError, match="keys must be"):
        dumps({("a", 1): 2})
    assert encode({("a", 1): 2}) == b"{\"('a', 1)\":2}\n"


def test_the_same_lines_are_the_same_bytes_hashed_before_they_are_packed(tmp_path: Path) -> None:
    hashes: list[str] = []
    for name in ("new/x.jsonl", "new/x.jsonl.gz", "other.jsonl.gz"):
        with new_lines(tmp_path / name) as lines:
            lines.add({"a": "\ud800"})
            lines.add([1, float("nan")])
            assert not (tmp_path / name).exists()
        assert lines.rows == 2
        hashes.append(lines.sha256)
    plain = (tmp_path / "new" / "x.jsonl").read_bytes()
    assert plain == b'{"a":"\\ud800"}\n[1,null]\n'
    assert hashes == [hashlib.sha256(plain).hexdigest()] * 3
    packed = (tmp_path / "new" / "x.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert packed == (tmp_path / "other.jsonl.gz").read_bytes()


def test_numbers_of_numpy_and_paths_become_plain():
    assert clean({"x": np.float32(0.5), "y": np.array([1, 2]), "z": Path("a")}) == {
        "x": 0.5,
        "y": [1, 2],
        "z": "a",
    }


def test_a_half_written_last_line_waits_until_it_is_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": ')
    rows, offset = read_lines(path)
    assert rows == [{"n": 1}]
    with path.open("ab") as file:
        file.write(b"2}\n")
    assert read_lines(path, offset).rows == [{"n": 2}]


def test_a_damaged_line_is_left_out_and_the_rest_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": \xff{\n[3]\n{"n": 4}\n')
    assert read_lines(path).rows == [{"n": 1}, {"n": 4}]


def test_a_damaged_line_costs_no_other_stretch_of_a_long_file_its_rows():
    count = 3 * AT_ONCE + 1
    lines = [b'{"n": %d}' % n for n in range(count)]
    lines[AT_ONCE + 5] = b'{"n": '
    assert [len(rows) for rows in stretches(lines)] == [AT_ONCE, AT_ONCE - 1, AT_ONCE, 1]
    assert [row["n"] for row in parse(lines)] == [n for n in range(count) if n != AT_ONCE + 5]


def test_a_file_that_does_not_exist_has_no_rows(tmp_path):
    assert read_lines(tmp_path / "none.jsonl", 7) == ([], 0)


def test_appending_after_a_half_written_line_loses_only_that_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n"')
    append_line(path, {"n": 3})
    assert read_lines(path).rows == [{"n": 1}, {"n": 3}]


def test_a_follower_reads_on_and_notices_a_cut(tmp_path):
    path = tmp_path / "rows.jsonl"
    follower = Follower(path)
    assert follower.read() == ([], False)
    append_line(path, {"n": 1})
    append_line(path, {"n": 2})
    assert follower.read() == ([{"n": 1}, {"n": 2}], False)
    assert follower.read() == ([], False)
    aside = tmp_path / "aside"
    aside.write_bytes(b'{"n":1}\n{"n":5}\n{"n":6}\n')  # longer than before, but another file
    aside.replace(path)
    assert follower.read() == ([{"n": 1}, {"n": 5}, {"n": 6}], True)


def test_a_replaced_file_is_whole_at_every_moment(tmp_path):
    path, done = tmp_path / "status.json", threading.Event()
    write_json(path, {"n": 0, "filler": "x" * 20000})

    def write():
        for n in range(300):
            write_json(path, {"n": n, "filler": "x" * 20000})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        assert len(json.loads(path.read_bytes())["filler"]) == 20000
        seen += 1
    writer.join()
    assert seen > 0
    assert read_json(path) == {"n": 299, "filler": "x" * 20000}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_what_is_no_object_reads_as_none(tmp_path):
    path = tmp_path / "x.json"
    assert read_json(path) is None
    path.write_text("[1]")
    assert read_json(path) is None
    path.write_text("{")
    assert read_json(path) is None
