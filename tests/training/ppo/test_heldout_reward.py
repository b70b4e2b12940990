"""What is watched beside the reward; the best update by the watched score is what stays."""

import math

import pytest
import torch
from safetensors.torch import load_file

from workbench.errors import ConfigError, ModelError
from workbench.events import Finished, Notice, Progress, StopRequested
from workbench.models.encoding import Encoded
from workbench.settings import PPOSettings
from workbench.training import batch_jobs
from workbench.training.ppo import ppo
from workbench.training.ppo.heldout_reward import WINDOW, perplexity, repeated_grams, shared_grams

from ...models.tiny import tiny_settings
from ..conftest import PROMPTS, Steering, bytes_of, forget_after, make_adapter, metrics


def settings(**changes):
    few = {
        "steps": 8,
        "batch_size": 4,
        "epochs": 1,
        "mini_batches": 1,
        "response_length": 6,
        "learning_rate": 1e-2,
        "value_learning_rate": 1e-2,
        "schedule": "constant",
        "watch_every": 0,
    }
    return tiny_settings(PPOSettings, **{**few, **changes})


@pytest.fixture(scope="session")
def heldout(tiny, tmp_path_factory):
    return str(make_adapter(tmp_path_factory.mktemp("heldout"), tiny, 21, reward=True))


def trainer(model, reward, where, heldout, **changes):
    return ppo.PPOTrainer(
        str(model), reward, PROMPTS, settings(**changes), where, None, heldout=heldout
    )


def told(made, scores):
    """Run it with these watched scores, one an update."""
    left = list(scores)

    class Fixed:
        def mean_scores(self, rows, prompts):
            return torch.full((len(rows),), left.pop(0))

    made.watch.reward = Fixed()
    return list(made.run())


# --- measures ------------------------------------------------------------------------------------


def test_repetition_is_the_share_of_phrases_that_came_before():
    """abcabca: phrases abc bca cab abc bca, two of five came before. abc: one phrase, new."""
    assert repeated_grams([[1, 2, 3, 1, 2, 3, 1]]) == pytest.approx(0.4)
    assert repeated_grams([[1, 2, 3, 1, 2, 3, 1], [1, 2, 3]]) == pytest.approx(0.2)
    assert repeated_grams([[1, 2], []]) == 0.0  # too short for a phrase
    assert repeated_grams([[7] * 12]) == pytest.approx(0.9)


def test_shared_phrases_are_those_that_answers_to_other_prompts_say_too():
    def row(prompt, *response):
        return Encoded([prompt], list(response))

    # abc stands in one other's answer, bcd in none; an answer too short for a phrase counts as 0
    assert shared_grams([row(1, 1, 2, 3, 4), row(2, 1, 2, 3), row(3, 9)]) == pytest.approx(0.5)
    # the same prompt twice is no other prompt
    assert shared_grams([row(1, 1, 2, 3), row(1, 1, 2, 3), row(2, 7, 8, 9)]) == 0.0
    assert shared_grams([row(1, 1, 2, 3)]) == 0.0
    # of eight others a quarter is two: one is too few
    alone = [row(n, n, n, n) for n in range(10, 17)]
    assert shared_grams([*alone, row(1, 1, 2, 3), row(2, 1, 2, 3)]) == 0.0
    assert shared_grams([*alone[:6], *(row(n, 1, 2, 3) for n in (1, 2, 3))]) == pytest.approx(3 / 9)


def test_perplexity_of_a_uniform_choice_is_the_number_of_choices():
    mask = torch.tensor([[True, True], [True, False]])
    logprobs = torch.tensor([[0.25, 0.25], [0.25, 1.0]]).log()
    assert perplexity(logprobs, mask) == pytest.approx(4.0)


def test_every_update_says_what_the_reference_makes_of_the_answers(tiny, reward, place):
    made = trainer(tiny, reward, place(), None)
    seen = []
    real = made._measured
    made._measured = lambda *a: seen.append(real(*a)) or seen[-1]
    row = made.train_step().metrics
    mask, logs = seen[0].response_mask, seen[0].ref_logprobs
    assert row["response/ref_perplexity"] == pytest.approx(math.exp(-float(logs[mask].mean())))
    assert row["response/repetition"] == repeated_grams([r.response for r in seen[0].rows])
    assert row["response/shared"] == shared_grams(seen[0].rows)
    assert "heldout/scores" not in row


def test_the_heldout_score_is_that_model_s_score_of_the_answers(tiny, reward, heldout, place):
    made = trainer(tiny, reward, place(), heldout)
    seen = []
    real = made._measured
    made._measured = lambda *a: seen.append((real(*a), a[1])) or seen[-1][0]
    row = made.train_step().metrics
    episodes, prompts = seen[0]
    ended = [i for i in range(4) if bool(episodes.ended[i])]
    texts = [made.encoder.decode(r.response) for r in episodes.rows]
    (expected,) = batch_jobs.scores(heldout, prompts, texts, settings())
    found = made.watch.reward.mean_scores(episodes.rows, prompts)
    assert row["heldout/scores"] == pytest.approx(float(found.mean()))
    for i in ended:
        assert float(found[i]) == pytest.approx(expected[i], abs=1e-5)
    (other,) = batch_jobs.scores(reward, prompts, texts, settings())
    assert expected != pytest.approx(other)


