import gzip
import json
import os
import threading

import pytest

from workbench.errors import RunError
from workbench.json_lines import DEEPEST, LONGEST_LINE, append_line
from workbench.runs import process
from workbench.runs.alarms import MOST_LETTERS, watched_figures
from workbench.runs.catalogue import UNREADABLE, list_runs, open_run
from workbench.runs.file_rules import (
    MOST_METRICS,
    answer_rows,
    config_fault,
    control_rows,
    event_rows,
    metric_rows,
    status_fault,
)
from workbench.runs.folder import DATA
from workbench.runs.metric_table import metrics_of


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "it says no kind of run"),
        ({"kind": 3}, "kind is 3, not a text of at most 200 characters"),
        ({"kind": ""}, "kind is '', not a text of at most 200 characters"),
        ({"kind": "ppo", "data": {"rows": "many"}}, "data.rows is 'many', not a whole number"),
        ({"kind": "ppo", "data": {"rows": -1}}, "data.rows is -1, not a whole number"),
        ({"kind": "ppo", "settings": [1]}, "settings is [1], not names and values"),
        ({"kind": "ppo", "data": 5}, "data is 5, not names and values"),
        ({"kind": "ppo", "model": ["a"]}, "model is ['a'], not a text"),
        ({"kind": "dpo", "data": None, "settings": {"a": [1]}}, ""),
    ],
)
def test_a_config_says_what_it_should(config, why):
    assert config_fault(config).startswith(why) and bool(config_fault(config)) == bool(why)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"state": "dreaming"}, "state is 'dreaming', not one of starting"),
        ({"state": ["running"]}, "state is ['running'], not one of"),
        ({"step": "12"}, "step is '12', not a whole number"),
        ({"total_steps": 10**400}, "total_steps is 1000"),
        ({"heartbeat": True}, "heartbeat is True, not a number"),
        ({"state": "paused", "step": 0, "total_steps": None, "phase": None}, ""),
    ],
)
def test_a_status_says_what_it_should(status, why):
    assert status_fault(status).startswith(why) and bool(status_fault(status)) == bool(why)


def lines(*rows):
    return [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]


def test_rows_that_say_no_step_are_none():
    odd = [{"step": step} for step in ("1", None, -1, 1.5, True, [1], 2**60)]
    assert metric_rows(lines({"step": 3}, *odd, {}, b"[1]", b"{", b"")) == [{"step": 3}]
    (row,) = answer_rows(lines({"step": 3, "score": "x", "kl": float("nan"), "gold": 1}, {"a": 1}))
    assert row == {"step": 3, "score": None, "kl": None, "gold": 1}


def test_events_and_commands_that_nothing_could_be_told_of_are_none():
    assert event_rows(lines({"kind": 3}, {"kind": "done", "values": [1]}, {"id": "a"})) == []
    assert control_rows(lines({"id": [1]}, {"id": "a", "step": "x"}, {"id": "a"})) == [{"id": "a"}]


