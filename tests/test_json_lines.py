import json
import threading
from pathlib import Path

import numpy as np

from workbench.json_lines import (
    AT_ONCE,
    Follower,
    append_line,
    clean,
    dumps,
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
