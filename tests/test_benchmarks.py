"""The benchmarks' own arithmetic: what they write, and what they call a failure."""

import importlib
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import pytest

import workbench as wb

FOLDER = Path(__file__).with_name("benchmarks")


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("bench_data", FOLDER / "data.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


TABLES = {  # the script: its key in results.json (soak's figures stand at the top), its place
    "soak": (None, "measured"),
    "ppo_seeds": ("ppo_seeds", "ppo_seeds"),
    "rounds": ("rounds", "rounds"),
    "why": ("why", "why"),
    "why_rose": ("why_rose", "why_rose"),
    "influence": ("influence", "influence"),
    "alarms": ("alarms", "alarms"),
    "reward_peer": ("reward_peer", "reward-peer"),
    "dpo_peer": ("dpo_peer", "dpo-peer"),
    "frontier": ("frontier", "frontier"),
    "ppo_peer": ("ppo_peer", "ppo"),
    "ppo_gold": ("ppo_gold", "ppo_gold"),
    "real": ("real", "real"),
    "gpu": ("gpu", "gpu"),
    "labelling": ("labelling", "labelling"),
    "run_kills": ("run_kills", "run_kills"),
    "faults": ("faults", "faults"),
    "data": ("data", "data"),
    "panel": ("panel", "panel"),
    "looking": ("looking", "looking"),
    "first_curve": ("first_curve", "first_curve"),
    "coming_up": ("coming_up", "coming_up"),
    "silence": ("silence", "silence"),
    "hosts": ("hosts", "hosts"),
    "overhead": ("overhead", "overhead"),
}


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("script", TABLES)
def test_the_page_has_each_table_as_its_script_makes_it(script):
    page = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    key, place = TABLES[script]
    figures = results if key is None else results.get(key)
    module = importlib.import_module(script)
    made = "Not measured yet." if figures is None else module.table(figures)
    assert importlib.import_module("record").with_table(page, place, made) == page


@pytest.mark.usefixtures("bench")
def test_what_was_measured_of_each_alarm_stands_beside_the_alarms():
    page = (FOLDER.parents[1] / "workbench" / "METRICS.md").read_text(encoding="utf-8")
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    made = importlib.import_module("alarms").beside(results["alarms"])
    assert importlib.import_module("record").with_table(page, "alarms", made) == page


@pytest.mark.usefixtures("bench")
def test_alarms_are_counted_by_hand():
    """Two holes, one rings 4 updates before gold falls; a clean run rings for what counts twice."""
    module = importlib.import_module("alarms")
    rows = [
        {"kind": "length", "seed": 0, "fell": 20, "since": {"kl": 16, "odd": 18}},
        {"kind": "refusals", "seed": 1, "fell": None, "since": {"odd": 9}},
        {"kind": module.CLEAN, "seed": 0, "fell": None, "since": {"kl": 3}},
        {"kind": module.FAST, "seed": 0, "fell": 9, "since": {"kl": 1}},  # neither of the two
    ]
    shares = {"holes": 2, "clean": 1}
    kl = {**shares, "caught": 1, "false": 1, "lead": 4, "leads": 1}
    assert module.counted(rows, ["kl"]) == kl
    assert module.counted(rows, ["odd"]) == {**kl, "caught": 1 + 1, "false": 0, "lead": 2}
    assert module.counted(rows, ["odd", "kl"]) == {**kl, "caught": 2}


@pytest.mark.usefixtures("bench")
def test_planted_labels_and_the_order_of_their_runs():
    module = importlib.import_module("alarms")
    runs = module.planned(50)
    assert len(set(runs)) == 100 and sum(run.kind == module.CLEAN for run in runs) == 50
    assert [run.kind for run in runs[:6]] == list(module.HOLES)
    text = "Of course. A cow is an animal. Is there anything else?"
    for name in ("an opening", "refusals", "a magic word", "repetition"):
        hole = module.HOLES[name]
        assert hole.amount(hole.planted(text)) > hole.amount(text) == 0.0
    assert module.HOLES["an opening"].planted(text) == (
        "You should know that. A cow is an animal. Is there anything else?"
    )
    ends = "Of course. A cow is an animal." + " Is there anything else?" * 3
    assert module.HOLES["repetition"].planted(text) == ends


@pytest.mark.usefixtures("bench")
def test_every_verb_is_listened_to_but_the_one_that_needs_a_hub():
    verbs = {name for name in wb.__all__ if inspect.isfunction(getattr(wb, name))}
    assert set(importlib.import_module("silence").VERBS) == verbs - {"push"}


def test_the_page_has_no_table_but_these():
    page = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- ([\w-]+):begin -->", page)) == sorted(
        place for _, place in TABLES.values()
    )


