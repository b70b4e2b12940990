import json
import re
from html import escape

import made_runs
import pytest

from workbench.data.pairs import Pair
from workbench.errors import RunError
from workbench.events import Finished, Progress
from workbench.reports.run_facts import answers_between, labelled
from workbench.reports.run_page import MOST_SAMPLES, write_report
from workbench.runs import FolderWriter, Run, keep_evaluation
from workbench.runs.verdict import Verdict
from workbench.widgets.kit.plotly_source import plotly_js
from workbench.widgets.run_panel.run_feed import RunFeed


def sample(prompt="why?", before="no", after="yes <script>alert(1)</script>"):
    answers = [
        {"model": "sft", "text": before, "score": 0.1, "gold": 0.25, "kl": 0.0},
        {"model": "ppo", "text": after, "score": 1.5, "gold": 0.75, "kl": 2.5},
    ]
    return {"prompt": prompt, "answers": answers}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("report")
    runs = [
        made_runs.finished_run(tmp / "reward", "reward"),
        Run(made_runs.finished_run(tmp / "ppo")),
        str(made_runs.failed_run(tmp / "broken").path),
    ]
    summary = {"gold_sft": 0.5, "gold_ppo": 0.91234, "seed": 0, "odd_one": "<b>"}
    path = write_report(
        tmp / "new" / "report.html", title="A & B", runs=runs, summary=summary, samples=[sample()]
    )
    return path.read_text(encoding="utf-8")


def without_plotly(text):
    return text.replace(plotly_js(), "")


def test_plotly_is_inside_once_and_nothing_is_fetched(report):
    assert report.count("* plotly.js v") == 1
    rest = without_plotly(report)
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", rest)
    assert not re.search(r"url\(|@import", rest)
    assert not set(re.findall(r"https?://[^'\"\s]+", rest)) - {"http://www.w3.org/2000/svg"}


def test_curves_of_every_run_are_in_it(report):
    data = re.search(r"id='wb-data'>(.*?)</script>", report, re.DOTALL)
    runs = json.loads(data[1])
    assert [run["kind"] for run in runs] == ["reward", "ppo", "ppo"]
    assert runs[0]["curves"]["heldout/accuracy"]["x"][0] == 5
    assert runs[1]["changes"] == [{"step": 31, "name": "kl_coef", "value": 0.1}]
    assert without_plotly(report).count("<svg") == 4 + 4 + 4  # the still pictures


def test_figures_settings_and_reasons_are_in_it(report):
    assert "Gold score after (PPO)</th><td class='wb-num'>0.9123</td>" in report
    assert "<th scope='row'>odd one</th><td class='wb-num'>&lt;b&gt;</td>" in report
    assert "<code>learning_rate</code></th><td>0.001</td>" in report
    assert "lower micro_batch_tokens" in report


def test_samples_stand_side_by_side_with_their_scores(report):
    assert "gold 0.25, reward score 0.10, KL 0.00" in report
    assert "gold 0.75, reward score 1.50, KL 2.50" in report
    assert "yes &lt;script&gt;alert(1)&lt;/script&gt;" in report
    assert "<script>alert" not in report and "A &amp; B" in report


def test_many_samples_are_thinned_evenly_and_it_says_so(tmp_path):
    rows = [sample(prompt=f"prompt {i} end") for i in range(3 * MOST_SAMPLES)]
    text = write_report(tmp_path / "r.html", title="t", samples=rows).read_text()
    assert text.count("<tr>") == 1 + MOST_SAMPLES
    assert f"{MOST_SAMPLES} of {3 * MOST_SAMPLES} prompts" in text
    assert "prompt 0 end" in text and "prompt 177 end" in text


def test_data_evaluation_and_machine_of_a_run_are_in_it(tmp_path):
    folder = made_runs.finished_run(tmp_path / "reward", "reward")
    keep_evaluation(folder, "abc", {"accuracy": 0.875, "pairs": 1200, "note": "<b>"})
    folder.add_to_config(hardware={"cpu_cores": 2, "python": "3.11", "versions": {"torch": "2.6"}})
    text = write_report(tmp_path / "r.html", title="t", runs=[folder]).read_text()
    rows, digest = folder.config()["data"]["rows"], folder.config()["data"]["sha256"]
    assert f"<summary>Data ({rows:,} rows)</summary>" in text and digest in text
    assert "<th scope='row'>accuracy</th><td class='wb-num'>0.875</td>" in text
    assert "<td class='wb-num'>1,200</td>" in text
    assert "2 CPU cores · Python 3.11 · torch 2.6" in text