def test_what_is_nested_too_deep_is_a_damaged_line():
    deep = b"[" * DEEPEST + b"]" * DEEPEST
    fits = b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1)
    both = [b'{"step": 1, "x": %s}' % fits, b'{"step": 2, "x": %s}' % deep]
    assert [row["step"] for row in metric_rows(both)] == [1]
    assert metric_rows([b'{"step": 1, "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"]) == []


def test_numbers_that_are_none_leave_gaps_in_the_columns(folder):
    for value in (1.0, "many", [1], 10**400, None, True):
        append_line(folder.path / "metrics.jsonl", {"step": 1, "loss": value})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 1e999}\n{"step": 2}\n')
    table = metrics_of(folder)
    assert table.count == 8 and table.damaged == 0
    assert table.recent_mean("loss") == 1.0 and table.recent_mean("kl") is None


def test_of_too_many_metrics_the_first_are_read(folder):
    names = {f"m{i}": 1.0 for i in range(MOST_METRICS + 50)}
    append_line(folder.path / "metrics.jsonl", {"step": 1, **names, "x" * 300: 1.0})
    assert len(metrics_of(folder).columns) == MOST_METRICS


def test_one_unreadable_run_leaves_the_others_in_the_table(make_run):
    good, bad = make_run("good"), make_run("bad")
    (bad.path / "config.json").write_bytes(b"\xff\xfe")
    rows = {row["name"]: row for row in list_runs().to_dict("records")}
    assert (rows["bad"]["state"], rows["bad"]["now"]) == (UNREADABLE, "config.json is not UTF-8")
    assert rows["good"]["kind"] == "fake" and open_run("good").path == good.path
    with pytest.raises(RunError, match=r"bad is unreadable: config\.json is not UTF-8"):
        open_run("bad")
    (bad.path / "config.json").unlink()
    os.mkfifo(bad.path / "config.json")
    assert list_runs()["now"].tolist()[0] == "config.json cannot be read: it is no plain file"
    (bad.path / "config.json").unlink()
    (bad.path / "config.json").write_text('{"kind": "ppo"}')
    (bad.path / "status.json").write_text('{"state": 5}')
    rows = {row["name"]: row for row in list_runs().to_dict("records")}
    assert rows["bad"]["now"].startswith("status.json: state is 5, not one of")


def test_links_in_a_circle_are_no_more_runs(make_run, places):
    run = make_run("one")
    (run.path.parent / "again").symlink_to(run.path)
    (run.path.parent / "circle").symlink_to(run.path.parent)
    (run.path.parent / "self").symlink_to("self")
    assert len(list_runs()) == 1


def test_a_fifo_in_place_of_any_file_is_told_and_not_waited_for(make_run):
    run = make_run("one")
    for name in ("metrics.jsonl", "samples.jsonl", "events.jsonl", "control.jsonl", "log.txt"):
        (run.path / name).unlink()
        os.mkfifo(run.path / name)
    done = threading.Event()

    def look():
        assert run.folder.metrics() == run.folder.samples() == run.folder.events() == []
        assert run.folder.log_tail() == [] and len(list_runs()) == 1
        done.set()

    threading.Thread(target=look, daemon=True).start()
    assert done.wait(20)
    assert run.folder.faults()[0] == "metrics.jsonl cannot be read: it is no plain file"


def test_a_line_without_end_is_never_held_and_counts_as_damaged(folder):
    path = folder.path / "samples.jsonl"
    with path.open("wb") as file:
        file.write(b'{"step": 1, "response": "')
        file.truncate(LONGEST_LINE + 3_000_000)
    append_line(path, {"step": 2})
    assert folder.samples() == [{"step": 2}]


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b'{"a": 1}\n' * 999)[:40],
        gzip.compress(b"{\n"),
        gzip.compress(b"x" * (LONGEST_LINE + 5)),
    ],
    ids=["no gzip", "cut", "half a line", "no end"],  # gzip writes the second into it
)
def test_data_that_cannot_be_read_says_so(folder, content):
    (folder.path / DATA).write_bytes(content)
    with pytest.raises(RunError, match="cannot be read to its end"):
        list(folder.data_rows())


def test_a_process_record_of_no_sense_is_none(folder):
    for values in ({"pid": "../1"}, {"pid": -1}, {"launched": None}, {"machine": 3}, {}):
        sound = {"pid": 1, "started": "1", "machine": "m", "launched": 1.0, "control_length": 0}
        text = json.dumps({**sound, "device": None, **values})
        (folder.path / process.RECORD).write_text(text)
        assert (process.read_record(folder.path) is None) == bool(values)


def test_a_very_long_answer_is_looked_through_from_its_start():
    start = " ".join(f"w{i}" for i in range(MOST_LETTERS))
    assert watched_figures([{"response": start + " again and" * 10**6}]).repetition == 0.0
