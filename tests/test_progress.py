"""How far a long import is, and how far a run."""

import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench import progress
from workbench.data.reading import formats
from workbench.data.reading.formats import load_pairs
from workbench.progress import (
    Bar,
    LineLog,
    OneLine,
    RunClock,
    RunProgress,
    Silent,
    Work,
    duration,
    estimate_words,
    figures,
    own_line,
    phase_words,
    reading,
    run_progress,
    working,
)

ROWS = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(25)]


def words_of(source: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float | None]]:
    monkeypatch.setattr(formats, "TELL_EVERY", 10)
    words: list[tuple[int, float | None]] = []
    pairs = load_pairs(source, on_progress=lambda rows, share: words.append((rows, share)))
    assert len(pairs) == 25
    return words


def test_progress_is_told_in_rows_and_where_known_in_shares(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_rows = [(10, 0.4), (20, 0.8), (25, 1.0)]
    assert words_of(ROWS, monkeypatch) == by_rows
    assert words_of(pd.DataFrame(ROWS), monkeypatch) == by_rows
    pd.DataFrame(ROWS).to_parquet(tmp_path / "x.parquet")
    assert words_of(tmp_path / "x.parquet", monkeypatch) == by_rows
    assert words_of(iter(ROWS), monkeypatch) == [(10, None), (20, None), (25, 1.0)]
    (tmp_path / "x.json").write_text(json.dumps(ROWS))
    assert words_of(tmp_path / "x.json", monkeypatch) == [(10, None), (20, None), (25, 1.0)]


def test_the_share_of_a_file_is_that_of_its_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Each line is larger than what Python reads ahead, so that the place is nearly exact; the
    # first 100 are read at once, to find the format.
    line = json.dumps({"prompt": "p", "chosen": "x" * 100_000, "rejected": "y"}) + "\n"
    path = tmp_path / "x.jsonl"
    path.write_text(line * 200)
    words: list[tuple[int, float | None]] = []
    monkeypatch.setattr(formats, "TELL_EVERY", 50)
    load_pairs(path, on_progress=lambda rows, share: words.append((rows, share)))
    assert [rows for rows, _ in words] == [50, 100, 150, 200, 200]
    assert [share for _, share in words] == pytest.approx([0.5, 0.5, 0.75, 1.0, 1.0], abs=0.01)
    path.write_text(line * 60)  # all of which is read before the first is taken
    words.clear()
    load_pairs(path, on_progress=lambda rows, share: words.append((rows, share)))
    assert words == [(50, 1.0), (60, 1.0)]


class Kernel(io.StringIO):
    """Stands for a notebook's output."""


Kernel.__module__ = "ipykernel.iostream"


class Terminal(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long enough to be shown takes no time here."""
    monkeypatch.setattr(progress, "QUIET", 0.01)
    monkeypatch.setattr(progress, "EVERY", 0.01)


def shown(stream: io.StringIO, text: str) -> str:
    """Wait until a text is on a stream; what is there then."""
    deadline = time.monotonic() + 30
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.005)
    return stream.getvalue()


def test_what_is_short_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Kernel()
    monkeypatch.setattr(sys, "stdout", notebook)
    with reading("x") as read:
        read(1_000, 0.5)
    assert notebook.getvalue() == ""


def test_a_work_says_what_it_does_how_far_it_is_and_how_long(clock: list[float]) -> None:
    work = Work("tiny-chat")
    work.tell(0, None, "loading")
    clock[0] += 3
    assert work.words == "loading, 3 s"
    work.tell(0, 64, "answers")
    clock[0] += 4
    assert work.words == "answers, 0 of 64, 7 s"  # no time left that could be told
    work.tell(16, 64, "answers")
    assert work.words == "answers, 16 of 64, about 12 s left"  # 4 s for a quarter
    clock[0] += 2
    work.tell(24, 64, "answers")
    assert work.words == "answers, 24 of 64, about 10 s left"  # 6 s for 24: 10 s for 40
    work.tell(2_000, None, "", "rows")
    assert work.words == "2,000 rows, 9 s"
    work.tell(4_000, 16_000.4, "", "rows")
    assert work.words.startswith("4,000 of 16,000 rows, ")


def test_a_notebook_has_one_line_that_goes_in_the_end(
    monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    notebook = Kernel()
    monkeypatch.setattr(sys, "stdout", notebook)
    with working("compare"):
        shown(notebook, "\rcompare: 0 s")  # though nothing is told
        with working("tiny-chat") as job:
            job.tell(3, 4, "answers")
            shown(notebook, "\rcompare · tiny-chat: answers, 3 of 4, 0 s")
        shown(notebook, "\rcompare: 0 s          ")  # what was longer is gone
    assert notebook.getvalue().endswith(" \r")
    assert "\n" not in notebook.getvalue()
    assert Work.open == []


def test_a_terminal_has_a_bar_and_a_log_lines(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    screen, log = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    with reading("x.jsonl") as read:
        read(1_234, 0.5)
        shown(screen, "1,234 of 2,468 rows")
    assert "reading x.jsonl" in screen.getvalue()
    monkeypatch.setattr(sys, "stderr", log)
    with working("score") as work:
        for done in (0, 1, 11, 12):
            work.tell(done, 100, "scores")
            if done in (0, 11):
                shown(log, f"{done} of 100")
    lines = [line.split(", ")[1] for line in log.getvalue().splitlines()]
    assert lines == ["0 of 100", "11 of 100"]  # a line for each tenth


def test_what_has_a_line_of_its_own_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    notebook = Kernel()
    monkeypatch.setattr(sys, "stdout", notebook)
    with working("learning_curve"):
        shown(notebook, "learning_curve")
        with own_line():
            before = notebook.getvalue()
            assert before.endswith(" \r")  # the line is away at once
            time.sleep(0.1)
            assert notebook.getvalue() == before
        progress.tell("told")
        shown(notebook, "told\n\rlearning_curve")


def test_in_the_background_nothing_is_shown(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    notebook = Kernel()
    monkeypatch.setattr(sys, "stdout", notebook)

    def background() -> None:
        with working("labels"):
            time.sleep(0.1)

    thread = threading.Thread(target=background)
    thread.start()
    thread.join()
    assert notebook.getvalue() == ""


def test_an_interrupt_takes_the_line_away(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    notebook = Kernel()
    monkeypatch.setattr(sys, "stdout", notebook)

    @working("score")
    def interrupted() -> None:
        shown(notebook, "score")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert notebook.getvalue().endswith(" \r") and Work.open == []


# ------------------------------------------------------------------ a run


def _status(step: int, state: str = "running", total: int | None = 100) -> dict[str, Any]:
    return {"state": state, "step": step, "total_steps": total}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_figures_that_tell_most() -> None:
    row = {"step": 1, "loss": 0.51234, "objective/scores": 2.0, "objective/kl": None, "x": 1.0}
    assert figures(row) == "loss 0.512  reward 2"


def test_the_time_left_is_guessed_from_steps_seen_without_pauses(clock: list[float]) -> None:
    guess = RunClock()
    assert guess.left(_status(0, "starting", None)) == ""
    assert guess.left(_status(10)) == ""
    clock[0] += 20
    assert guess.left(_status(20)) == "2:40 left"  # 80 steps of 2 s
    guess.left(_status(20, "paused"))
    clock[0] += 5000
    assert guess.left(_status(20)) == "2:40 left"
    clock[0] += 20
    assert guess.left(_status(30)) == "2:20 left"
    assert guess.left(_status(30, total=5030)) == "2:46:40 left"


def test_a_log_gets_a_line_for_each_state_tenth_or_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunProgress("r", LineLog())
    for status in (_status(0, "starting"), _status(0, "starting"), _status(1), _status(5)):
        log.update(status, {})
    log.update(_status(11), {"loss": 0.5})
    clock[0] += 11
    log.update(_status(11), {})
    log.update(_status(12), {})
    log.update(_status(12, "finished"), {})
    log.close()
    lines = [line.split("  ")[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["r: starting", "step 0 of 100"],
        ["r: running", "step 1 of 100"],
        ["r: running", "step 11 of 100"],
        ["r: running", "step 12 of 100"],
        ["r: finished", "step 12 of 100"],
    ]


def test_a_notebook_line_rewrites_itself_twice_a_second(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    line = RunProgress("r", OneLine(False))
    line.update(_status(1), {"loss": 0.123})
    line.update(_status(2), {})
    clock[0] += 1
    line.update(_status(3), {})
    clock[0] += 1
    line.update(_status(3), {})
    line.update(_status(100, "finished"), {})
    line.close()
    shown = [text.split("  left")[0].rstrip() for text in capsys.readouterr().out.split("\r")[1:]]
    assert [text.split("  ")[1] for text in shown] == [
        "step 1 of 100",
        "step 3 of 100",
        "step 100 of 100",
    ]


def test_the_display_suits_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run_progress("r", False).display, Silent)
    assert type(run_progress("r").display) is LineLog
    monkeypatch.setattr(sys, "stdout", Kernel())
    assert isinstance(run_progress("r").display, OneLine)


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    bar = run_progress("r")
    assert isinstance(bar.display, Bar)
    bar.update(_status(0, "starting", None), {})
    bar.update(_status(50), {"loss": 0.5})
    bar.close()
    assert "50/100" in screen.getvalue()
    assert "loss 0.5" in screen.getvalue()


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    silent = run_progress("r", False)
    silent.update(_status(1), {})
    silent.close()
    assert capsys.readouterr() == ("", "")


WITHIN = {"step_word": "update", "phase": "generating", "phase_done": 1024, "phase_total": 4096}
WITHIN |= {"phase_unit": "tokens", "update_seconds": 200.0, "update_seconds_from": "its shape"}


def test_where_a_run_is_inside_its_step_is_said_in_plain_words() -> None:
    first = {**_status(0), **WITHIN}
    assert phase_words(first) == "update 1: generating 1,024 of 4,096 tokens"
    assert estimate_words(first) == "about 3 min 20 s an update, by its shape"
    assert phase_words({**_status(3), **WITHIN, "phase_total": 0}) == "update 4: generating"
    after = {**_status(9), **WITHIN, "total_steps": 9}
    assert phase_words(after) == "all 9 updates: generating 1,024 of 4,096 tokens"
    assert phase_words({**_status(3), **WITHIN, "update_seconds": 0.2}) == ""  # over at once
    assert phase_words(_status(3)) == estimate_words(_status(0)) == ""
    assert phase_words({**_status(0, "paused"), **WITHIN}) == ""
    assert estimate_words({**_status(3), **WITHIN}) == ""  # it is known by then


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (41.6, "42 s"), (300, "5 min"), (59.9, "1 min"), (7260, "2 h 1 min")],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_log_hears_of_a_long_first_update(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunProgress("r", LineLog())
    log.update(_status(0, "starting"), {})
    planned = {**_status(0, "starting"), **WITHIN, "phase": None}
    log.update(planned, {})
    log.update(planned, {})
    for seconds in (0.0, 1.0, 30.0):
        clock[0] += seconds
        log.update({**_status(0), **WITHIN}, {})
    lines = [line.split("  ")[:3] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["r: starting", "step 0 of 100"],
        ["r: starting", "step 0 of 100", "about 3 min 20 s an update, by its shape"],
        ["r: running", "step 0 of 100", "update 1: generating 1,024 of 4,096 tokens"],
        ["r: running", "step 0 of 100", "update 1: generating 1,024 of 4,096 tokens"],
    ]