def test_the_first_and_the_last_answers_stand_side_by_side(tmp_path):
    folder = made_runs.finished_run(tmp_path / "ppo")
    feed = RunFeed(folder)
    feed.refresh()
    rows = answers_between(feed, feed)
    steps = sorted({row["step"] for row in folder.samples()})
    assert len(steps) > 1 and rows
    first, last = rows[0]["answers"]
    assert (first["model"], last["model"]) == (f"ppo, step {steps[0]}", f"ppo, step {steps[-1]}")
    sampled = {(row["step"], row["prompt"]): row["response"] for row in folder.samples()}
    for row in rows:
        told = [answer["text"] for answer in row["answers"]]
        assert told == [sampled[step, row["prompt"]] for step in (steps[0], steps[-1])]


def test_labelled_pairs_are_shown_with_the_better_answer_first():
    def said(text):
        return [{"role": "assistant", "content": text}]

    label = {"kind": "choice", "winner": 1}
    prompt = [{"role": "user", "content": "why <b>?"}]
    pairs = [Pair.make(prompt, [said("worse"), said("better")], label=label)]
    html = labelled(pairs)
    assert html.index("better") < html.index("worse") and "why &lt;b&gt;?" in html
    assert labelled([Pair.make(prompt, [said("a"), said("b")], label={"kind": "tie"})]) == ""


def test_a_report_without_runs_is_small(tmp_path):
    path = write_report(tmp_path / "r.html", title="t", summary={"kl": 1.0})
    assert path.stat().st_size < 100_000


def test_without_plotly_the_still_pictures_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.widgets.kit.plotly_source.find_spec", lambda name: None)
    run = made_runs.finished_run(tmp_path / "ppo")
    text = write_report(tmp_path / "r.html", title="t", runs=[run]).read_text()
    assert text.count("<svg") == 4 and "id='wb-data'>[]<" in text


def test_it_replaces_an_older_one_and_leaves_nothing_beside(tmp_path):
    for title in ("one", "two"):
        path = write_report(tmp_path / "r.html", title=title)
    assert "<h1>two</h1>" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        write_report(tmp_path / "r.html", title="t", runs=[tmp_path])


def test_a_report_opens_with_what_came_of_the_run(tmp_path):
    folder = made_runs.finished_run(tmp_path / "ppo")
    text = write_report(tmp_path / "r.html", title="t", runs=[folder]).read_text()
    feed = RunFeed(folder)
    feed.refresh()
    verdict = feed.verdict()
    told = text.index(f"<b>{verdict.lead}</b>")
    assert text.index("<h1>") < told < text.index("Written ") < text.index("<h2>")
    assert escape(verdict.rest) in text and escape(verdict.advice) in text
    assert "@media print" in text and "break-inside: avoid" in text


def test_what_rings_stands_with_the_conclusion_and_says_what_to_do(tmp_path):
    folder = made_runs.create(tmp_path / "mine", "ppo", steps=30)
    with FolderWriter(folder) as writer:
        for step in range(1, 31):
            figures = {"policy/clipfrac": 0.9, "objective/kl": 0.1, "objective/scores": 0.5}
            writer(Progress(step, 30, figures))
        writer(Finished(30, False))
    head = write_report(tmp_path / "r.html", title="t", runs=[folder]).read_text()
    head = head[: head.index("Written ")]
    assert "<li><b>Too many tokens are clipped</b>" in head and "lower learning_rate" in head
    assert "wb-conclusion warn" in head or "wb-conclusion bad" in head


def test_a_conclusion_that_is_given_stands_instead_and_a_page_without_runs_has_none(tmp_path):
    folder = made_runs.finished_run(tmp_path / "ppo")
    own = Verdict("It <rose>", " by 1.", tone="good")
    text = write_report(tmp_path / "r.html", title="t", runs=[folder], conclusion=own).read_text()
    assert "<b>It &lt;rose&gt;</b> by 1." in text
    bare = write_report(tmp_path / "s.html", title="t").read_text()
    assert "class='wb-conclusion" not in bare
