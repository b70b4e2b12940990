"""Best of n and the view of over-optimisation, on a tiny model without a process."""

import math

import pytest

import workbench as wb
from workbench import child
from workbench.errors import ConfigError, DataError, ModelError
from workbench.json_lines import clean
from workbench.verbs import optimisation_limits

from ..models.tiny import make_model
from ..training.conftest import make_adapter

FEW = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
SAMPLING = {**FEW, "response_length": 4}
PROMPTS = ["a b", "c", "d e f"]
WORLD = ["What is a crow?", "Give me three tools."]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reward(tiny, tmp_path_factory):
    return str(make_adapter(tmp_path_factory.mktemp("reward"), tiny, 11, reward=True))


@pytest.fixture(scope="module")
def other(tiny, tmp_path_factory):
    return str(make_adapter(tmp_path_factory.mktemp("other"), tiny, 12, reward=True))


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Jobs without a process: what they are asked."""
    asked = []

    def run_job(kind, request, *, on_progress=None):
        asked.append(request)
        tell = on_progress or (lambda row: None)
        found = child.do_job(kind, clean(request), lambda d, t, x: tell({"done": d, "total": t}))
        return clean(found)  # through JSON, as from another process

    monkeypatch.delenv("WORKBENCH_QUICK", raising=False)
    monkeypatch.setattr(optimisation_limits, "run_job", run_job)
    return asked


def test_best_of_n_is_drawn_once_and_rises_with_n(tiny, reward, other):
    told = []
    found = wb.best_of_n(
        str(tiny),
        reward,
        PROMPTS,
        [4, 1, 2],
        heldout_reward=other,
        on_progress=told.append,
        batch_size=5,
        **SAMPLING,
    )
    assert (found.sizes, found.drawn, found.prompts) == ([1, 2, 4], 4, 3)
    assert told[-1] == {"done": 12, "total": 12}
    steps = [0, 5, 10, 12]  # nothing, then batch after batch
    assert [row["done"] for row in told if row["done"] in steps] == steps
    assert found.frame["n"].tolist() == [1, 2, 4]
    assert found.frame["kl_bound"].tolist() == pytest.approx([0, 0.1931, 0.6363], abs=1e-4)
    assert "gold" not in found.frame  # the prompts are not the sample world's
    # one of one is the mean over all, one of all the highest
    by_prompt = found.answers.groupby("prompt", sort=False)["score"]
    assert found.frame["score"].iloc[0] == pytest.approx(by_prompt.mean().mean())
    assert found.frame["score"].iloc[2] == pytest.approx(by_prompt.max().mean())
    # what the other model thinks of the answers that were chosen
    kept = found.answers.loc[by_prompt.idxmax(), "heldout"]
    assert found.frame["heldout"].iloc[2] == pytest.approx(kept.mean(), abs=1e-6)
    assert found.answers["score"].tolist() != found.answers["heldout"].tolist()


def test_scores_are_those_of_wb_score(tiny, reward, monkeypatch):
    """An answer that ended by itself is the same text either way."""
    from workbench.verbs import batch

    monkeypatch.setattr(batch, "run_job", optimisation_limits.run_job)
    found = wb.best_of_n(str(tiny), reward, PROMPTS, [8], **SAMPLING)
    ended = [row for row in _rows(tiny, reward) if row["ended"] and row["text"]]
    assert ended
    prompts = [row["prompt"] for row in ended]
    scores = wb.score(reward, prompts, [row["text"] for row in ended], **FEW)
    assert [row["score"] for row in ended] == pytest.approx(scores, abs=1e-5)
    assert len(found.frame) == 1 and "for the best of 8 by the reward" in found.sentence


def _rows(tiny, reward):
    """The job's own rows, with their prompts."""
    asked = {
        "model": str(tiny),
        "rewards": {"score": reward},
        "prompts": wb.load_prompts(PROMPTS),
        "settings": SAMPLING,
        "count": 8,
    }
    found = child.do_job("best_of_n", asked, lambda d, t, x: None)["answers"]
    return [{**row, "prompt": p} for p, rows in zip(PROMPTS, found, strict=True) for row in rows]


