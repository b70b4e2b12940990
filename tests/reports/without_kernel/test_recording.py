import base64
import gzip
import json
import re

import made_runs
import pytest
from recorded_sessions import record_comparison, record_explorer, record_labeller

import workbench as wb
from workbench.analysis.blind_comparison import BlindComparison
from workbench.cli import main
from workbench.data.pairs import Pair, Pairs
from workbench.errors import RunError
from workbench.reports.without_kernel import recording
from workbench.reports.without_kernel.recording import record_panel
from workbench.runs import FolderWriter, Run


def pair(number):
    messages = [{"role": "user", "content": f"question {number}"}]
    answers = [[{"role": "assistant", "content": f"{w} {number}"}] for w in ("good", "bad")]
    return Pair.make(messages, answers)


def row(number):
    answers = [
        {"model": m, "text": f"{m} {number}", "gold": g} for m, g in (("a", 0.2), ("b", 0.8))
    ]
    messages = [{"role": "user", "content": f"question {number}"}]
    return {"prompt": f"question {number}", "messages": messages, "answers": answers}


def follow(kernel, *choices):
    node = kernel["nodes"][0]
    for choice in choices:
        node = kernel["nodes"][node["next"][choice]]
    return node


def held(path):
    text = path.read_text(encoding="utf-8")
    packed = re.search(r"id='wb-recordings'>([^<]+)<", text)[1]
    return text, json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(made_runs.finished_run(tmp_path_factory.mktemp("runs") / "mine", steps=20))


def test_every_watched_step_of_a_run_is_recorded_by_its_place_and_by_its_step(run):
    kernel = record_panel(run).kernel
    of = lambda **question: kernel["messages"][kernel["answers"][json_key(question)]]  # noqa: E731
    tables = [of(type="samples", index=place)["samples"] for place in range(5)]
    assert [table["step"] for table in tables] == [1, 5, 10, 15, 20]
    assert tables[2] == of(type="samples", at=10)["samples"]
    assert json_key({"index": 5, "type": "samples"}) not in kernel["answers"]
    ready = of(type="ready")
    assert ready["parts"]["samples"] == tables[-1]
    assert len(ready["curves"]["objective/kl"]["x"]) == 20
    assert ready["parts"]["changes"] == [{"step": 11, "name": "kl_coef", "value": 0.1}]
    assert of(type="poll") == {"type": "alive"}
    assert "wb.open_run('mine')" in kernel["nobody"]["fix"]
    assert str(run.path.parent) not in json.dumps(ready)  # a sender's folders are nobody's business


def json_key(question):
    return json.dumps(question, sort_keys=True, separators=(",", ":"))


def test_of_a_long_run_so_many_steps_are_kept_with_the_first_and_the_last(run, monkeypatch):
    monkeypatch.setattr(recording, "MOST_TABLES", 3)
    recorded = record_panel(run)
    tables = [message["samples"] for message in recorded.kernel["messages"][2:]]
    assert recorded.missing == 2
    assert [(table["index"], table["count"], table["step"]) for table in tables] == [
        (0, 3, 1),
        (1, 3, 10),
        (2, 3, 20),
    ]


def test_of_long_answers_fewer_steps_are_kept_and_the_page_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_CHARACTERS", 1)
    text, recordings = held(wb.share(run, tmp_path / "a.html"))
    assert recordings["panel"]["kernel"]["messages"][0]["parts"]["samples"]["count"] == 2
    assert "The answers of 3 watched steps between the others are left out." in text


def test_a_score_that_is_no_number_does_not_lose_a_page(tmp_path):
    folder = made_runs.create(tmp_path / "odd")
    answer = '"prompt": "p", "response": "r", "score": NaN'
    lines = [f'{{"step": {step}, {answer}}}' for step in (1, 2)]
    (folder.path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    _, recordings = held(wb.share(Run(folder)))
    assert recordings["panel"]["kernel"]["messages"][2]["samples"]["rows"][0]["score"] is None


def test_a_live_run_is_recorded_as_far_as_it_has_come_and_does_not_wait(tmp_path):
    folder = made_runs.create(tmp_path / "live")
    with FolderWriter(folder) as writer:
        made_runs.write_steps(writer, "ppo", 1, 7, 60)
        status = record_panel(Run(folder)).kernel["messages"][0]["parts"]["status"]
        assert (status["step"], status["live"], status["left"]) == (7, False, None)


def test_a_session_is_recorded_on_every_way(tmp_path):
    kernel = record_labeller(Pairs.from_items(map(pair, range(2)))).kernel
    assert len(kernel["nodes"]) == 7  # label or skip, twice
    assert follow(kernel, "left") is follow(kernel, "both_bad") is not follow(kernel, "skip")
    progress = kernel["messages"][follow(kernel, "tie", "skip")["state"]]["progress"]
    assert (progress["done"], progress["skipped"], progress["left"]) == (1, 1, 0)
    assert progress["per_hour"] is None  # a recording knows no visitor's speed
    ready = kernel["messages"][kernel["answers"]['{"type":"ready"}']]
    assert {item["prompt"][0]["content"] for item in ready["items"]} == {"question 0", "question 1"}
    assert follow(kernel, "left", "left")["next"] == {}


def test_what_a_blind_comparison_reveals_is_recorded_after_each_choice():
    kernel = record_comparison(BlindComparison([row(0), row(1)], ["a", "b"])).kernel
    assert len(kernel["nodes"]) == 1 + 5 + 25
    ready = kernel["messages"][kernel["answers"]['{"type":"ready"}']]
    assert "a 0" not in json.dumps(kernel["nodes"])
    left = ready["items"][0]["responses"][0][0]["content"]
    told = kernel["messages"][follow(kernel, "left", "tie")["reveal"]]
    assert told["said"][0] == {"kind": "choice", "best": ["ab".index(left[0])]}
    assert told["said"][1] == {"kind": "tie", "best": []}
    assert told["queues"] is False
    you = told["duels"][0]["judges"][0]
    assert (you["by"], you["wins"] + you["losses"], you["ties"]) == ("you", 1, 1)


def test_the_explorer_asks_nothing():
    recorded = record_explorer()
    assert recorded.state["kept"] == [(0.0, 10.0), (5.0, 0.0)]
    assert (
        recorded.kernel["messages"] == []
        and "model.send" not in recorded.script.split("lossCurve")[1]
    )


def test_a_shared_run_is_one_file_with_nothing_to_fetch(run, tmp_path, monkeypatch, capsys):
    text, recordings = held(wb.share(run))
    assert (run.path / "panel.html").exists() and list(recordings) == ["panel"]
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", text)
    assert "<script>alert(1)" not in text  # what prompts and answers hold is packed
    assert len(text) < 3_000_000
    monkeypatch.setenv("WORKBENCH_RUNS", str(run.path.parent))
    assert main(["share", "mine", "--out", str(tmp_path / "a" / "b.html")]) == 0
    assert f"written: {tmp_path / 'a' / 'b.html'}" in capsys.readouterr().out
    assert held(tmp_path / "a" / "b.html")[1]["panel"]["kernel"] == recordings["panel"]["kernel"]


def test_a_place_that_cannot_be_is_told(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        wb.share(run, tmp_path / "file" / "b.html")
