import json
import os
import sys
from array import array
from zlib import crc32

import pytest

from workbench.events import Finished, Progress
from workbench.json_lines import append_line
from workbench.runs import metric_table, writer
from workbench.runs.folder import METRICS
from workbench.runs.metric_table import KEPT_COLUMNS, keep_columns, metrics_of
from workbench.runs.writer import FolderWriter


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch):
    for module in (metric_table, writer):
        monkeypatch.setattr(module, "WORTH_COLUMNS", 1)


@pytest.fixture
def long_run(folder):
    for step in range(1, 41):
        append_line(folder.path / METRICS, {"step": step, "loss": 1 / step, "time": 2.0 * step})
    with (folder.path / METRICS).open("ab") as file:
        file.write(b"no row\n")
    append_line(folder.path / METRICS, {"step": 41, "kl": 0.5, "time": 82.0})
    return folder


def held(table):
    columns = {name: list(map(repr, column)) for name, column in table.columns.items()}
    return columns, table.count, table.damaged, table.length


def test_rows_are_parsed_once_and_read_as_numbers_after_that(long_run, monkeypatch):
    parsed, size = metrics_of(long_run), (long_run.path / METRICS).stat().st_size
    assert (parsed.count, parsed.damaged, parsed.length) == (41, 1, size)
    assert list(parsed.columns["loss"][:2]) == [1.0, 0.5]
    assert (long_run.path / KEPT_COLUMNS).exists()
    monkeypatch.setattr(metric_table, "metric_rows", lambda lines: pytest.fail("parsed again"))
    assert held(metrics_of(long_run)) == held(parsed)


def test_what_was_written_since_is_parsed_behind_it(long_run, monkeypatch):
    metrics_of(long_run)
    append_line(long_run.path / METRICS, {"step": 42, "loss": 7.0, "new": 1.0})
    seen, rows_of = [], metric_table.metric_rows
    monkeypatch.setattr(metric_table, "metric_rows", lambda new: seen.extend(new) or rows_of(new))
    table = metrics_of(long_run)
    assert len(seen) == 1 and table.count == 42 and table.damaged == 1
    assert table.columns["loss"][-1] == 7.0 and table.columns["new"][-1] == 1.0
    assert {len(column) for column in table.columns.values()} == {42}


def test_the_writer_leaves_them_behind(folder):
    with FolderWriter(folder) as write:
        for step in (1, 2):
            write(Progress(step, 2, {"loss": 0.5}))
        write(Finished(2, False))
    assert (folder.path / KEPT_COLUMNS).exists()
    assert list(metrics_of(folder).columns["step"]) == [1.0, 2.0]


@pytest.mark.parametrize("change", ["one digit", "cut", "cut and longer", "gone"])
def test_beside_other_metrics_they_count_for_nothing(long_run, change):
    metrics_of(long_run)
    path = long_run.path / METRICS
    text = path.read_bytes()
    other = {
        "one digit": text.replace(b'"step":2,"loss":0.5,', b'"step":2,"loss":0.6,'),
        "cut": text[: text.index(b"\n") + 1],
        "cut and longer": text[: text.index(b"\n") + 1] + b'{"step":3,"loss":9.0}\n' * 200,
        "gone": b"",
    }[change]
    assert other != text
    path.write_bytes(other)
    after = metrics_of(long_run)
    (long_run.path / KEPT_COLUMNS).unlink(missing_ok=True)
    assert held(after) == held(metrics_of(long_run))


def _with_steps(kept: bytes, *steps: float) -> bytes:
    """The same file with other steps and the checksum that belongs to them."""
    line, _, numbers = kept.partition(b"\n")
    header = json.loads(line)
    numbers = array("d", [*steps, *[1.0] * (header["rows"] - len(steps))]).tobytes() + numbers[328:]
    return json.dumps({**header, "columns": crc32(numbers)}).encode() + b"\n" + numbers


def _with(kept: bytes, **values) -> bytes:
    line, _, numbers = kept.partition(b"\n")
    return json.dumps({**json.loads(line), **values}).encode() + b"\n" + numbers


STRANGE = {
    "empty": lambda kept: b"",
    "no header": lambda kept: b"[" * 100_000,
    "a list": lambda kept: b"[1]\n",
    "no numbers": lambda kept: kept[: kept.index(b"\n") + 1],
    "cut": lambda kept: kept[:-1],
    "a changed byte": lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]),
    "more rows than there are": lambda kept: _with(kept, rows=2**50),
    "longer than the metrics": lambda kept: _with(kept, length=2**40),
    "rows that are text": lambda kept: _with(kept, rows="41"),
    "a name twice": lambda kept: _with(kept, names=["step", "loss", "time", "loss"]),
    "no steps": lambda kept: _with(kept, names=["a", "loss", "time", "kl"]),
    "names that are no texts": lambda kept: _with(kept, names=["step", [], {}, 1]),
    "too long a name": lambda kept: _with(kept, names=["step", "x" * 300, "time", "kl"]),
    "of another machine": lambda kept: _with(
        kept, order={"little": "big", "big": "little"}[sys.byteorder]
    ),
    "a step that is none": lambda kept: _with_steps(kept, float("nan")),
    "a step below 0": lambda kept: _with_steps(kept, -1.0),
    "half a step": lambda kept: _with_steps(kept, 0.5),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_was_not_written_so_is_not_believed(long_run, name):
    parsed = metrics_of(long_run)
    kept = (long_run.path / KEPT_COLUMNS).read_bytes()
    (long_run.path / KEPT_COLUMNS).write_bytes(STRANGE[name](kept))
    assert metric_table.kept_columns(long_run.path).length == 0
    assert held(metrics_of(long_run)) == held(parsed)
    assert (long_run.path / KEPT_COLUMNS).read_bytes() == kept  # made again


def test_steps_with_the_right_checksum_are_believed(long_run):
    """The control of the cases above: what they change is what is refused."""
    metrics_of(long_run)
    kept = (long_run.path / KEPT_COLUMNS).read_bytes()
    (long_run.path / KEPT_COLUMNS).write_bytes(_with_steps(kept, 5.0))
    assert metric_table.kept_columns(long_run.path).columns["step"][0] == 5.0


def test_a_fifo_in_their_place_is_not_waited_for(long_run):
    parsed = metrics_of(long_run)
    (long_run.path / KEPT_COLUMNS).unlink()
    os.mkfifo(long_run.path / KEPT_COLUMNS)
    assert held(metrics_of(long_run)) == held(parsed)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(long_run, monkeypatch):
    def full(path):
        raise OSError(28, "no space")

    monkeypatch.setattr(metric_table, "replacing", full)
    table = metrics_of(long_run)
    assert table.count == 41 and not (long_run.path / KEPT_COLUMNS).exists()
    table.length += 10**9  # as where the file was cut meanwhile
    keep_columns(table, long_run.path)


def test_more_than_a_file_may_have_is_neither_written_nor_read(long_run, monkeypatch):
    parsed = metrics_of(long_run)
    assert 8 * parsed.count * len(parsed.columns) == 1312  # 41 rows of step, loss, time, kl
    monkeypatch.setattr(metric_table, "MOST_BYTES", 1311)
    assert metric_table.kept_columns(long_run.path).length == 0
    (long_run.path / KEPT_COLUMNS).unlink()
    assert held(metrics_of(long_run)) == held(parsed)
    assert not (long_run.path / KEPT_COLUMNS).exists()