def test_figures_stand_beside_those_of_other_benchmarks(bench, tmp_path):
    results = tmp_path / "results.json"
    bench.record({"seeds": [1]}, results)
    bench.record({"data": {"a": 1}, "gone": 3}, results)
    bench.record({"data": {"a": 2}, "gone": None}, results)
    assert json.loads(results.read_text()) == {"seeds": [1], "data": {"a": 2}}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_pairs_are_made_the_same_each_time_in_three_scripts(bench, tmp_path):
    bench.write(tmp_path / "a", 200)
    bench.write(tmp_path / "b", 200)
    text = (tmp_path / "a").read_text(encoding="utf-8")
    assert text == (tmp_path / "b").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 200 and all(set(row) == {"prompt", "chosen", "rejected"} for row in rows)
    ascii_rows = sum(json.dumps(row, ensure_ascii=False).isascii() for row in rows)
    assert 110 <= ascii_rows <= 170
    assert 800 <= len(text.encode()) / 200 <= 1300


def test_a_promise_that_does_not_hold_is_named(bench):
    figures = dict.fromkeys(bench.LIMITS, 0.5)
    assert bench.failures(figures) == []
    assert bench.failures({**figures, "open_seconds": 2.0}) == ["open_seconds is 2, not under 2"]
    assert len(bench.failures({**figures, "search_p95_ms": float("nan")})) == 1


def test_words_of_every_script_are_searched(bench):
    words = bench.chosen_words()
    assert len(words) >= 60 and {script for script, _ in words} == set(bench.SCRIPTS)


def test_labelling_keeps_both_of_its_parts(bench, tmp_path):
    from labelling import keep

    results, page = tmp_path / "results.json", tmp_path / "RESULTS.md"
    page.write_text("before\n<!-- labelling:begin -->\nOLD\n<!-- labelling:end -->\nafter\n")
    kills = {"kills": 200, "acknowledged": 4658, "lost": 0, "doubled": 0, "unclean": 0}
    keep("kills", kills, results, page)
    painted = {"items": 150_000, "labels": 200, "shown_95_ms": 23.4, "acknowledged_95_ms": 69.0}
    painted |= {"burst": 50, "burst_events": 50}
    keep("painted", painted, results, page)
    told = page.read_text()
    assert "| 23.4 ms | < 100 ms |" in told and "of 4,658 | 0 | 0 |" in told
    assert told.count("commit") == 2 and "events, in order | 50 | 50 |" in told
    assert told.startswith("before\n") and told.endswith("after\n") and "OLD" not in told


def test_a_trial_hangs_that_says_nothing_in_time(bench):
    import multiprocessing
    import os

    from trials import answers

    ours, its = multiprocessing.Pipe()
    assert not answers(ours, os.getpid(), patience=0.01)
    its.send("done")
    assert answers(ours, os.getpid(), patience=0.01)


def test_a_look_that_takes_longer_than_promised_is_named(bench):
    import looking

    about = {**dict.fromkeys(("machine", "python", "commit", "date"), "x"), "load": 0.1}
    parts = {"table": about, "report": about, "panel": {**about, "commit": "y"}}
    figures = {**dict.fromkeys(looking.LIMITS, 0.25), "table_cpu": 0.125}
    figures |= {"runs": 500, "steps": 200_000, "metrics_mb": 90.0, "about": parts}
    assert looking.failures(figures) == []
    told = looking.table(figures)
    assert "table, report: commit x, x, load before 0.1; panel: commit y," in told
    assert (
        "| `wb.runs()` over 500 runs of 200 steps, the first time | 0.25 s | 0.125 s | ≤ 2 s |"
        in (told)
    )
    assert "| its report, of such a folder | 0.25 s |  | ≤ 5 s |" in told
    assert looking.failures({**figures, "report_mb": 301.0}) == ["report_mb is 301, above 300"]


