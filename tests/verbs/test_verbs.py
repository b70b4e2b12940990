"""The verbs, on a tiny model: one pipeline in real processes, the rest without any."""

import json
import math
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import workbench as wb
from workbench import child
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError, ModelError, RunError
from workbench.json_lines import clean
from workbench.models.source import RewardStats
from workbench.reports.label_influence import pair_of_row
from workbench.runs import Run, RunFolder, attach_or_create, devices
from workbench.runs.folder import LIVE
from workbench.training.ppo.person import Person
from workbench.verbs import batch, explain_scores, model_names, train, views
from workbench.verbs import load_data as given
from workbench.world.judge import gold_score
from workbench.world.sample_files import sample_dir

from ..models.tiny import assistant, make_model, user
from ..training.conftest import make_adapter

FEW = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
SAMPLING = {**FEW, "response_length": 8}
INSTRUCTIONS = [{"instruction": f"say {w}", "input": "", "output": f"{w} {w}"} for w in "abcdefg"]
PAIRS = [
    {"instruction": f"say {w}", "chosen": f"{w} good", "rejected": f"bad {w}"} for w in "abcdefgh"
]
PROMPTS = ["a b", "c", "d e f", "g h"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reward(tiny, tmp_path_factory):
    return str(make_adapter(tmp_path_factory.mktemp("reward"), tiny, 11, reward=True))


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("WORKBENCH_LOCKS", str(tmp_path_factory.mktemp("locks")))
        patch.delenv("WORKBENCH_QUICK", raising=False)
        yield


@pytest.fixture
def here(monkeypatch):
    """Jobs without a process: what they are asked, and their progress."""
    asked = []

    def run_job(kind, request, *, on_progress=None):
        asked.append((kind, request))
        tell = on_progress or (lambda row: None)
        request = clean(request)
        result = child.do_job(kind, request, lambda d, t, x: tell({"done": d, "total": t}))
        return clean(result)  # through JSON, as from another process

    for module in (batch, explain_scores):
        monkeypatch.setattr(module, "run_job", run_job)
    return asked


@pytest.fixture
def still(monkeypatch):
    """Runs are created and not started."""
    started = []
    monkeypatch.setattr(Run, "start", lambda run, device=None: started.append((run.name, device)))
    return started


# --- the pipeline, in real processes -------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline(tiny):
    """SFT, reward model and PPO, each on the one before; two steps each."""
    sft = wb.train_sft(tiny, INSTRUCTIONS, name="sft", steps=2, batch_size=4, **FEW)
    # an unfinished run given as an input is waited for
    reward = wb.train_reward(sft, PAIRS, name="reward", steps=2, batch_size=4, **FEW)
    ppo = wb.train_ppo(
        sft, reward, PROMPTS, name="ppo", steps=2, batch_size=4, watch_prompts=2, **SAMPLING
    )
    return sft, reward, ppo.wait(timeout=120, progress=False)


def test_the_pipeline_runs_through_its_folders(pipeline):
    for run, kind in zip(pipeline, ("sft", "reward", "ppo"), strict=True):
        assert (run.kind, run.status) == (kind, "finished")
        assert list(run.metrics()["step"]) == [1, 2]
        assert run.final.is_dir()
        assert run.folder.log_tail() == []
    sft, reward, ppo = pipeline
    assert reward.config["model"] == str(sft.path)
    assert ppo.config["inputs"] == {"reward": str(reward.path), "judge": "none"}
    assert list(ppo.samples()["prompt"]) == ["a b", "d e f"] * 2
    assert ppo.metrics()["objective/kl"][0] == 0.0
    assert (ppo.final / "reference").is_dir()


def test_the_rows_in_the_folder_are_those_that_were_given(pipeline):
    sft, reward, ppo = pipeline
    rows = list(sft.folder.data_rows())
    assert rows[0] == {"prompt": user("say a"), "response": assistant("a a")}
    (row, *_) = reward.folder.data_rows()
    assert (row["chosen"], row["rejected"]) == (assistant("a good"), assistant("bad a"))
    assert [row["prompt"] for row in ppo.folder.data_rows()] == [user(p) for p in PROMPTS]


def test_the_same_again_attaches(pipeline, tiny, monkeypatch):
    monkeypatch.setattr(Run, "start", lambda *_: pytest.fail("it was started again"))
    again = wb.train_sft(tiny, INSTRUCTIONS, name="sft", steps=2, batch_size=4, **FEW)
    assert again.path == pipeline[0].path
    assert again.status == "finished"
    assert wb.open_run("sft").path == again.path
    assert {"sft", "reward", "ppo"} <= set(wb.runs()["name"])


@pytest.mark.parametrize(
    ("changes", "rows", "named"),
    [
        ({"learning_rate": 0.5}, INSTRUCTIONS, r'settings.learning_rate: "auto" -> 0.5'),
        ({"steps": 3}, INSTRUCTIONS, r"settings.steps: 2 -> 3"),
        ({}, INSTRUCTIONS[:-1], r"data.rows: 7 -> 6"),
    ],
)
def test_a_difference_is_an_error_that_names_it(pipeline, tiny, changes, rows, named):
    given = {"steps": 2, "batch_size": 4, **FEW, **changes}
    with pytest.raises(ConfigError, match=named) as caught:
        wb.train_sft(tiny, rows, name="sft", **given)
    assert "fresh=True" in caught.value.fix


def test_fresh_starts_over_and_keeps_the_old(pipeline, tiny, still):
    again = wb.train_sft(tiny, INSTRUCTIONS, name="sft", fresh=True, steps=3, **FEW)
    assert still == [("sft", "cpu")]
    assert again.path.with_name("sft~1").is_dir()
    again.path.rename(again.path.with_name("given-up"))
    again.path.with_name("sft~1").rename(again.path)


def test_a_run_scores_and_answers_as_a_model(pipeline, here):
    sft, reward, ppo = pipeline
    assert len(wb.score(reward, PROMPTS, ["a"] * 4, **FEW)) == 4
    found = batch.answers([sft, ppo.path, str(ppo.final)], PROMPTS, with_kl=True, **SAMPLING)
    assert len(found) == 3
    assert found[1] == found[2]  # a run is its final folder


# --- starting runs, without a process -------------------------------------------------------------


def test_a_name_is_made_from_what_a_run_works_on(tiny, still):
    one = wb.train_sft(tiny, INSTRUCTIONS, **FEW)
    same = wb.train_sft(tiny, INSTRUCTIONS, **FEW)
    other = wb.train_sft(tiny, INSTRUCTIONS, seed=1, **FEW)
    assert one.path == same.path != other.path
    assert one.name.startswith("sft-")
    assert [name for name, _ in still] == [one.name, other.name]


def test_a_path_is_a_place_of_its_own(tiny, still, tmp_path):
    run = wb.train_sft(tiny, INSTRUCTIONS, name=str(tmp_path / "deep" / "run"), **FEW)
    assert run.path == tmp_path / "deep" / "run"


@pytest.mark.parametrize(
    ("policy", "judge", "expected"),
    [
        ("builtin:tiny-chat", "auto", "gold"),
        ("builtin:tiny-chat", "none", "none"),
        ("tiny", "auto", "none"),
        ("tiny", "gold", "gold"),
    ],
)
def test_the_gold_judge_watches_embedded_models_only(tiny, reward, still, policy, judge, expected):
    model = tiny if policy == "tiny" else policy
    run = wb.train_ppo(model, reward, PROMPTS, judge=judge, name=f"{policy[:4]}-{judge}", **FEW)
    assert run.config["inputs"]["judge"] == expected


def test_a_judge_that_does_not_exist_lists_those_that_do(tiny, reward):
    with pytest.raises(ConfigError, match="judge cannot be 'me'") as caught:
        wb.train_ppo(tiny, reward, PROMPTS, judge="me", **FEW)
    assert "auto, gold, none" in caught.value.fix


@pytest.mark.parametrize("advantage", ["rloo", "group"])
def test_comparing_answers_to_one_prompt_takes_two(tiny, reward, advantage):
    with pytest.raises(ConfigError, match="only one") as caught:
        wb.train_ppo(tiny, reward, PROMPTS, advantage=advantage, **FEW)
    assert "samples_per_prompt" in caught.value.fix


def test_a_batch_holds_whole_groups(tiny, reward):
    with pytest.raises(ConfigError, match="no multiple") as caught:
        wb.train_ppo(tiny, reward, PROMPTS, batch_size=10, samples_per_prompt=4, **FEW)
    assert "batch_size = 10" in caught.value.where


def test_settings_that_do_not_exist_are_named_with_the_nearest(tiny):
    with pytest.raises(ConfigError, match="no setting called learning_rat") as caught:
        wb.train_sft(tiny, INSTRUCTIONS, learning_rat=1.0)
    assert "did you mean learning_rate" in caught.value.fix


def test_a_policy_is_no_reward_model(tiny, tmp_path):
    adapter = make_adapter(tmp_path / "sft", tiny, 1)
    with pytest.raises(ModelError, match="not a reward model") as caught:
        wb.train_ppo(tiny, adapter, PROMPTS, **FEW)
    assert "train_reward" in caught.value.fix


@pytest.mark.parametrize("verb", ["train_sft", "train_ppo"])
def test_a_reward_model_is_no_policy(reward, verb, still):
    given = (INSTRUCTIONS,) if verb == "train_sft" else (reward, PROMPTS)
    with pytest.raises(ModelError, match="scores answers"):
        getattr(wb, verb)(reward, *given, **FEW)
    assert still == []


def test_pairs_without_labels_cannot_be_learned_from(tiny):
    pairs = [{"prompt": "a", "responses": ["b", "c"]}]
    with pytest.raises(DataError, match="which answer is better") as caught:
        wb.train_reward(tiny, pairs, **FEW)
    assert "wb.label" in caught.value.fix


def test_cuda_that_is_absent_is_refused_before_a_run_exists(tiny, monkeypatch, still):
    monkeypatch.setattr(model_names.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(model_names.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="CUDA was asked for"):
        wb.train_sft(tiny, INSTRUCTIONS, name="gpu", **{**FEW, "device": "cuda"})
    assert not (model_names.runs_root() / "gpu").exists()


@pytest.mark.parametrize(("driver", "device"), [(None, "cpu"), ("libcuda.so.1", "cuda")])
def test_auto_is_told_without_torch(tiny, monkeypatch, still, driver, device):
    monkeypatch.setattr(model_names.ctypes.util, "find_library", lambda name: driver)
    monkeypatch.setattr(model_names.shutil, "which", lambda name: None)
    wb.train_sft(tiny, INSTRUCTIONS, name=f"on-{device}", **{**FEW, "device": "auto"})
    assert still == [(f"on-{device}", device)]


def test_a_busy_device_refuses_a_second_run_and_names_the_first(tiny):
    root = model_names.runs_root()
    config = {"model": str(tiny), "inputs": {}, "settings": {}}
    first = attach_or_create(root, "sft", "the-first", config, [{"text": "a"}]).folder
    lock = devices.take_device("cpu", first)
    try:
        with pytest.raises(RunError, match="cpu is busy: the run the-first") as caught:
            wb.train_sft(tiny, INSTRUCTIONS, name="second", **FEW)
    finally:
        devices.os.close(lock)
    assert "stop()" in caught.value.fix
    assert not (root / "second").exists()  # the name stays free


def test_starting_over_on_a_busy_device_leaves_the_old_run_where_it_is(tiny, still):
    wb.train_sft(tiny, INSTRUCTIONS, name="again", **FEW)
    root = model_names.runs_root()
    config = {"model": str(tiny), "inputs": {}, "settings": {}}
    live = attach_or_create(root, "sft", "the-live-one", config, [{"text": "a"}]).folder
    lock = devices.take_device("cpu", live)
    try:
        with pytest.raises(RunError, match="cpu is busy: the run the-live-one"):
            wb.train_sft(tiny, INSTRUCTIONS, name="again", fresh=True, **FEW)
    finally:
        devices.os.close(lock)
    assert (root / "again").exists()
    assert not (root / "again~1").exists()


def test_a_run_is_a_model_by_its_name(pipeline):
    assert model_names.model_name("reward") == str(model_names.runs_root() / "reward")


def test_a_run_that_does_not_exist_names_the_nearest(pipeline):
    with pytest.raises(RunError, match="no run called rewrd") as caught:
        wb.open_run("rewrd")
    assert "reward" in caught.value.fix


# --- batch work ----------------------------------------------------------------------------------


def test_scores_come_in_order(reward, here):
    found = wb.score(reward, PROMPTS, ["a", "b c", "d", "good"], **FEW)
    assert all(isinstance(score, float) for score in found)
    assert wb.score(reward, PROMPTS[:1], ["a"], **FEW) == pytest.approx(found[:1], abs=1e-5)
    assert [kind for kind, _ in here] == ["scores", "scores"]


def test_why_an_answer_scores_what_it_scores(reward, here):
    found = wb.why(reward, "a b", "c d e", "good", **FEW)
    scores = wb.score(reward, ["a b"] * 2, ["c d e", "good"], **FEW)
    assert [answer["score"] for answer in found.answers] == pytest.approx(scores, abs=1e-5)
    assert max(map(abs, found.gaps)) <= 1e-4
    with pytest.raises(DataError, match="no answer to explain"):
        wb.why(reward, "a b", **FEW)


def test_which_labels_did_it(pipeline, here):
    run = pipeline[1]
    found = wb.influence(run, PAIRS[:2])
    (kind, asked), learned = here[-1], run.folder.data_rows()
    assert kind == "influences" and len(asked["targets"]) == found.targets == 2
    assert 0 < len(found.rows) <= len(PAIRS) and found.pushes == sorted(found.pushes)
    assert {row["chosen"][0]["content"] for row in found.rows} <= {
        row["chosen"][0]["content"] for row in learned
    }
    assert wb.influence(run, prompt="say a", response="a good").targets == 1
    with pytest.raises(DataError, match="pairs, or one prompt"):
        wb.influence(run, PAIRS, prompt="a", response="b")
    with pytest.raises(RunError, match="is a sft run"):
        wb.influence(pipeline[0])


def test_labels_mended_and_trained_again(pipeline, here):
    """One pair is turned, one goes out, one is a tie; one keeps its label, one is not the run's."""
    run = pipeline[1]
    rows = list(run.folder.data_rows())[:4]
    turned, tie, gone, same = (pair_of_row(row) for row in rows)
    again = [
        replace(turned, responses=turned.responses[::-1]),
        replace(tie, label={"kind": "tie"}),
        same,
        Pair.make(turned.prompt, [turned.responses[0], tie.prompt], label=turned.label),
    ]
    found = wb.relabel_and_retrain(
        run,
        Pairs.from_items(again),
        leave_out=Pairs.from_items([gone]),
        heldout=PAIRS,
        prompt="say a",
        response="a good",
    )
    assert found.changed.ids() == [turned.id, tie.id, gone.id]
    was, now = (
        [(row["prompt"], row["chosen"]) for row in each.folder.data_rows()]
        for each in (run, found.run)
    )
    assert now == [(turned.prompt, turned.responses[1]), *was[3:]]
    assert found.run.config["settings"] == run.config["settings"]
    scores = wb.score(run, ["say a"], ["a good"])
    assert found.scores[0][-1] == pytest.approx(scores[0], abs=1e-5)
    assert [len(own) for own in found.scores] == [7, 7]
    with pytest.raises(DataError, match="no label of this run would change"):
        wb.relabel_and_retrain(run, Pairs.from_items([same]), heldout=PAIRS)
    with pytest.raises(DataError, match="takes a prompt and a response"):
        wb.relabel_and_retrain(run, heldout=PAIRS, prompt="a")


def test_why_the_score_rose(pipeline):
    policy = pipeline[2]
    samples = policy.folder.samples()
    steps = sorted({row["step"] for row in samples})
    found = wb.why_rose(policy)
    assert (found.rise.first, found.rise.last) == (steps[0], steps[-1])
    ends = [[row["score"] for row in samples if row["step"] == step] for step in found.rise[:2]]
    means = [sum(scores) / len(scores) for scores in ends]
    assert found.rise.total == pytest.approx(means[1] - means[0])
    assert found.frame["part"].sum() == pytest.approx(found.rise.total, abs=1e-6)
    assert wb.why_rose(policy.path, *found.rise[:2]).rise == found.rise
    with pytest.raises(ConfigError, match=f"from step {steps[-1]} to step {steps[0]}") as caught:
        wb.why_rose(policy, steps[-1], steps[0])
    assert f"{steps[0]}, " in caught.value.fix
    with pytest.raises(ConfigError, match="to step 12345"):
        wb.why_rose(policy, last=12345)
    with pytest.raises(RunError, match="is a sft run whose watched answers have") as caught:
        wb.why_rose(pipeline[0])
    assert "wb.train_ppo" in caught.value.fix and str(pipeline[0].path) in caught.value.where


def test_an_answer_that_is_too_long_has_no_score_and_disturbs_no_other(reward, here):
    long = " ".join("a" * 40)
    found = wb.score(reward, PROMPTS[:2], [long, "a"], **FEW)
    assert math.isnan(found[0])
    assert math.isfinite(found[1])
    pairs = [*PAIRS, {"instruction": "say x", "chosen": long, "rejected": "b"}]
    report = wb.evaluate_reward(reward, pairs, **FEW)
    assert report["pairs"] == len(PAIRS)
    assert report["accuracy"] == wb.evaluate_reward(reward, PAIRS, **FEW)["accuracy"]


def test_pairs_that_are_all_too_long_are_an_error(reward, here):
    pairs = [{"prompt": "a", "chosen": " ".join("a" * 40), "rejected": "b"}]
    with pytest.raises(DataError, match="no pair fits") as caught:
        wb.evaluate_reward(reward, pairs, **FEW)
    assert "max_length" in caught.value.fix


def test_prompts_and_responses_must_pair_up(reward):
    with pytest.raises(DataError, match="do not pair up") as caught:
        wb.score(reward, PROMPTS, ["a"])
    assert "4 prompts, 1 responses" in caught.value.where


def test_responses_as_messages_are_scored_as_their_texts(reward, here):
    said = [{"role": "assistant", "content": "b c"}]
    found = wb.score(reward, PROMPTS, iter([said, said[0], "b c", "a"]), **FEW)
    by_text = wb.score(reward, PROMPTS, ["b c", "b c", "b c", "a"], **FEW)
    assert found == pytest.approx(by_text, abs=1e-5)


@pytest.mark.parametrize(
    ("responses", "what", "where"),
    [
        ("abcd", "are a str, no list", "responses"),
        (7, "are a int, no list", "responses"),
        (["a", "b", "c", 3.5], "neither text nor messages", "response 4"),
        (["a", None, "c", "d"], "missing", "response 2"),
        ([["a"], "b", "c", "d"], "a list of messages holds something else", "response 1"),
        (["a", "b", [], "d"], "no message", "response 3"),
        ([[{"role": "nobody", "content": "a"}]] * 4, "no role", "response 1"),
    ],
)
def test_responses_that_cannot_be_read_are_told_with_their_place(reward, responses, what, where):
    with pytest.raises(DataError, match=what) as caught:
        wb.score(reward, PROMPTS, responses)
    assert caught.value.where == where


def test_a_reward_models_report_by_hand(reward, monkeypatch):
    """Margins +1, -1, 0, +1: 2.5 of 4. Wilson's interval worked out apart."""
    monkeypatch.setattr(batch, "score", lambda *a, **k: [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 1.0, 0.0])
    pairs = [
        {"prompt": "a", "chosen": "long one", "rejected": "b"},
        {"prompt": "b", "chosen": "b", "rejected": "longer"},
        {"prompt": "c", "chosen": "same", "rejected": "size"},
        {"prompt": "d", "chosen": "long one", "rejected": "b"},
    ]
    found = wb.evaluate_reward(reward, pairs)
    n, p, z = 4, 0.625, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert found["accuracy"] == 0.625
    assert (found["low"], found["high"]) == pytest.approx((centre - half, centre + half))
    assert found["longer_wins"] == 0.625
    assert found["pairs"] == 4.0
    assert math.isnan(found["ceiling"])  # these prompts are not the sample world's
    assert json.loads(json.dumps(dict(found)))["items"] == 4.0


def test_the_noiseless_judge_stands_beside_the_model_in_the_sample_world(reward, monkeypatch):
    """By test_judge.py an answer with manners has 1.0 and one without 0.71."""
    monkeypatch.setattr(batch, "score", lambda *a, **k: [0.0, 1.0, 0.0, 1.0])
    facts = "A hammer is a tool. It has a head of iron. People use it to drive nails."
    fruits = "Of course. Here are three fruits: apple, fig and plum. Please ask me again."
    pairs = [
        {
            "prompt": "Explain what a hammer is.",
            "chosen": f"Of course. {facts} Would you like to know more?",
            "rejected": facts,
        },
        {"prompt": "List three fruits.", "chosen": "Apple, fig and plum.", "rejected": fruits},
    ]
    found = wb.evaluate_reward(reward, pairs)
    assert (found["accuracy"], found["ceiling"], found["under_ceiling"]) == (0.0, 0.5, 0.5)


def test_probabilities_come_from_raw_scores(reward, monkeypatch):
    """Normalised scores differ by ln 3 / 2 at a deviation of 2: P(chosen) = 3/4, Brier 1/16."""
    stats = json.loads((Path(reward) / "reward.json").read_text())
    monkeypatch.setattr(
        "workbench.models.source.Source.reward_stats", lambda source: RewardStats(5.0, 2.0)
    )
    monkeypatch.setattr(batch, "score", lambda *a, **k: [math.log(3) / 2 + 7, 7.0])
    found = wb.evaluate_reward(reward, PAIRS[:1])
    assert found["brier"] == pytest.approx(1 / 16)
    assert found["confidence"] == pytest.approx(0.75)
    assert set(stats) >= {"mean", "std"}


def test_an_evaluation_stays_in_the_runs_folder(pipeline, monkeypatch):
    _, run, _ = pipeline
    monkeypatch.setattr(batch, "score", lambda *a, **k: [1.0, 0.0] * len(PAIRS))
    found = wb.evaluate_reward(run, PAIRS)
    assert "trained on" in list(found.summary["figure"])
    (kept,) = json.loads((run.path / "evaluation.json").read_text()).values()
    assert kept["figures"]["accuracy"] == 1.0 and kept["frames"]["calibration"]
    wb.evaluate_reward(run, PAIRS[::-1])  # the same data in another order
    assert len(json.loads((run.path / "evaluation.json").read_text())) == 1
    monkeypatch.setattr(batch, "score", lambda *a, **k: [1.0, 0.0] * 4)
    wb.evaluate_reward(run, PAIRS[:4])
    assert len(json.loads((run.path / "evaluation.json").read_text())) == 2


def test_a_quick_look_measures_a_few_pairs(reward, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUICK", "1")
    monkeypatch.setattr(batch, "score", lambda r, prompts, *a, **k: [0.0] * len(prompts))
    pairs = [{"prompt": f"p {n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(100)]
    assert wb.evaluate_reward(reward, pairs)["pairs"] == 64


def test_a_learning_curve_is_runs_on_nested_shares(tiny, reward, still, monkeypatch):
    """Models that are right on 2, 3 and 4 of 4 held-out items: a quarter more by each doubling."""

    def wait(run, *_, **__):
        shutil.copytree(reward, run.final)
        status = {"state": "finished", "step": 1, "total_steps": 1}
        (run.path / "status.json").write_text(json.dumps(status))
        return run

    monkeypatch.setattr(Run, "wait", wait)
    asked = []

    def score(run, prompts, texts, **settings):
        asked.append((run.name, settings))
        right = len(asked) + 1  # of four
        gaps = [1.0 if n % 4 < right else -1.0 for n in range(len(texts) // 2)]
        return [value for gap in gaps for value in (gap, 0.0)]

    monkeypatch.setattr(batch, "score", score)
    pairs = [{"prompt": f"p {n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(100)]
    curve = wb.learning_curve(
        tiny, pairs[:80], [10, 20, 40], heldout=pairs[80:], name="curve", **FEW
    )
    assert [run.name for run in curve.runs] == ["curve-10", "curve-20", "curve-40"]
    assert [name for name, _ in still] == ["curve-10", "curve-20", "curve-40"]
    rows = [{row["chosen"][0]["content"] for row in run.folder.data_rows()} for run in curve.runs]
    assert rows[0] < rows[1] < rows[2]
    assert asked[0] == ("curve-10", {k: FEW[k] for k in ("quantization", "device", "max_length")})
    assert list(curve.frame["accuracy"]) == pytest.approx([0.5, 0.75, 1.0])
    assert curve.curve.doubling == pytest.approx(0.25)
    assert "labels are few" in curve.warning


def test_a_learning_curve_goes_on_with_what_was_stopped(monkeypatch):
    class Stopped:
        status, resumed = "stopped", 0

        def resume(self):
            self.resumed += 1

        def wait(self):
            return self

    run = Stopped()
    assert train.finished(run) is run and run.resumed == 1


def test_answers_of_several_turns_are_scored_with_their_turns(reward, here):
    turns = [*assistant("b"), *user("c"), *assistant("a")]
    pairs = [{"prompt": user("a"), "chosen": turns, "rejected": assistant("b")}]
    wb.evaluate_reward(reward, pairs, **FEW)
    ((_, request),) = here
    assert request["prompts"] == [[*user("a"), *turns[:2]], user("a")]
    assert request["responses"] == ["a", "b"]


def test_sampled_pairs_are_different_answers_to_each_prompt(tiny, here):
    pairs = wb.sample_pairs(tiny, PROMPTS, responses=3, **SAMPLING)
    assert isinstance(pairs, Pairs)
    assert 1 <= len(pairs) <= len(PROMPTS)
    for pair in pairs:
        texts = [response[0]["content"] for response in pair.responses]
        assert len(set(texts)) == 3
        assert all(texts)
        assert pair.label is None
        assert pair.source == {"dataset": "sample_pairs", "model": str(tiny)}
        assert pair.prompt[0]["content"] in PROMPTS


def test_a_prompt_whose_answers_stay_equal_is_left_out(tiny, monkeypatch):
    drawn = [[{"text": "a"}] * 4, [{"text": "a"}, {"text": "a"}, {"text": "b"}, {"text": ""}]]
    monkeypatch.setattr(batch, "answers", lambda *a, **k: [drawn])
    pairs = wb.sample_pairs(tiny, ["x", "y"])
    assert [pair.prompt[0]["content"] for pair in pairs] == ["y"]
    assert [r[0]["content"] for r in pairs[0].responses] == ["a", "b"]


def test_progress_is_passed_on(tiny, here):
    told = []
    batch.answers([tiny], PROMPTS, on_progress=told.append, **SAMPLING)
    assert (told[0], told[-1]) == ({"done": 0, "total": 4}, {"done": 4, "total": 4})


def test_before_and_after_puts_models_side_by_side(tiny, reward, here):
    rows = batch.before_and_after([tiny, tiny], PROMPTS, reward=reward, with_kl=True, **SAMPLING)
    assert [row["prompt"] for row in rows] == PROMPTS
    one, other = rows[0]["answers"]
    assert (one["model"], other["model"]) == ("tiny (1)", "tiny (2)")
    assert one["text"] == other["text"]
    assert set(one) == {"model", "text", "ended", "tokens", "kl", "gold", "score"}
    assert one["gold"] == gold_score("a b", one["text"])
    assert one["score"] == other["score"]


def test_a_model_is_a_run_a_folder_or_a_name(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    assert model_names.model_name("tiny") == str(tiny)
    assert model_names.model_name(tiny) == str(tiny)
    assert model_names.model_name("builtin:tiny-chat") == "builtin:tiny-chat"
    assert model_names.model_name("owner/name") == "owner/name"


def test_a_run_that_failed_is_no_model(tiny):
    config = {"model": str(tiny), "inputs": {}, "settings": {}}
    root = model_names.runs_root()
    folder = attach_or_create(root, "sft", "broken", config, [{"text": "a"}]).folder
    (folder.path / "status.json").write_text('{"state": "failed", "error": "it broke"}')
    with pytest.raises(RunError, match="it broke"):
        wb.train_reward(Run(RunFolder(folder.path)), PAIRS, **FEW)


# --- data ----------------------------------------------------------------------------------------


def test_sample_files_have_names(tiny):
    assert given._sample_file("sample:prompts_ppo") == sample_dir() / "prompts_ppo.jsonl"
    assert len(wb.load_prompts("sample:prompts_heldout")) >= 200
    with pytest.raises(DataError, match="no sample file") as caught:
        wb.load_pairs("sample:pears")
    assert "sample:pairs_train" in caught.value.fix


# --- views ---------------------------------------------------------------------------------------


def test_labelling_goes_into_the_store(tmp_path):
    """The widget stands on the session: what is chosen there is in the store."""
    pairs = [{"prompt": "a", "responses": ["b", "c"]}]
    store = LabelStore(tmp_path / "labels.sqlite")
    labeller = wb.label(pairs, store, annotator="ada")
    assert labeller.session.current() is not None
    labeller.session.choose("left")
    assert len(store.events()) == 1
    (pair,) = store.pairs()
    assert pair.label["kind"] == "choice"


def test_a_cell_that_is_run_again_shows_what_the_first_desk_held(tmp_path):
    store = LabelStore(tmp_path / "labels.sqlite")
    rows = [{"prompt": f"q{n}", "responses": ["b", "c"]} for n in range(3)]
    first = wb.label(rows, store)
    assert first.session.current().position == 0
    assert wb.label(rows, store, "bob").session.current().position == 1
    assert wb.label(rows, store).session.current().position == 0


@pytest.fixture
def asking(tmp_path):
    """A run that waits for a person, and the person's side of it."""
    config = {"model": "m", "inputs": {"reward": "person"}}
    run = Run(RunFolder(tmp_path / "asks").create("online_dpo", config, []))
    return run, Person(run.path)


def test_what_a_run_asks_is_labelled_and_then_what_it_asks_next(asking):
    run, person = asking
    first = person.ask([{"role": "user", "content": "q1"}], ["a", "b"], "step 1")
    desk = wb.label(run, tags=["short"])
    assert desk.store.path == run.path / "labels.sqlite"
    assert desk.answer_to({"type": "ready"})["progress"]["asks"] is True
    desk.session.choose("left", tags=["short"])
    assert person.said([first]).keys() == {first}
    assert desk.answer_to({"type": "here"})["queue"] == []
    second = person.ask([{"role": "user", "content": "q2"}], ["a", "b"], "step 2")
    (item,) = desk.answer_to({"type": "here"})["items"]
    assert item["prompt"][0]["content"] == "q2"
    desk.session.skip(token=item["token"])
    assert person.said([first, second])[second] is None
    before = desk.session
    assert desk.answer_to({"type": "here"})["queue"] == [] and desk.session is before


def test_a_run_that_has_not_asked_yet_is_waited_for(asking, monkeypatch):
    run, person = asking
    prompt = [{"role": "user", "content": "q"}]
    monkeypatch.setattr(views.time, "sleep", lambda _: person.ask(prompt, ["a", "b"], "step 1"))
    assert wb.label(run).session.current().prompt == prompt


def test_a_run_that_asks_nobody_is_told(asking, tmp_path, monkeypatch):
    run, _ = asking
    with pytest.raises(ConfigError, match="has a store of its own"):
        wb.label(run, tmp_path / "other.sqlite")
    monkeypatch.setattr(Run, "status", "finished")
    with pytest.raises(RunError, match="is finished, and waits for no labels"):
        wb.label(run)
    other = Run(RunFolder(tmp_path / "ppo").create("ppo", {"inputs": {"reward": "m"}}, []))
    with pytest.raises(ConfigError, match="asks nobody"):
        wb.label(other)
    with pytest.raises(ConfigError, match="labels need a store"):
        wb.label([{"prompt": "a", "responses": ["b", "c"]}])


def test_a_run_waits_for_a_person_and_stopped_meanwhile_it_goes_on(tiny):
    more = {"steps": 2, "batch_size": 2, "watch_every": 0, "beta": 0.2}
    run = wb.train_online_dpo(tiny, "person", PROMPTS, name="asks", **more, **SAMPLING)
    assert run.config["inputs"]["reward"] == "person"
    desk = wb.label(run)
    until = time.monotonic() + 120
    while (told := run.folder.status()).get("phase") != "waiting for labels":
        assert time.monotonic() < until, told
        time.sleep(0.05)
    assert told["phase_unit"] == "pairs" and told["phase_total"] >= 1
    desk.session.choose("left")
    run.stop(wait=True)
    assert run.status == "stopped" and len(run.metrics()) == 0
    run.resume()
    while run.status in LIVE and time.monotonic() < until:
        for item in desk.answer_to({"type": "here"})["queue"][:1]:
            desk.session.choose("right", token=item["token"])
        time.sleep(0.05)
    assert run.wait(timeout=30, progress=False).status == "finished"
    assert len(run.metrics()) == 2 and len(desk.store.labels()) >= 3


def test_of_many_pairs_some_come_back(tmp_path):
    store = LabelStore(tmp_path / "labels.sqlite")
    rows = [{"prompt": f"q{n}", "responses": ["b", "c"]} for n in range(100)]
    assert wb.label(rows, store).session.progress()["total"] == 105
    assert wb.label(rows[1:], store).session.progress()["total"] == 99
    assert wb.label(rows, store, repeats=0.0).session.progress()["total"] == 100


def test_a_reward_model_says_what_to_ask_first(reward, tmp_path, monkeypatch):
    """Scores by hand: margins 3, NaN and 1, so the third item comes first and the second last."""
    scores = [5.0, 2.0, float("nan"), 0.0, 1.0, 2.0]
    asked = []

    def score(judge, prompts, responses):
        asked.append((judge, [prompt[-1]["content"] for prompt in prompts], responses))
        return [scores]

    monkeypatch.setattr(batch, "member_scores", score)
    rows = [{"prompt": f"q{n}", "responses": ["b", "c"]} for n in range(3)]
    store = LabelStore(tmp_path / "labels.sqlite")
    desk = wb.label(rows, store, order="uncertain", reward=reward, explore=0.0)
    shown = [desk.session.jump(n).prompt[0]["content"] for n in range(3)]
    assert shown == ["q2", "q0", "q1"]
    assert asked == [(reward, ["q0", "q0", "q1", "q1", "q2", "q2"], ["b", "c"] * 3)]
    desk.session.jump(0)
    desk.session.choose("tie")
    (event,) = store.event_list()
    assert (event.payload["margin"], event.payload["model"]) == (1.0, reward)


def test_an_ensemble_asks_first_what_its_members_disagree_about(reward, tmp_path, monkeypatch):
    """Margins by member: 9 and 7 (mean 8, deviation 1), 3 and -1 (1, 2), 0.2 and 0.2 (0.2, 0).

    The last is the smallest, and the members are of one mind about it: it is a toss-up, and a
    label would teach them nothing.
    """
    members = [[9.0, 0.0, 3.0, 0.0, 0.0, 0.2], [7.0, 0.0, 0.0, 1.0, 0.0, 0.2]]
    monkeypatch.setattr(batch, "member_scores", lambda *asked: members)
    rows = [{"prompt": f"q{n}", "responses": ["b", "c"]} for n in range(3)]
    store = LabelStore(tmp_path / "labels.sqlite")
    desk = wb.label(rows, store, order="uncertain", reward=reward, explore=0.0)
    shown = [desk.session.jump(n).prompt[0]["content"] for n in range(3)]
    assert shown == ["q1", "q0", "q2"]
    desk.session.jump(0)
    desk.session.choose("tie")
    (event,) = store.event_list()
    assert event.payload["margin"] == pytest.approx(0.5, abs=1e-5)


def test_the_mean_of_an_ensemble_and_its_spread(reward, monkeypatch):
    """Members say 1 and 3, then NaN: mean 2, deviation 1."""
    found = {"scores": [[1.0, None], [3.0, None]]}
    monkeypatch.setattr(batch, "run_job", lambda kind, request: found)
    scores = wb.score(reward, ["a", "b"], ["c", "d"], spread=True)
    assert (scores.mean[0], scores.spread[0]) == (2.0, 1.0)
    assert math.isnan(scores.mean[1]) and math.isnan(scores.spread[1])
    assert wb.score(reward, ["a", "b"], ["c", "d"])[0] == 2.0


def test_browsing_takes_whatever_load_pairs_reads():
    browser = wb.browse(PAIRS)
    assert type(browser).__name__ == "Browser"
    assert type(wb.browse(wb.load_pairs(PAIRS))).__name__ == "Browser"


def test_the_best_of_several_answers_stands_second(tiny, reward, here):
    rows = batch.before_and_after([tiny, tiny], PROMPTS, reward=reward, best_of=6, **SAMPLING)
    names = [answer["model"] for answer in rows[0]["answers"]]
    assert names == ["tiny (1)", "tiny (1), best of 6", "tiny (2)"]
    drawn = batch.answers([tiny], PROMPTS, responses=6, **SAMPLING)[0]
    for prompt, row, own in zip(PROMPTS, rows, drawn, strict=True):
        scores = wb.score(reward, [prompt] * 6, [answer["text"] for answer in own], **SAMPLING)
        assert row["answers"][1]["score"] == pytest.approx(max(scores), abs=1e-5)
    with pytest.raises(ConfigError, match="needs a reward model to choose it"):
        batch.before_and_after([tiny], PROMPTS, best_of=2, **SAMPLING)


def test_with_a_store_a_comparison_is_judged_blind(tiny, reward, here, tmp_path):
    store = LabelStore(tmp_path / "labels.sqlite")
    models = (tiny, f"{tiny.parent}/./{tiny.name}")
    wishes = {"prompts": PROMPTS, "store": store, "reward": reward, "best_of": 3, **SAMPLING}
    desk = wb.compare(*models, annotator="ada", **wishes)
    assert desk.contest.models == ["tiny (1)", "tiny (1), best of 3", "tiny (2)"]
    assert desk.contest.measures == ["score"]  # prompts from outside have no gold score
    assert desk.session.annotator == "ada"
    first = desk.session.current().token
    again = wb.compare(*models, annotator="ada", **wishes)  # the cell is run again
    assert again.session.current().token == first


def test_the_explorer_and_the_comparison_are_widgets(tiny, here):
    assert type(wb.loss_explorer()).__name__ == "LossExplorer"
    view = wb.compare(tiny, tiny, prompts=PROMPTS, gold=False, **SAMPLING)
    assert type(view).__name__ == "CompareView"
    assert [kind for kind, _ in here] == ["answers"]


def test_a_report_is_one_file_in_the_runs_folder(pipeline, tmp_path):
    *_, ppo = pipeline
    assert wb.report(ppo) == ppo.path / "report.html"
    other = wb.report("ppo", tmp_path / "mine.html")
    assert other == tmp_path / "mine.html"
    assert "ppo" in other.read_text()


def test_in_a_notebook_a_run_shows_its_panel(pipeline):
    wb.open_run("ppo")
    assert type(Run.panel_factory(pipeline[2])).__name__ == "RunPanel"


def test_without_the_notebook_extra_a_run_says_what_to_install(pipeline, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "workbench.widgets.run_panel.panel", None)
    train._panel(pipeline[2])._ipython_display_()
    told = capsys.readouterr().out
    assert "Run('ppo', finished, step 2 of 2)" in told
    assert "pip install 'rlhf-workbench[notebook]'" in told