def test_a_reward_model_on_another_base_reads_the_text(tiny, other, tmp_path):
    beside = make_model(tmp_path / "beside", seed=5)
    reward = str(make_adapter(tmp_path / "reward", beside, 11, reward=True))
    found = wb.best_of_n(str(tiny), reward, PROMPTS, [2], heldout_reward=other, **SAMPLING)
    assert all(math.isfinite(score) for score in found.answers["score"])


def test_in_the_sample_world_the_judge_scores_too(tiny, reward):
    found = wb.best_of_n(str(tiny), reward, WORLD, [1, 2], **SAMPLING)
    assert list(found.figures) == ["scores", "gold"]
    expected = [wb.gold_score(p, a) for p, a in found.answers[["prompt", "answer"]].to_numpy()]
    assert found.answers["gold"].tolist() == expected
    page, text = found._repr_html_(), repr(found)
    assert "≤ 0.19" in page and "upper bound" in page and "The gold score is" in text
    assert list(found.figures["gold"].data[0].x) == pytest.approx([0, math.sqrt(0.193147)])


def test_in_a_hurry_a_few_prompts_do(tiny, reward, here, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUICK", "1")
    wb.best_of_n(str(tiny), reward, ["a"] * 20, [1], **SAMPLING)
    assert len(here[-1]["prompts"]) == 8


@pytest.mark.parametrize("n", [[], [0, 1], [1.5]])
def test_n_counts_answers(tiny, reward, n):
    with pytest.raises(ConfigError, match="n must be whole numbers"):
        wb.best_of_n(str(tiny), reward, PROMPTS, n)


def test_what_best_of_n_needs(tiny, reward):
    with pytest.raises(ModelError, match="not a reward model"):
        wb.best_of_n(str(tiny), str(tiny), PROMPTS)
    with pytest.raises(ModelError, match="not a reward model"):
        wb.best_of_n(str(tiny), reward, PROMPTS, heldout_reward=str(tiny))
    with pytest.raises(DataError, match="there are no rows"):
        wb.best_of_n(str(tiny), reward, [])


def test_the_analytic_check_is_a_job_with_a_report(here):
    found = wb.analytic_check(steps=1, batch_size=8, kl_coef=1.0)
    assert here[-1]["changes"] == {"steps": 1, "batch_size": 8, "kl_coef": 1.0}
    assert len(found.frame) == 57 and len(found.worth) == 2 and not found.passed
    with pytest.raises(ConfigError, match="there is no setting called stps"):
        wb.analytic_check(stps=1)


def test_a_run_is_looked_at_by_name(monkeypatch, tmp_path):
    import pandas as pd

    from workbench.runs import Run, RunFolder

    (tmp_path / "ppo-1").mkdir()
    (tmp_path / "ppo-1" / "config.json").write_text('{"kind": "ppo", "name": "ppo-1"}')
    made = Run(RunFolder(tmp_path / "ppo-1"))
    rows = {"step": [1, 2], "objective/kl": [0.0, 1.0], "objective/scores": [0.0, 1.0]}
    monkeypatch.setattr(Run, "metrics", lambda self: pd.DataFrame(rows))
    monkeypatch.setattr(optimisation_limits, "open_run", lambda name: made)
    for asked in ("ppo-1", made):
        found = wb.overoptimisation(asked)
        assert (found.name, found.frames["updates"]["kl"].tolist()) == ("ppo-1", [0.0, 1.0])


def test_a_run_may_have_a_model_that_only_watches(tiny, reward, other, monkeypatch, tmp_path):
    from workbench.runs import Run

    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path))
    monkeypatch.setattr(Run, "start", lambda run, device=None: None)
    few = {**SAMPLING, "steps": 1, "keep_best": True}
    run = wb.train_ppo(str(tiny), reward, PROMPTS, heldout_reward=other, name="two", **few)
    assert run.config["inputs"]["heldout_reward"] == other
    with pytest.raises(ConfigError, match="keep_best goes by the watched score"):
        wb.train_ppo(str(tiny), reward, PROMPTS, name="one", **few)
    with pytest.raises(ModelError, match="not a reward model"):
        wb.train_ppo(str(tiny), reward, PROMPTS, heldout_reward=str(tiny), name="three", **SAMPLING)
    plain = wb.train_ppo(str(tiny), reward, PROMPTS, name="plain", **SAMPLING)
    assert "heldout_reward" not in plain.config["inputs"]