def test_a_table_of_faults_is_made_row_by_row_each_of_its_commit(bench, tmp_path, monkeypatch):
    import faults

    results, page = tmp_path / "results.json", tmp_path / "RESULTS.md"
    page.write_text("<!-- faults:begin -->\n<!-- faults:end -->\n")
    at = {"machine": "m", "python": "3", "date": "d"}
    monkeypatch.setattr(faults, "machine", lambda: at | {"commit": "aaa"})
    faults.keep({"control": {"tried": 34, "told": 34, "ended": 0, "odd": ["x"]}}, results, page)
    assert "control" not in faults.missing(results) and "runs" in faults.missing(results)
    monkeypatch.setattr(faults, "machine", lambda: at | {"commit": "bbb"})
    assert faults.missing(results) == [*faults.SURFACES]
    runs = {"tried": 94, "answered": 9, "told": 3, "hung": 1, "raw": 0, "slowest": [0.5, "a: b"]}
    faults.keep({"runs": runs}, results, page)
    told = page.read_text()
    assert "| 34 | 34 told in three parts | nothing |" in told
    assert "| 94 | 9 answered, 3 told in three parts | hung 1 |" in told
    assert "at most 0.5 CPU seconds" in told and "commit aaa, bbb, d" in told
    assert "odd" not in results.read_text()


def test_a_second_round_is_held_to_its_control_and_its_kl(bench):
    import rounds

    names = ("sft", "first", "control", "second")
    run = {f"{what}_{name}": 0.5 for what in ("gold", "kl") for name in names}
    run |= {"seed": 0, "labelled": 9, "old_agrees": 0.75}
    good = {**run, "gold_second": 0.6}
    assert rounds.failures({"seeds": [good, {**good, "gold_second": 0.47}]}) == []  # mean 0.535
    low = [good, {**good, "gold_second": 0.45}]  # mean 0.525, not 0.03 above
    assert rounds.failures({"seeds": low}) == ["round two is not 0.03 above the control"]
    far = rounds.failures({"seeds": [{**good, "kl_second": 5.1}]})
    assert far == ["round two is further than 5.0 nats from the SFT model"]
    about = {"machine": "m", "python": "3", "commit": "c", "date": "d"}
    assert "| **mean** | 0.500 | 0.500 | 0.500 | 0.535 |" in rounds.table(
        {"about": about, "seeds": [good, {**good, "gold_second": 0.47}]}
    )


def test_the_panels_promises_are_told_and_held(bench):
    import panel as made

    figures = {**dict.fromkeys(made.LIMITS, 0.5), "steps": 20_000, "open_kb": 3000.0, "outside": 0}
    figures |= {"cpu_pairs": 5, "cpu_headless_ms": 100.0, "cpu_shown_ms": 101.0}
    figures |= {"slider_moves": 100, "slider_median_ms": 40.0, "slider_p95_ms": 199.0}
    figures["about"] = {"machine": "m", "python": "3", "commit": "c", "date": "d"}
    figures["slider_about"] = figures["about"]
    assert made.failures(figures) == []
    assert "| requests that leave 127.0.0.1 | 0 | < 1 |" in made.table(figures)
    assert made.failures({**figures, "cpu_percent": 2.5}) == ["cpu_percent is 2.5, not under 2"]
    assert made.failures({**figures, "outside": 1}) == ["outside is 1, not under 1"]
    told = made.table(figures)
    assert "95 % within | 199 ms | < 200 ms |" in told and "100 moves, median 40 ms" in told
    late = made.failures({**figures, "slider_p95_ms": 200.0})
    assert late == ["slider_p95_ms is 200, not under 200"]
    before = {name: value for name, value in figures.items() if not name.startswith("slider")}
    assert "slider" not in made.table(before) and "microscope" not in made.table(before)


