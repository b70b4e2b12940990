import json
import math

import made_runs
import pytest

from workbench.errors import RunError
from workbench.events import Notice, Phase, Progress
from workbench.runs import FolderWriter, RunFolder, ask, runs_root
from workbench.widgets.run_panel.run_feed import RunFeed


@pytest.fixture
def folder(tmp_path):
    return made_runs.create(tmp_path / "mine", "ppo", kl_coef=0.05, steps=10)


@pytest.fixture
def writer(folder):
    with FolderWriter(folder) as writer:
        yield writer
        writer.set_state("stopped")


def feed_of(folder):
    feed = RunFeed(folder)
    feed.refresh()
    return feed


def test_rows_are_numbered_and_only_new_ones_are_told(folder, writer):
    feed = feed_of(folder)
    assert feed.count == 0
    writer(Progress(1, 10, {"a": 1.0}))
    writer(Progress(2, 10, {"a": 2.0, "b": 5.0}))
    feed.refresh()
    assert feed.count == 2
    assert feed.rows_from(1) == {"from": 1, "steps": [2], "columns": {"a": [2.0], "b": [5.0]}}
    assert feed.rows_from(0)["columns"]["b"] == [None, 5.0]
    assert feed.rows_from(2)["steps"] == []


def test_what_is_no_number_leaves_a_gap(folder, writer):
    for step, value in enumerate([1.5, None, float("nan"), "text", 2.0], start=1):
        writer(Progress(step, 10, {"a": value, "never": None}))
    feed = feed_of(folder)
    assert feed.curves() == {"a": {"x": [1, 5], "y": [1.5, 2.0]}}
    assert feed.metrics == ["step", "time", "a"]
    assert math.isnan(feed.column("a")[1])