def test_a_heldout_model_changes_nothing_that_is_learned(tiny, reward, heldout, place):
    def told_by(name, watching):
        events = list(trainer(tiny, reward, place(name), watching, steps=3).run())
        rows = [
            {k: v for k, v in row.items() if not k.startswith("heldout/")}
            for row in metrics(events)
        ]
        return rows, bytes_of(place(name).folder / "final")

    assert told_by("with", heldout) == told_by("without", None)


def test_a_heldout_model_on_another_base_reads_the_text(tiny, reward, place, tmp_path):
    from ...models.tiny import make_model

    beside = make_model(tmp_path / "beside", seed=5)
    watching = str(make_adapter(tmp_path / "reward", beside, 3, reward=True))
    made = trainer(tiny, reward, place(), watching)
    assert math.isfinite(made.train_step().metrics["heldout/scores"])


# --- the best update -----------------------------------------------------------------------------


def weights(made):
    return [p.detach().clone() for p in made.roles.parameters("policy")]


def test_the_best_update_is_what_final_holds(tiny, reward, heldout, place):
    """Means of five: 1 to 5 is 1.0, 2 to 6 is 2.2, 3 to 7 is 1.8: update 6 was the best."""
    made = trainer(tiny, reward, place(), heldout, keep_best=True)
    before = []
    real = made._measured
    made._measured = lambda *a: before.append(weights(made)) or real(*a)
    events = told(made, [0.0, 0.0, 1.0, 2.0, 2.0, 6.0, -2.0, 0.0])
    assert made.watch.best.step == 6
    steps = [e.metrics["heldout/best_step"] for e in events if isinstance(e, Progress)]
    assert steps == [None] * (WINDOW - 1) + [5.0, 6.0, 6.0, 6.0]
    notices = [e.message for e in events if isinstance(e, Notice) and e.kind == "warning"]
    assert notices == [
        "final/ is the policy of update 6, the best by the watched score (+2.20, mean of 5 updates)"
    ]
    saved = load_file(str(place().folder / "final" / "adapter_model.safetensors"))
    kept = sorted(float(t.double().sum()) for t in saved.values())
    assert kept == pytest.approx(sorted(float(t.double().sum()) for t in before[5]))
    last = sorted(float(t.double().sum()) for t in weights(made))  # training's own are untouched
    assert last != pytest.approx(kept)


def test_without_keep_best_final_is_the_last_policy(tiny, reward, heldout, place):
    made = trainer(tiny, reward, place(), heldout)
    told(made, [9.0] * 5 + [0.0] * 3)
    saved = load_file(str(place().folder / "final" / "adapter_model.safetensors"))
    last = sorted(float(t.double().sum()) for t in weights(made))
    assert sorted(float(t.double().sum()) for t in saved.values()) == pytest.approx(last)


def test_a_run_too_short_to_have_a_best_says_so(tiny, reward, heldout, place):
    made = trainer(tiny, reward, place(), heldout, keep_best=True, steps=2)
    events = told(made, [1.0, 2.0])
    assert any("final/ is the last policy" in e.message for e in events if isinstance(e, Notice))


def test_patience_stops_a_run_that_gets_no_better(tiny, reward, heldout, place):
    made = trainer(tiny, reward, place(), heldout, steps=20, patience=3, keep_best=True)
    events = told(made, [1.0] * 5 + [0.0] * 15)  # the best is update 5
    rows = [e for e in events if isinstance(e, Progress)]
    assert [rows[-1].step, rows[-1].total_steps] == [8, 8]
    assert events[-1] == Finished(8, stopped=False)
    said = [e.message for e in events if isinstance(e, Notice) and e.kind == "warning"]
    assert said[0].startswith("stopped after update 8: the watched score was best at 5")
    assert "final/ is the policy of update 5" in said[1]


def test_patience_runs_to_the_end_where_it_gets_better(tiny, reward, heldout, place):
    made = trainer(tiny, reward, place(), heldout, patience=2)
    events = told(made, [float(n) for n in range(8)])
    assert events[-1] == Finished(8, stopped=False)
    assert not [e for e in events if isinstance(e, Notice) and e.kind == "warning"]


def test_a_resumed_run_remembers_its_best(tiny, reward, heldout, place):
    given = {"keep_best": True, "checkpoint_every": 1, "keep_checkpoints": 9}
    whole = list(trainer(tiny, reward, place("whole"), heldout, **given).run())
    list(trainer(tiny, reward, place("cut"), heldout, **given).run())
    forget_after(place("cut").folder, 6)
    rest = list(trainer(tiny, reward, place("cut"), heldout, **given).run())
    assert metrics(rest) == metrics(whole)[6:]
    assert bytes_of(place("cut").folder / "final") == bytes_of(place("whole").folder / "final")


def test_a_stop_within_an_update_forgets_what_it_was_told(tiny, reward, heldout, place):
    steering = Steering()
    made = trainer(tiny, reward, place(controls=steering), heldout, keep_best=True)
    made.train_step()
    made.step += 1
    recent = list(made.watch.best.recent)
    steering.stop_at = 2 * steering.safe_points  # the last one of an update is in its steps
    with pytest.raises(StopRequested):
        made.train_step()
    assert made.watch.best.recent == recent


@pytest.mark.parametrize("changes", [{"keep_best": True}, {"patience": 4}])
def test_the_best_needs_a_heldout_model(tiny, reward, place, changes):
    with pytest.raises(ConfigError, match=f"{next(iter(changes))} goes by the watched score"):
        trainer(tiny, reward, place(), None, **changes)


def test_what_watches_must_be_a_reward_model(tiny, reward, tuned, place):
    with pytest.raises(ModelError, match="not a reward model"):
        trainer(tiny, reward, place(), tuned)