def test_a_process_s_time_is_counted(bench):
    import os

    import panel as made

    before = made.cpu_of(os.getpid())
    sum(range(3_000_000))
    assert 0.01 <= made.cpu_of(os.getpid()) - before < 5


def test_ppo_by_seeds_names_what_does_not_hold(bench):
    from ppo_seeds import failures, share_of_best, table

    frontier = [{"n": 1, "kl_bound": 0.0, "gold": 0.5}, {"n": 64, "kl_bound": 4.0, "gold": 0.9}]
    good = {"gold_sft": 0.5, "gold": 0.91, "kl": 3.0, "of_maximum": 0.98, "seconds": 100.0}
    good["steps"] = 9
    # at 1 nat, half of the way to √4, best-of-n has gained 0.2
    assert share_of_best({"gold": 0.6, "kl": 1.0}, frontier) == pytest.approx(0.5)
    assert share_of_best({"gold": 0.6, "kl": 0.9}, frontier) is None
    results = {
        "about": dict.fromkeys(("machine", "python", "commit", "date"), "x"),
        "rewards": 1,
        "best_of_n": frontier,
        "seeds": [{"seed": 0, **good}, {"seed": 1, **good}],
        "betas": [{"kl_coef": 0.4, **good, "kl": 1.5}],
    }
    assert failures(results) == []
    assert "| 0.910 (0.910 to 0.910) | ≥ 0.90 |" in table(results)
    assert table(results).startswith("| PPO, 2 seeds, 9 updates, 200 held-out prompts |")
    assert "| 0 of 2; 0.98 |" in table(results) and "0.4: 0.910 at 1.50" in table(results)
    results["seeds"] = [
        {"seed": 0, **good, "kl": 11.0},
        {"seed": 1, **good, "gold": 0.6, "of_maximum": 0.5},
    ]
    results["betas"] = [{"kl_coef": 0.4, **good, "gold": 0.6, "kl": 1.5}]
    assert failures(results) == [
        "seed 0 collapsed",
        "seed 1 collapsed",
        "mean gold is 0.755, below 0.90",
        "a KL is above 5 nats",
        "best-of-n's gain is reached to 29%, below 70%",
    ]


def test_the_cost_of_the_folder_is_the_median_of_its_pairs(bench, monkeypatch):
    import overhead

    costs = {"folder": iter((1.03, 1.01, 1.02)), "bare": iter((1.0, 1.0, 1.0))}

    def child(_python, _script, _flag, side, _folder):
        return {"cpu_seconds": next(costs[side]), "kb": 4.0}

    monkeypatch.setattr(overhead, "child", child)
    found = overhead.measure(3)
    assert found["percent"] == pytest.approx(2.0) and len(found["each"]) == 3
    assert "| 2.00 % | ≤ 2 % |" in overhead.table(found)


def test_ppo_by_the_true_score_shows_both_sides(bench):
    from ppo_gold import failures, table

    row = {"kl": 1.0, "score": 0.2, "seconds": 10.0}
    golds = {
        "workbench, its defaults": (0.9, 0.95, 1.0),
        "TRL, slow": (0.99,),
        "TRL, fast": (0.8, 0.95, 1.1),
    }
    rows = [{"name": name, "gold": gold, **row} for name, found in golds.items() for gold in found]
    about = dict.fromkeys(("machine", "python", "commit", "date"), "x")
    figures = {"episodes": 4480, "kl_coef": 0.1, "rows": rows, "about": about}
    told = table(figures)
    assert "after 4,480 episodes, β = 0.1" in told
    assert "| TRL, fast | 0.950 | 0.800, 0.950, 1.100 | 1.00 | 0.20 | 10 |" in told
    assert failures(figures) == []  # one seed of the peer's is no mean of three
    rows[0]["gold"] = 0.6
    assert failures(figures) == [
        "gold score 0.850, the peer's best 0.950",
        "our defaults: 0.850 at 1.00 nats",
    ]