def test_a_metric_that_begins_or_ends_in_the_midst_of_a_long_run_keeps_its_rows(folder):
    rows = [{"step": i, "early" if i <= 700 else "late": i} for i in range(1, 1001)]
    rows[250]["once"] = 7.0
    lines = [json.dumps(row) for row in rows]
    (folder.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    feed = feed_of(folder)
    assert feed.count == 1000
    curves = feed.curves()
    assert curves["early"]["x"] == list(range(1, 701))
    assert curves["late"] == {"x": list(range(701, 1001)), "y": list(range(701, 1001))}
    assert curves["once"] == {"x": [251], "y": [7.0]}


def test_an_interrupted_reading_begins_again_and_misses_nothing(folder, writer, monkeypatch):
    made_runs.write_steps(writer, "ppo", 1, 3, 10)
    feed = feed_of(folder)
    made_runs.write_steps(writer, "ppo", 4, 6, 10)

    def interrupted(lines):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feed._watched, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            feed.refresh()
    feed.refresh()
    assert feed.column("step") == [1, 2, 3, 4, 5, 6] and feed.sample_steps() == [1, 5]
    assert feed.epoch == 1  # a page asks for all


def test_a_half_written_row_waits_for_its_end(folder):
    path = folder.path / "metrics.jsonl"
    path.write_text('{"step": 1, "time": 1.0, "a": 1.0}\n{"step": 2, "ti')
    feed = feed_of(folder)
    assert feed.count == 1
    path.write_text(path.read_text() + 'me": 2.0, "a": 4.0}\n')
    feed.refresh()
    assert feed.column("a") == [1.0, 4.0]


def test_a_resumed_run_that_was_cut_starts_a_new_epoch(folder, writer):
    made_runs.write_steps(writer, "ppo", 1, 4, 10)
    lengths = writer.lengths()
    made_runs.write_steps(writer, "ppo", 5, 7, 10)
    feed = feed_of(folder)
    assert (feed.count, feed.epoch, feed.sample_steps()) == (7, 0, [1, 5])
    writer.truncate_to(lengths, step=4)
    made_runs.write_steps(writer, "ppo", 5, 5, 10)
    feed.refresh()
    assert (feed.count, feed.epoch) == (5, 1)
    assert feed.column("step") == [1, 2, 3, 4, 5] and feed.sample_steps() == [1, 5]


def test_long_curves_are_thinned(folder):
    lines = [json.dumps({"step": i, "time": i, "a": i % 7}) for i in range(1, 5001)]
    (folder.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    curve = feed_of(folder).curves(limit=500)["a"]
    assert 400 <= len(curve["x"]) <= 500
    assert curve["x"][0] == 1 and curve["x"][-1] == 5000


def test_the_first_update_is_seen_from_inside(folder, writer):
    writer.estimate(200.0, "its shape")
    status = feed_of(folder).status()
    assert (status["state"], status["left"], status["now"]) == ("starting", None, "")
    assert status["estimate"] == "about 3 min 20 s an update, by its shape"
    writer.phase(Phase(1, 10, "generating", 24, 64, "tokens"))
    status = feed_of(folder).status()
    assert (status["state"], status["step"], status["total"]) == ("running", 0, 10)
    assert status["now"] == "update 1: generating 24 of 64 tokens"
    assert status["left"] == 2000.0  # until there are steps to go by
    assert feed_of(folder).count == 0


def test_how_long_a_person_takes_is_not_guessed(folder, writer):
    writer.estimate(200.0, "its shape")
    writer.phase(Phase(1, 10, "waiting for labels", 1, 8, "pairs"))
    status = feed_of(folder).status()
    assert (status["left"], status["estimate"]) == (None, "")
    assert status["now"] == "update 1: waiting for labels 1 of 8 pairs"


def test_time_left_is_the_median_step_times_the_steps_to_go(folder, writer):
    writer.set_state("running", step=4, total=10)
    times = [100.0, 102.0, 104.0, 604.0]  # a pause of 500 s before the last
    lines = [json.dumps({"step": i, "time": t}) for i, t in enumerate(times, start=1)]
    (folder.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert feed_of(folder).status()["left"] == pytest.approx(2.0 * 6)


def test_time_taken_leaves_out_the_time_it_lay_dead(folder):
    times = [100.0, 102.0, 104.0, 9104.0]
    lines = [json.dumps({"step": i, "time": t}) for i, t in enumerate(times, start=1)]
    (folder.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    writer = FolderWriter(folder)
    writer.failed("for the test")
    writer.close()
    status = feed_of(folder).status()
    assert status["left"] is None
    assert status["seconds"] == pytest.approx(2 + 2 + 20 * 2 + 2)  # the gap counts as 20 steps


def test_where_the_time_and_the_memory_go_is_told(folder, writer):
    assert feed_of(folder).status()["phases"] == {} and feed_of(folder).status()["memory"] is None
    for step, seconds in enumerate([9.0, *[2.0] * 10], start=1):  # the first is ten steps ago
        figures = {"time/generate": seconds, "time/step": 2 * seconds, "memory/peak_gb": step / 2}
        writer(Progress(step, 20, figures))
    status = feed_of(folder).status()
    assert status["phases"] == {"generate": 2.0, "step": 4.0} and status["memory"] == 5.5
    assert status["memory_of"] == "run"  # until the process has told its device
    folder.add_to_config(resolved={"device": "cpu"})
    assert feed_of(folder).status()["memory_of"] == "process"  # which wb.plan does not count


def test_what_is_done_now_and_then_stands_beside_a_steps_seconds(folder, writer):
    """Steps of 2 s, and every fourth one is watched for 8 s more: 5 more take 5 (2 + 8 / 4) s."""
    writer.set_state("running", step=9, total=14)
    clock, lines = 100.0, []
    for step in range(1, 10):
        looked = {"time/watch": 8.0} if step % 4 == 1 else {}
        took = 10.0 if looked else 2.0
        clock += took
        figures = {"time/optimise": 2.0, **looked, "time/step": took}
        lines.append(json.dumps({"step": step, "time": clock, **figures}))
    (folder.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    status = feed_of(folder).status()
    assert status["phases"] == {"optimise": 2.0, "step": 2.0}
    assert status["seldom"] == {"watch": (8.0, 4)}
    assert status["left"] == pytest.approx(5 * (2 + 8 / 4))


def test_a_failed_run_tells_why_and_where_it_would_go_on(tmp_path):
    status = feed_of(made_runs.failed_run(tmp_path / "broken")).status()
    assert status["state"] == "failed" and status["step"] == 23 and status["checkpoint"] == 20
    assert status["error"].startswith("OutOfMemoryError")
    assert status["log"][-1].startswith("torch.OutOfMemoryError")
    assert status["live"] is False


def test_a_run_that_says_nothing_for_long_is_noticed(folder, writer, monkeypatch):
    feed = feed_of(folder)
    assert feed.status()["silent"] == 0
    now = folder.written_status()["heartbeat"]
    monkeypatch.setattr("workbench.widgets.run_panel.run_feed.time.time", lambda: now + 47)
    assert feed.status()["silent"] == 40


def test_samples_stand_beside_the_same_prompts_answers_before(folder, writer):
    rows = ({"prompt": "p", "response": "one", "score": 1.0, "kl": 0.0},)
    writer(Progress(1, 10, {}, rows))
    writer(Progress(2, 10, {}))
    twice = ({"prompt": "new", "response": "x"}, {**rows[0], "response": "two"})
    writer(Progress(6, 10, {}, twice))
    feed = feed_of(folder)
    first, newest = feed.samples(0), feed.samples()
    assert (first["step"], first["before"], first["count"]) == (1, None, 2)
    assert first["rows"][0]["last"] is None
    assert (newest["index"], newest["step"], newest["before"]) == (1, 6, 1)
    assert newest["rows"][0]["last"] is None and newest["rows"][0]["score"] is None
    assert newest["rows"][1]["last"]["response"] == "one"
    assert feed.samples(99)["step"] == 6


def test_a_prompt_that_is_watched_twice_is_matched_in_order(folder, writer):
    for step in (1, 2):
        rows = tuple({"prompt": "p", "response": f"{step}{i}"} for i in "ab")
        writer(Progress(step, 10, {}, rows))
    newest = feed_of(folder).samples()
    assert [row["last"]["response"] for row in newest["rows"]] == ["1a", "1b"]


def test_samples_may_be_messages_and_strange_text(folder, writer):
    messages = [{"role": "user", "content": "hi"}, {"role": "user", "content": "there"}]
    writer(Progress(1, 10, {}, ({"prompt": messages, "response": "a\ufdd0b"},)))
    row = feed_of(folder).samples()["rows"][0]
    assert row["prompt"] == "hi\nthere" and row["response"] == "a\ufdd0FDD0\ufdd1b"


def test_a_run_without_samples_has_an_empty_table(folder):
    assert feed_of(folder).samples() == {
        "index": -1,
        "count": 0,
        "step": None,
        "before": None,
        "start": None,
        "rows": [],
    }


def test_commands_are_asked_then_done_and_settings_follow(folder, writer):
    feed = feed_of(folder)
    number = ask(folder, "set", kl_coef=0.2)
    feed.refresh()
    asked = feed.commands()[0]
    assert (asked["id"], asked["answer"]) == (number, None)
    now = {row["name"]: row["value"] for row in feed.settings()}
    assert now["kl_coef"] == 0.05 and "batch_size" not in now
    writer.record(id=number, kind="done", command="set", step=7, values={"kl_coef": 0.2})
    writer(Notice(7, "changed", "kl_coef is now 0.2", {"kl_coef": 0.2}))
    feed.refresh()
    done = feed.commands()[0]
    assert (done["answer"], done["step"]) == ("done", 7)
    assert feed.changes() == [{"step": 7, "name": "kl_coef", "value": 0.2}]  # once, not twice
    kl_coef = next(row for row in feed.settings() if row["name"] == "kl_coef")
    assert (kl_coef["start"], kl_coef["value"], kl_coef["unit"]) == (0.05, 0.2, "reward/nat")


def test_a_rate_that_says_auto_waits_for_what_the_process_makes_of_it(folder, writer):
    feed = feed_of(folder)
    given = feed.config["settings"]
    given["learning_rate"], given["watch_prompts"] = "auto", 8

    def rates():
        rows = [row for row in feed.settings() if row["name"] == "learning_rate"]
        return [(row["start"], row["value"], row["range"]) for row in rows]

    assert rates() == [(None, None, None)]  # there, with nothing that a slider could hold
    folder.add_to_config(resolved={"learning_rate": 5e-4})
    feed.config = {**folder.config(), "settings": given}
    assert rates() == [(5e-4, 5e-4, [5e-5, 5e-3])]
    assert "watch_prompts" not in {row["name"] for row in feed.settings()}


def test_sliders_are_there_from_the_first_moment_with_their_ranges(folder):
    ranges = {row["name"]: row["range"] for row in feed_of(folder).settings()}
    assert ranges["kl_coef"] == [0.005, 0.5]  # a tenth to ten times 0.05
    assert ranges["clip_range"] == [0.02, 2.0]
    assert ranges["temperature"] == [0.1, 5.0]  # its highest is 5


def test_a_run_without_figures_shows_the_charts_to_come(folder):
    assert [chart["title"] for chart in feed_of(folder).charts()] == [
        "Scores",
        "KL to the reference",
    ]


def test_the_answers_at_a_step_are_the_newest_that_are_not_behind_it(folder, writer):
    made_runs.write_steps(writer, "ppo", 1, 10, 10)
    feed = feed_of(folder)  # answers at 1, 5 and 10
    assert [feed.watched_before(step) for step in (0, 1, 4, 5, 9, 10, 99)] == [0, 0, 0, 1, 1, 2, 2]


def test_a_reward_run_shows_its_held_out_pairs(tmp_path):
    feed = feed_of(made_runs.finished_run(tmp_path / "judge", "reward"))
    table = feed.samples()
    assert (table["step"], table["start"], len(table["rows"])) == (60, 5, 8)
    pair = table["rows"][0]["pair"]
    assert pair["rejected"] == "it is a tower. tower. tower." and pair["scores"][0] > 0.9
    assert table["rows"][0]["first"] is not None
    spread = table["spread"]
    assert (spread["pairs"], len(spread["chosen"]), spread["low"]) == (200, 12, -3.0)
    middle = [sum(i * n for i, n in enumerate(spread[s])) for s in ("chosen", "rejected")]
    assert middle[0] > middle[1] and spread["first"]["chosen"] != spread["chosen"]


def test_a_refused_command_says_why(folder, writer):
    number = ask(folder, "save")
    writer.record(id=number, kind="refused", command="save", message="no room")
    feed = feed_of(folder)
    assert (feed.commands()[0]["answer"], feed.commands()[0]["why"]) == ("refused", "no room")
    assert feed.events()[0]["text"] == "save was refused: no room"


def test_events_are_what_is_worth_reading(tmp_path):
    events = feed_of(made_runs.finished_run(tmp_path / "done")).events()
    assert [(e["step"], e["kind"]) for e in events] == [
        (0, "warning"),
        (30, "saved"),
        (60, "finished"),
    ]
    assert events[1]["text"] == "checkpoint written: step-30"
    assert events[2]["text"] == "finished; final/ is written"


def test_the_address_is_what_open_run_finds_it_by(tmp_path):
    inside = made_runs.create(runs_root() / "group" / tmp_path.name)
    assert RunFeed(inside).header()["address"] == f"group/{tmp_path.name}"
    outside = made_runs.create(tmp_path / "out")
    assert RunFeed(outside).header()["address"] == str(tmp_path / "out")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        RunFeed(RunFolder(tmp_path))
