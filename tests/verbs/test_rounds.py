"""Rounds, on a tiny model and without processes: what is drawn, learned from, and linked."""

import json
import random
import re

import pytest

import workbench as wb
from workbench import child
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError, RunError
from workbench.json_lines import clean, write_json
from workbench.runs import Run, RunFolder, attach_or_create
from workbench.settings import PPOSettings, RewardSettings
from workbench.verbs import batch, draw_pairs
from workbench.world.judge import gold_score

from ..models.tiny import assistant, make_model, user
from ..training.conftest import make_adapter

FEW = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
PROMPTS = ["a b", "c", "d e f", "g h", "i j"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def first(tiny, tmp_path, monkeypatch):
    """Round one as it was left: a finished reward model and policy, by folders alone."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("WORKBENCH_QUICK", raising=False)
    old = [{"prompt": user("a"), "chosen": assistant("a a"), "rejected": assistant("b b")}]
    reward = made(tmp_path, "reward", "reward", tiny, old, RewardSettings(seed=3, **FEW))
    make_adapter(reward.final, tiny, 11, reward=True)
    rows = [{"prompt": user(p)} for p in PROMPTS]
    settings = PPOSettings(seed=4, steps=2, batch_size=4, response_length=8, **FEW)
    inputs = {"reward": str(reward.path), "judge": "none"}
    policy = made(tmp_path, "ppo", "ppo", tiny, rows, settings, inputs)
    make_adapter(policy.final, tiny, 12)
    return policy


def made(tmp_path, name, kind, model, rows, settings, inputs=None):
    config = {"model": str(model), "inputs": inputs or {}, "settings": settings.to_dict()}
    folder = attach_or_create(tmp_path / "runs", kind, name, config, rows).folder
    finish(folder)
    return Run(folder)


def finish(folder):
    status = {"state": "finished", "step": 2, "total_steps": 2, "pid": None, "heartbeat": 0}
    write_json(folder.path / "status.json", {**status, "error": None})


@pytest.fixture
def here(monkeypatch):
    """Jobs without a process, and runs that end as they start."""
    started = []

    def run_job(kind, request, *, on_progress=None):
        return clean(child.do_job(kind, clean(request), lambda *_: None))

    def start(run, device=None):
        started.append(run.name)
        source = "reward" if run.kind == "reward" else "ppo"
        tiny = run.config["model"]
        (run.path / "final").symlink_to(wb.open_run(source).final)
        assert tiny
        finish(run.folder)

    monkeypatch.setattr(batch, "run_job", run_job)
    monkeypatch.setattr(Run, "start", start)
    return started


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store


def label_all(drawn, store, choice="left"):
    session = LabelSession(drawn.pairs, store, annotator="ada")
    while session.current().decided is None:
        session.choose(choice)
        if session.current() is None:
            break


def test_a_round_goes_from_the_policys_answers_to_a_policy_that_learned_on(first, here, store):
    drawn = wb.next_round(first, store, pairs=3, seed=1)
    assert (drawn.number, len(drawn.pairs), drawn.path.name) == (2, 3, "ppo-round-2")
    assert drawn.reward is None and drawn.policy is None
    for pair in drawn.pairs:
        assert pair.prompt in [user(p) for p in PROMPTS] and pair.label is None
        assert len(pair.responses) == 2 and pair.responses[0] != pair.responses[1]
        assert pair.meta["reason"] in ("uncertain", "random") and len(pair.meta["scores"]) == 2
    with pytest.raises(DataError, match="no pair of this round has a label"):
        drawn.train()
    label_all(drawn, store)
    policy = drawn.train(steps=1)
    assert here == ["reward-2", "ppo-2"]
    reward = drawn.reward
    assert reward.config["model"] == str(first.path.with_name("reward"))  # it goes on
    assert reward.config["data"]["rows"] == 4  # three new labels and the old one
    assert reward.config["settings"]["seed"] == 4
    assert policy.config["model"] == str(first.path)
    assert policy.config["inputs"] == {
        "reward": str(reward.path),
        "judge": "none",
        "reference": first.config["model"],
    }
    assert (policy.config["settings"]["steps"], policy.config["settings"]["seed"]) == (1, 5)
    assert [row["prompt"] for row in policy.folder.data_rows()] == [user(p) for p in PROMPTS]
    known = json.loads((drawn.path / "round.json").read_text())
    assert known["policy"] == str(first.path) and known["store"] == str(store.path)
    assert known["runs"] == {"reward": str(reward.path), "policy": str(policy.path)}
    after = wb.next_round(policy, store, pairs=2)  # and so on: the next stands on this one
    assert (after.number, after.path.name) == (3, "ppo-round-3")
    assert after.record["reference"] == first.config["model"]
    assert after.record["reward"] == str(reward.path)


def test_the_same_call_finds_the_round_and_another_is_told(first, here, store):
    drawn = wb.next_round(first, store, pairs=3)
    assert wb.next_round("ppo", store, pairs=3).pairs.ids() == drawn.pairs.ids()
    with pytest.raises(ConfigError, match="ppo-round-2, and it differs: asked"):
        wb.next_round(first, store, pairs=2)
    again = wb.next_round(first, store, pairs=2, fresh=True)
    assert len(again.pairs) == 2 and drawn.path.with_name("ppo-round-2~1").is_dir()
    assert wb.next_round(first, store, pairs=2, name="mine").path.name == "mine"


def test_what_the_store_says_replaces_what_an_earlier_round_said(first, here, store):
    old = next(iter(RunFolder(first.path.with_name("reward")).data_rows()))
    drawn = wb.next_round(first, store, pairs=2)
    label_all(drawn, store)
    assert old in [{k: row[k] for k in old} for row in drawn.rows()]
    item = Pairs.from_items([_pair_of(old)])
    session = LabelSession(item, store, annotator="ada")
    turned = "left" if session.current().left == old["rejected"] else "right"
    session.choose(turned)
    rows = drawn.rows()
    assert len(rows) == 3
    about = [
        row for row in rows if row["prompt"] == old["prompt"] and old["chosen"] in row.values()
    ]
    assert [(row["chosen"], row["rejected"]) for row in about] == [(old["rejected"], old["chosen"])]


def _pair_of(row):
    from workbench.data.pairs import Pair

    return Pair.make(row["prompt"], [row["chosen"], row["rejected"]])


def test_the_figures_are_those_of_the_folders(first, here, store):
    rows = [
        {"step": n, "objective/kl": float(n), "objective/scores": 2.0 * n} for n in range(1, 13)
    ]
    with (first.path / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    drawn = wb.next_round(first, store, pairs=2)
    found = drawn.figures()
    assert (found["pairs"], found["labelled"]) == (2, 0) and "old_agrees" not in found
    assert found["kl_before"] == pytest.approx(7.5)  # steps 3 to 12
    assert found["score_before"] == pytest.approx(15.0) and "kl" not in found
    session = LabelSession(drawn.pairs, store, annotator="ada")
    for right in (True, False):
        shown = session.current()
        pair = next(
            p for p in drawn.pairs if p.prompt == shown.prompt and shown.left in p.responses
        )
        scores = pair.meta["scores"]
        better = pair.responses[scores.index(max(scores))]
        wish = better if right else pair.responses[scores.index(min(scores))]
        session.choose("left" if shown.left == wish else "right")
    assert drawn.figures()["old_agrees"] == 0.5
    drawn.train(steps=1)
    assert drawn.figures()["rows"] == 3
    assert json.loads((drawn.path / "round.json").read_text())["figures"]["labelled"] == 2
    assert "2 labelled, policy finished" in repr(drawn)
    seen = re.sub(r"<[^>]+>", " ", drawn._repr_html_())
    told = " ".join(seen.split())
    assert "ppo-round-2: Round 2: 2 pairs, 2 labelled, policy finished" in told
    assert "labels that the reward model before had right 50%" in told
    assert "policy before policy now" in told
    assert "reward score, by its own reward model [points] +15.00 –" in told
    assert "KL to the first model [nats] 7.50 –" in told
    page = wb.report(drawn)
    assert page == drawn.path / "report.html"
    told = page.read_text()
    assert "<h1>Round 2: ppo-round-2</h1>" in told and "What was labelled" in told
    assert "Reward model: reward-2" in told and "PPO: ppo-2" in told


def test_the_smallest_gaps_are_kept_and_a_share_at_random():
    gaps = [5.0, 0.1, 3.0, 0.2, 4.0, 0.3, 2.0, 1.0]
    kept = draw_pairs.chosen(gaps, 4, 0.25, random.Random(0))
    assert sorted(i for i, why in kept if why == "uncertain") == [1, 3, 5]
    (lot,) = [i for i, why in kept if why == "random"]
    assert lot not in (1, 3, 5)
    assert len(draw_pairs.chosen(gaps, 99, 0.5, random.Random(0))) == len(gaps)
    assert {why for _, why in draw_pairs.chosen(gaps, 4, 1.0, random.Random(0))} == {"random"}


def test_no_prompt_is_drawn_again_before_each_was():
    drawn = draw_pairs.passes(5, 12, random.Random(0))
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == list(range(5)) and len(drawn) == 12


@pytest.mark.parametrize("wishes", [{"pairs": 0}, {"explore": 1.5}])
def test_a_round_that_cannot_be_drawn_is_refused(first, store, wishes):
    with pytest.raises(ConfigError, match="cannot be drawn"):
        wb.next_round(first, store, **wishes)


def test_a_round_goes_on_from_a_policy_alone(first, store):
    with pytest.raises(RunError, match="reward is a run of reward"):
        wb.next_round("reward", store)


@pytest.mark.parametrize("kind", ["dpo", "online_dpo"])
def test_a_round_does_not_go_on_from_dpo_and_says_what_does(first, store, kind):
    config = {"model": "builtin:tiny-chat", "inputs": {}, "settings": {}}
    RunFolder(first.path.parent / kind).create(kind, config, [])
    with pytest.raises(RunError, match=f"{kind} is a run of {kind}") as caught:
        wb.next_round(kind, store)
    assert "wb.train_dpo(run, store.pairs(), reference=...)" in caught.value.fix


def test_a_reward_model_that_is_no_run_leaves_no_labels_to_learn_from(first, store):
    config = first.config
    config["inputs"]["reward"] = "/nowhere"
    write_json(first.path / "config.json", config)
    with pytest.raises(RunError, match="no run of the workbench, or is gone"):
        wb.next_round(Run(first.folder), store)


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ({"function": {"function": "brief", "file": "reward.pkl"}}, "function brief"),
        ({"ensemble": ["/a", "/b"]}, "ensemble of 2"),
        ({"mix": [{"weight": 1.0, "source": "/a"}]}, "mix of 1"),
    ],
)
def test_a_reward_that_is_no_single_model_has_nothing_to_learn_on(first, store, reward, words):
    config = first.config
    config["inputs"]["reward"] = reward
    write_json(first.path / "config.json", config)
    with pytest.raises(RunError, match=words) as told:
        wb.next_round(Run(first.folder), store)
    assert told.value.where == str(first.path) and "wb.train_reward" in told.value.fix


def test_a_policy_that_says_one_thing_only_has_nothing_to_compare(first, store, monkeypatch):
    same = [[{"text": "a"}, {"text": "a"}]]
    monkeypatch.setattr(batch, "answers", lambda models, prompts, **_: [same * len(prompts)])
    with pytest.raises(DataError, match="same answer twice"):
        wb.next_round(first, store)


def test_the_gold_judge_labels_through_a_session_with_the_sample_datas_slips(store):
    pairs = wb.load_pairs("sample:pairs_heldout")[:300]
    assert wb.gold_labels(pairs, store, seed=2) == 300
    assert wb.gold_labels(pairs, store, seed=2) == 0  # all is decided
    events = store.event_list()
    assert {event.annotator for event in events} == {"gold"}
    lefts = sum(event.payload["choice"] == "left" for event in events)
    assert 120 < lefts < 180  # sides are drawn
    slips = 0
    for pair in store.pairs():
        scores = [gold_score(pair.prompt, response) for response in pair.responses]
        slips += scores[pair.label["winner"]] < max(scores)
    assert 0.03 < slips / 300 < 0.12  # 7 % in the sample data