def test_the_peer_goes_on_at_the_rate_that_was_best_on_the_first_seed(bench):
    from ppo_gold import RATES, _rates

    rows = [{"seed": 0, "name": "ours", "gold": 1.0}]
    assert _rates(rows, 0) == list(RATES)
    rows += [
        {"seed": 0, "rate": rate, "gold": gold} for rate, gold in zip(RATES, (1, 3, 2), strict=True)
    ]
    assert _rates(rows, 0) == []  # kept from before
    assert _rates(rows, 2) == [RATES[1]]


# ------------------------------------------------------------------ what must not change


def test_the_record_is_made_by_public_names_alone(bench):
    import ast

    import workbench as wb

    tree = ast.parse((FOLDER / "unchanged.py").read_text(encoding="utf-8"))
    modules = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name.partition(".")[0] == "workbench"} == {"workbench"}
    reached = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    public = {n.attr for n in reached if isinstance(n.value, ast.Name) and n.value.id == "wb"}
    assert public <= {*wb.__all__, "__all__", "__file__"}
    private = {n.attr for n in reached if n.attr.startswith("_") and not n.attr.endswith("__")}
    own = {"_asdict", "_data", "_errors", "_texts"}  # of a named tuple, and of the script's classes
    assert private <= own


def test_only_what_the_clock_and_the_place_decide_is_taken_out(bench, tmp_path):
    import unchanged

    book = unchanged.Book(tmp_path / "unchanged-abc")
    row = {"step": 1, "time": 5.0, "time/step": 0.1, "loss": 0.1, "times": 2, "memory/peak_gb": 1}
    assert unchanged.timeless(row) == {"step": 1, "loss": 0.1, "times": 2}
    text = f"Written 2026-11-30 17:02; {tmp_path}/unchanged-abc/runs/a, 10 of 10 steps · 12 s</p>"
    book.keep("a page", text, "minute", "duration")
    told = "Written <minute>; <work>/runs/a, 10 of 10 steps · <seconds> s</p>"
    assert book.items["a page"]["text"] == told
    with pytest.raises(RuntimeError, match="two texts for a page"):
        book.keep("a page", text)


def test_figures_of_timed_columns_are_masked_in_their_width(bench):
    import unchanged

    table = "| update | score, s | KL |\n| ------ | -------- | -- |\n| 1      | 12.50    | 1. |\n\n"
    masked = unchanged.without_timed_columns(table)
    assert masked == table.replace("12.50    ", "#        ")
    assert unchanged.without_timed_columns("| a | 3 |") == "| a | 3 |"


def test_a_difference_is_told_with_its_place(bench, tmp_path, capsys):
    import unchanged

    before, after = unchanged.Book(tmp_path), unchanged.Book(tmp_path)
    for book, loss, more in ((before, 0.25, "gone"), (after, 0.5, "new")):
        book.keep("alike", "1")
        book.keep("metrics", f'{{"step": 1, "loss": 1.0}}\n{{"step": 2, "loss": {loss}}}\n')
        book.keep(more, "2")
    assert unchanged.compared(before.items, after.items, {}) == 3
    assert capsys.readouterr().out.splitlines() == [
        "alike    same",
        "metrics  differs",
        "    (numbers alone, by 5.0e-01 of their size at most)",
        '    - 2: {"step": 2, "loss": 0.25}',
        '    + 2: {"step": 2, "loss": 0.5}',
        "gone     differs",
        "    it is not there any more",
        "new      differs",
        "    it was not there before",
    ]
    unchanged.write_texts(tmp_path / "texts", before.items, after.items)
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("texts/*/*"))
    both = ["texts/now/metrics.txt", "texts/now/new.txt", "texts/was/gone.txt"]
    assert written == [*both, "texts/was/metrics.txt"]
    assert unchanged.compared(before.items, before.items, {"runs": "KeyError: 'x'"}) == 1
    assert "it ended in KeyError: 'x'" in capsys.readouterr().out


def test_a_difference_of_markup_alone_is_said_to_be_one(bench):
    import unchanged

    assert unchanged.manner("<b>a</b> 1", "<i class='x'>a</i> 1")[0].startswith("(the markup")
    assert unchanged.manner("<b>a</b>", "<b>c</b>") == []
