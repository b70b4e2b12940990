import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import logsigmoid

from workbench.errors import DataError
from workbench.events import Notice, Progress
from workbench.models.encoding import Encoded
from workbench.models.forward import collate, sequence_scores
from workbench.models.roles import Roles
from workbench.models.sampling import sample_responses
from workbench.settings import RewardSettings
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.reward import members
from workbench.training.reward import reward as module
from workbench.training.reward.encoded_pairs import encode_comparisons, split
from workbench.training.reward.members import accuracy, scale_of
from workbench.training.reward.scorer import Scorer

from ...models.tiny import assistant, load, make_model, tiny_settings, user
from ..conftest import Steering, bytes_of, forget_after, metrics

LETTERS = "abcdefghijklmnop"
ROWS = [
    {
        "prompt": user(f"say {letter}"),
        "chosen": assistant(f"{letter} good"),
        "rejected": assistant(f"bad {letter}"),
        "margin": None,
    }
    for letter in LETTERS
]


def settings(**changes):
    few = {"steps": 6, "batch_size": 8, "learning_rate": 1e-2, "holdout": 0.25}
    return tiny_settings(RewardSettings, **{**few, **changes})


def train(tiny, where, rows=ROWS, **changes):
    return list(module.RewardTrainer(str(tiny), rows, settings(**changes), where).run())


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_pairs_with_a_rule_are_learned_and_the_rule_holds_on_new_prompts(tiny, place, quantization):
    found = metrics(train(tiny, place(), steps=12, quantization=quantization))
    assert found[-1]["accuracy"] == 1.0
    assert found[-1]["loss"] < 0.3 < 0.6 < found[0]["loss"]
    assert found[-1]["heldout/accuracy"] == 1.0
    assert found[-1]["margin"] > 1.0


def test_the_first_step_by_definition(tiny, place):
    """Loss, accuracy and margin of a drawn head on the untrained trunk."""
    rows = ROWS[:3]
    few = settings(holdout=0.0, batch_size=3, centering=0.5, head_start="classic")
    trainer = module.RewardTrainer(str(tiny), rows, few, place())
    seen = {}
    for at, side in enumerate(("chosen", "rejected")):
        ids = [c.answers[at].ids for c in trainer.members[0].train]
        with torch.no_grad():
            seen[side] = torch.stack(
                [
                    load(tiny).trunk(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
                    @ trainer.members[0].head.weight[0]
                    for row in ids
                ]
            ).double()
    gap = seen["chosen"] - seen["rejected"]
    centre = 0.5 * (seen["chosen"] + seen["rejected"]) ** 2
    row = trainer.train_step().metrics
    assert row["loss"] == pytest.approx(float((centre - logsigmoid(gap)).mean()), abs=1e-5)
    assert row["margin"] == pytest.approx(float(gap.mean()), abs=1e-5)
    assert row["accuracy"] == pytest.approx(float((gap > 0).double().mean()))
    assert row["score/chosen"] == pytest.approx(float(seen["chosen"].mean()), abs=1e-5)
    assert row["score/rejected"] == pytest.approx(float(seen["rejected"].mean()), abs=1e-5)


def test_a_margin_is_what_the_chosen_answer_should_win_by(tiny, place):
    """A margin of 3 asks for more: -log sigmoid(gap - 3)."""
    rows = [{**row, "margin": 3.0} for row in ROWS[:2]]
    trainer = module.RewardTrainer(
        str(tiny), rows, settings(holdout=0.0, batch_size=2, centering=0.0), place()
    )
    with torch.no_grad():
        judged = trainer.members[0].judge(trainer.members[0].train)
    expected = -logsigmoid(judged.chosen - judged.rejected - 3.0).mean()
    assert trainer.train_step().metrics["loss"] == pytest.approx(float(expected), abs=1e-6)


def test_label_smoothing_mixes_in_the_swapped_pair(tiny, place):
    trainer = module.RewardTrainer(
        str(tiny),
        ROWS[:2],
        settings(holdout=0.0, batch_size=2, centering=0.0, label_smoothing=0.2),
        place(),
    )
    with torch.no_grad():
        judged = trainer.members[0].judge(trainer.members[0].train)
    gap = judged.chosen - judged.rejected
    expected = (-0.8 * logsigmoid(gap) - 0.2 * logsigmoid(-gap)).mean()
    assert trainer.train_step().metrics["loss"] == pytest.approx(float(expected), abs=1e-6)


def test_accuracy_counts_a_tie_as_half():
    assert accuracy(torch.tensor([1.0, -1.0, 0.0, 2.0])) == 2.5 / 4


def test_micro_batches_change_no_number(tiny, place):
    whole, split = (
        metrics(train(tiny, place(str(size)), steps=3, micro_batch_tokens=size))
        for size in (4096, 16)
    )
    for one, other in zip(whole, split, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_no_prompt_is_on_both_sides_of_the_split(tiny, place):
    twice = [
        {**row, "chosen": assistant(f"{row['chosen'][0]['content']} {i}")}
        for row in ROWS
        for i in "xyz"
    ]
    trainer = module.RewardTrainer(str(tiny), twice, settings(holdout=0.3), place())
    (member,) = trainer.members
    train, held = ({c.group for c in part} for part in (member.train, member.heldout))
    assert not train & held
    assert len(train | held) == len(ROWS)
    assert len(member.train) + len(member.heldout) == len(twice)
    assert 0.3 * 48 <= len(member.heldout) < 0.3 * 48 + 3  # whole prompts of 3 pairs


def test_the_split_is_the_seeds_and_not_the_orders(tiny):
    base = load(tiny)
    found, _ = encode_comparisons(base, ROWS, settings())
    one = {c.group for c in split(found, settings())[1]}
    other = {c.group for c in split(found[::-1], settings())[1]}
    assert one == other
    assert one != {c.group for c in split(found, settings(seed=1))[1]}


@pytest.mark.parametrize(("holdout", "held"), [(0.0, 0), (0.05, 1), (0.5, 8)])
def test_the_share_that_is_held_out(tiny, holdout, held):
    base = load(tiny)
    found, _ = encode_comparisons(base, ROWS, settings())
    assert len(split(found, settings(holdout=holdout))[1]) == held


def test_one_prompt_alone_stays_for_training(tiny):
    found, _ = encode_comparisons(load(tiny), ROWS[:1] * 4, settings())
    train, held = split(found, settings(holdout=0.5))
    assert (len(train), len(held)) == (4, 0)


def test_held_out_figures_come_at_their_steps_and_at_the_end(tiny, place):
    events = train(tiny, place(), steps=5, evaluate_every=2)
    seen = [e.step for e in events if isinstance(e, Progress) and "heldout/accuracy" in e.metrics]
    assert seen == [2, 4, 5]


def test_what_its_alarms_read_is_written(tiny, reward, place):
    """The first loss of a new head, and of how many pairs, after how many, the accuracy is."""
    rows = metrics(train(tiny, place(), steps=3))
    assert rows[0]["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert not any("first_loss" in row for row in rows[1:])
    assert (rows[-1]["heldout/pairs"], rows[-1]["pairs_seen"]) == (4, 24)
    again = metrics(
        list(module.RewardTrainer(reward, ROWS, settings(steps=1), place("again")).run())
    )
    assert "first_loss" not in again[0]  # its head had learned before


def test_without_held_out_pairs_there_are_no_such_figures(tiny, place):
    assert not any("heldout/accuracy" in row for row in metrics(train(tiny, place(), holdout=0.0)))


def test_scores_read_as_mean_0_and_deviation_1(tiny, place):
    where = place()
    train(tiny, where, holdout=0.0)
    prompts = [row["prompt"] for row in ROWS for _ in "cr"]
    texts = [row[side][0]["content"] for row in ROWS for side in ("chosen", "rejected")]
    (found,) = evaluate(str(where.folder / "final"), prompts, texts, tiny_settings())
    mean = sum(found) / len(found)
    assert mean == pytest.approx(0.0, abs=1e-4)
    assert math.sqrt(sum((x - mean) ** 2 for x in found) / len(found)) == pytest.approx(
        1.0, abs=1e-4
    )
    assert sum(a > b for a, b in zip(found[::2], found[1::2], strict=True)) == len(ROWS)


def test_reward_json_holds_what_scores_are_read_with(tiny, place):
    where = place()
    trainer = module.RewardTrainer(str(tiny), ROWS, settings(steps=2), where)
    events = list(trainer.run())
    told = json.loads((where.folder / "final" / "reward.json").read_text())
    (member,) = trainer.members
    rows = [row for c in [*member.heldout, *member.train] for row in c.answers]
    with torch.no_grad(), trainer.roles.acting("reward"):
        raw = sequence_scores(trainer.base, member.head, collate(rows, trainer.base)).double()
    (last,) = [e.metrics for e in events if isinstance(e, Progress) and e.step == 2]
    assert 0 < told.pop("mean_error") < 0.5 * told["std"]
    assert 0 < told.pop("std_error") < 0.5 * told["std"]
    assert told == {
        "step": 2,
        **{f"heldout_{name}": last[f"heldout/{name}"] for name in ("loss", "accuracy", "margin")},
        "mean": pytest.approx(float(raw.mean()), abs=1e-6),
        "std": pytest.approx(float(raw.std(correction=0)), abs=1e-6),
        "answers": 32.0,  # four pairs kept aside are too few for a scale
        "sharpness": 1.0,  # four judgements are too few to tell
        "training_pairs": 12,
        "heldout_pairs": 4,
    }


def test_scores_that_are_all_equal_are_not_divided_by_zero(tiny, place):
    trainer = module.RewardTrainer(str(tiny), ROWS, settings(), place())
    with torch.no_grad():
        trainer.members[0].head.weight.zero_()
    found = trainer.members[0].normalisation()
    errors = {"mean_error": 0.0, "std_error": 0.0}
    assert found == {"mean": 0.0, "std": 1.0, "answers": 32.0, **errors}


def test_the_scale_of_scores_and_its_errors_by_hand():
    """Off the mean 3 by -2, 0 | -1, 3: of each comparison the sums are -2 and 2."""
    found = scale_of(torch.tensor([1.0, 3.0, 2.0, 6.0]).double(), torch.tensor([2, 2]))
    assert found == pytest.approx(
        {
            "mean": 3.0,
            "std": math.sqrt(3.5),
            "answers": 4.0,
            "mean_error": math.sqrt(4 + 4) / 4,
            "std_error": math.sqrt(9 + 9) / (2 * math.sqrt(3.5)) / 4,  # (0.5 - 3.5, -2.5 + 5.5)
        }
    )


def test_where_enough_pairs_are_kept_aside_they_alone_tell_the_scale(tiny, place, monkeypatch):
    """Four are kept aside of 16; no more are learned of than make up the number that is wanted."""
    (member,) = module.RewardTrainer(str(tiny), ROWS, settings(), place()).members
    assert member.measured()[:4] == member.heldout and len(member.measured()) == 16
    monkeypatch.setattr(members, "SCALED", 7)
    assert member.measured()[:4] == member.heldout and len(member.measured()) == 7
    assert all(one in member.train for one in member.measured()[4:])
    monkeypatch.setattr(members, "SCALED", 4)
    assert member.measured() == member.heldout
    monkeypatch.setattr(members, "MOST_SCALED", 3)
    assert member.measured()[:3] == member.heldout[:3] and len(member.measured()) == 4


def test_while_the_scale_is_measured_this_is_told(tiny, place, monkeypatch):
    told = []
    where = place()
    trainer = module.RewardTrainer(
        str(tiny), ROWS, settings(micro_batch_tokens=64), replace(where, tell=told.append)
    )
    list(trainer.run())
    scale = [phase for phase in told if phase.name == "measuring the scale"]
    assert {(phase.total, phase.unit) for phase in scale} == {(16, "comparisons")}
    assert scale[0].done == 0 < scale[-1].done < 16  # before each of several micro-batches


def test_answers_for_the_scale_are_the_same_however_many_are_sampled_at_once(
    tiny, place, monkeypatch
):
    settled = settings(normalise="samples")
    (member,) = module.RewardTrainer(str(tiny), ROWS, settled, place()).members

    def texts():
        rows = members.sampled(member.roles, None, member.measured(), seed=3)
        return [row.answers[0].response for row in rows]

    whole = texts()
    monkeypatch.setattr(members, "SAMPLED_AT_ONCE", 5)
    assert texts() == whole and len(whole) == 16


@pytest.mark.parametrize("louder", [0.1, 1.0, 100.0])
def test_it_starts_at_ln_2_and_steps_alike_whatever_the_norm_of_the_hidden_states(
    tmp_path, place, louder
):
    """The same model, its last norm times a number: every figure is the same but for rounding."""
    folder = make_model(tmp_path / "m")
    rows: list[list[dict[str, float]]] = []
    for factor in (1.0, louder):
        name = folder / "model.safetensors"
        weights = load_file(name)
        weights["model.norm.weight"] *= factor
        save_file(weights, name, metadata={"format": "pt"})
        few = settings(weight_decay=0.1, quantization="none")
        trainer = module.RewardTrainer(str(folder), ROWS, few, place(str(len(rows))))
        rows.append(metrics(list(trainer.run())))
    assert rows[1][0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=1e-5)


def test_what_a_heads_weights_are_counted_in(tiny, place):
    """sqrt(64) over the mean norm of what the head reads; a classic start counts in 1."""
    trainer = module.RewardTrainer(str(tiny), ROWS, settings(), place())
    (member,) = trainer.members
    rows = [answer for comparison in member.train for answer in comparison.answers]
    with torch.no_grad():
        ends = [
            load(tiny).trunk(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1]
            for row in rows
        ]
    norm = sum(float(end.norm()) for end in ends) / len(ends)
    assert trainer.optimiser.units == {"reward": 1.0, "reward head": pytest.approx(8 / norm)}
    classic = module.RewardTrainer(str(tiny), ROWS, settings(head_start="classic"), place())
    assert classic.optimiser.units == {"reward": 1.0, "reward head": 1.0}


def test_a_classic_head_is_trained_and_starts_from_its_seed(tiny, place):
    few = settings(seed=3, head_start="classic")
    trainer = module.RewardTrainer(str(tiny), ROWS, few, place())
    start = torch.randn(1, 64, generator=torch.Generator().manual_seed(3)) / math.sqrt(65)
    assert torch.equal(trainer.members[0].head.weight, start)
    trainer.train_step()
    assert not torch.equal(trainer.members[0].head.weight, start)


def test_it_goes_on_from_a_reward_model_with_its_head(reward, place):
    where = place()
    trainer = module.RewardTrainer(reward, ROWS, settings(steps=1, learning_rate=0.0), where)
    list(trainer.run())
    assert bytes_of(where.folder / "final") == bytes_of(Path(reward))


def test_it_may_start_from_an_sft_adapter(tuned, place):
    trainer = module.RewardTrainer(tuned, ROWS, settings(), place())
    assert trainer.base.source.adapter is not None
    tables = trainer.roles.parameters("reward")
    assert all(bool(t.abs().sum() > 0) for t in tables)  # B too: it is not a fresh adapter


def test_pairs_that_do_not_fit_are_left_out_counted_and_told(tiny, place):
    long = {**ROWS[0], "rejected": assistant(" ".join("a" * 40))}
    events = train(tiny, place(), rows=[*ROWS, long], steps=1)
    told = [e.message for e in events if isinstance(e, Notice) and e.kind == "warning"]
    assert told[0] == "1 of 17 pairs were left out: an answer fills max_length"


def test_no_usable_pair_is_an_error(tiny, place):
    long = {**ROWS[0], "rejected": assistant(" ".join("a" * 40))}
    with pytest.raises(DataError, match="no pair is left") as caught:
        train(tiny, place(), rows=[long])
    assert "1 rows, max_length = 32" in caught.value.where and caught.value.fix


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_interrupted_and_resumed_is_as_never_interrupted(tiny, place, how):
    """Stopped in the middle of step 4 (2 micro-batches a step); killed after 3, saved at 2."""
    changes = {"checkpoint_every": 2, "evaluate_every": 2, "quantization": "nf4"}
    changes |= {"micro_batch_tokens": 64}
    straight, broken = place("straight"), place("broken")
    expected = metrics(train(tiny, straight, **changes))
    if how == "stopped":
        done = 3
        seen = train(tiny, place("broken", Steering(stop_at=8)), **changes)
        assert metrics(seen) == expected[:done]
    else:
        done = 2
        events = module.RewardTrainer(str(tiny), ROWS, settings(**changes), broken).run()
        next(e for e in events if isinstance(e, Progress) and e.step == 3)
        events.close()
    assert metrics(train(tiny, broken, **changes)) == expected[done:]
    assert bytes_of(broken.folder) == bytes_of(straight.folder)


def test_the_learning_rate_is_live(tiny, place):
    where = place(controls=Steering(changes={2: {"learning_rate": 0.25}}))
    found = metrics(train(tiny, where, steps=3, schedule="constant"))
    assert [row["learning_rate"] for row in found] == pytest.approx([1e-2, 0.25, 0.25])


def test_an_auto_rate_goes_by_the_width_and_is_told(tiny, place):
    """Width 64 is a fifth of the way below 128: 2e-3 times 20 ** (1 / 5); 8 pairs are a quarter.

    The head's: 2e-3 times (2e-3 / 3.5e-4) ** (1 / 5), in batches of any size.
    """
    made = module.RewardTrainer(str(tiny), ROWS, settings(learning_rate="auto"), place())
    rate = pytest.approx(2e-3 * 20 ** (1 / 5) / 2)
    head = pytest.approx(2e-3 * (2 / 0.35) ** (1 / 5))
    assert made.optimiser.rates == {"reward": rate, "reward head": head}
    assert next(made.run()).data["learning_rate"] == rate
    made.set_live("learning_rate", 0.5)
    assert made.optimiser.rates == {"reward": 0.5, "reward head": 0.5}
    made.set_live("learning_rate", "auto")
    assert made.optimiser.rates == {"reward": rate, "reward head": head}


def test_a_head_that_is_something_already_learns_as_its_adapter(tiny, place):
    classic = settings(learning_rate="auto", head_start="classic")
    made = module.RewardTrainer(str(tiny), ROWS, classic, place())
    assert made.optimiser.rates["reward head"] == made.optimiser.rates["reward"]


def test_a_batch_that_was_left_open_goes_by_the_number_of_pairs_and_is_told(tiny, place):
    """24 pairs, 18 of them to learn from: 8 at once, and round(18 / 8) steps of them."""
    rows = [{**row, "prompt": user(f"{i}")} for i, row in enumerate((ROWS * 24)[:24])]
    made = module.RewardTrainer(str(tiny), rows, settings(batch_size=0, steps=0), place())
    assert next(made.run()).data["batch_size"] == 8 == len(made.members[0].batch(0))
    assert made.total == 2
    asked = module.RewardTrainer(str(tiny), rows, settings(batch_size=5, steps=0), place())
    assert len(asked.members[0].batch(0)) == 5 and asked.total == 4
    again = module.RewardTrainer(
        str(tiny), rows, settings(batch_size=0, steps=0, epochs=4.0), place()
    )
    assert len(again.members[0].batch(0)) == 32 and again.total == 2  # round(4 × 18 / 32)


def test_few_pairs_are_warned_of(tiny, place, monkeypatch):
    for enough, warned in ((13, True), (12, False)):
        monkeypatch.setattr(module, "ENOUGH", enough)
        made = module.RewardTrainer(str(tiny), ROWS, settings(), place())
        assert any("12 pairs to learn from" in text for text in made.notices) == warned


# --- the best weights ----------------------------------------------------------------------------


def held(trainer, losses):
    """Say what the held-out losses of the evaluations are."""
    (member,) = trainer.members
    told = iter(losses)
    member.evaluate = lambda: {"heldout/loss": next(told), "heldout/accuracy": 0.5}
    return member


def test_the_weights_of_the_lowest_held_out_loss_are_the_final_ones(tiny, place):
    """Losses 3, 1, 2, NaN, 1: the second evaluation is the best, and the first of its equals."""
    where = place()
    few = settings(steps=5, evaluate_every=1)
    trainer = module.RewardTrainer(str(tiny), ROWS, few, where)
    held(trainer, [3.0, 1.0, 2.0, float("nan"), 1.0])
    list(trainer.run())
    told = json.loads((where.folder / "final" / "reward.json").read_text())
    assert (told["step"], told["heldout_loss"]) == (2, 1.0)
    short = place("short")
    list(
        module.RewardTrainer(
            str(tiny), ROWS, few.changed(steps=2, schedule="constant"), short
        ).run()
    )
    again = module.RewardTrainer(str(tiny), ROWS, few.changed(schedule="constant"), place("again"))
    held(again, [3.0, 1.0, 2.0, 2.0, 2.0])
    list(again.run())
    assert bytes_of(place("again").folder / "final") == bytes_of(short.folder / "final")


def test_the_last_weights_stay_where_that_is_asked_for(tiny, place):
    where = place()
    few = settings(steps=2, evaluate_every=1, keep_best=False)
    trainer = module.RewardTrainer(str(tiny), ROWS, few, where)
    member = held(trainer, [1.0, 2.0])
    list(trainer.run())
    assert "step" not in json.loads((where.folder / "final" / "reward.json").read_text())
    last, best = member.optimiser.parameters, member.best.weights
    assert not all(torch.equal(a.detach(), b) for a, b in zip(last, best, strict=True))


def test_out_of_patience_it_stops_and_says_so(tiny, place):
    where = place()
    few = settings(steps=9, evaluate_every=1, patience=2)
    trainer = module.RewardTrainer(str(tiny), ROWS, few, where)
    held(trainer, [2.0, 1.0, 1.5, 1.0, 0.1])
    events = list(trainer.run())
    assert metrics(events)[-1]["heldout/loss"] == 1.0 and len(metrics(events)) == 4
    (told,) = [e.message for e in events if isinstance(e, Notice) and "stopped at" in e.message]
    assert "stopped at step 4 of 9" in told and "2 evaluations" in told
    assert [e.total_steps for e in events if isinstance(e, Progress)][-1] == 4
    assert json.loads((where.folder / "final" / "reward.json").read_text())["step"] == 2


def test_patience_and_the_best_weights_survive_a_kill(tiny, place):
    """Killed after step 3, saved there: two evaluations without a lower loss, and no more steps."""
    changes = {"evaluate_every": 1, "patience": 2, "checkpoint_every": 1, "steps": 9}
    straight, broken = place("straight"), place("broken")
    for where in (straight, broken):
        trainer = module.RewardTrainer(str(tiny), ROWS, settings(**changes), where)
        held(trainer, [1.0, 2.0, 2.0])
        list(trainer.run())
    forget_after(broken.folder, 3)
    again = module.RewardTrainer(str(tiny), ROWS, settings(**changes), broken)
    assert metrics(list(again.run())) == []
    assert bytes_of(broken.folder) == bytes_of(straight.folder)
    told = json.loads((broken.folder / "final" / "reward.json").read_text())
    assert told["step"] == 1


# --- what scores are measured on -----------------------------------------------------------------


@pytest.mark.parametrize("start", ["base", "sft"])
def test_scores_of_what_the_start_model_says_have_mean_0(tiny, tuned, place, start):
    """Item 23: the same answers, sampled again, have normalised scores of mean 0, deviation 1."""
    where = place()
    model = str(tiny) if start == "base" else tuned
    trainer = module.RewardTrainer(model, ROWS, settings(normalise="samples"), where)
    (member,) = trainer.members
    assert member.start == (None if start == "base" else "start")
    list(trainer.run())
    stats = json.loads((where.folder / "final" / "reward.json").read_text())
    assert stats["answers"] == 16  # one to each prompt
    roles = Roles(load(tiny), tiny_settings())
    if start == "sft":
        roles.add("start", trainable=False, source=Path(tuned))
    prompts = [c.answers[0].prompt for c in member.measured()]
    generator = torch.Generator().manual_seed(0)
    with roles.acting(None if start == "base" else "start"):
        answers = sample_responses(
            roles.base, prompts, length=3, temperature=1.0, generator=generator
        )
    own = Roles(load(tiny), tiny_settings())
    scorer = Scorer.attach(str(where.folder / "final"), own, tiny_settings())
    found = scorer.scores([Encoded(*row) for row in zip(prompts, answers, strict=True)], tokens=99)
    assert float(found.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(found.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


# --- ties and margins ----------------------------------------------------------------------------


def test_a_tie_pulls_both_answers_together(tiny, place):
    """Half-half: -(log sigmoid(gap) + log sigmoid(-gap)) / 2, lowest where the gap is 0."""
    one, other = assistant("a good"), assistant("bad a")
    tie = [
        {"prompt": user("a"), "chosen": c, "rejected": r, "margin": None, "weight": 0.5}
        for c, r in ((one, other), (other, one))
    ]
    trainer = module.RewardTrainer(
        str(tiny), tie, settings(steps=20, holdout=0.0, batch_size=1, centering=0.0), place()
    )
    (member,) = trainer.members
    with torch.no_grad():
        first, second = member.score(member.train)
    gap = (first - second).double()
    expected = -(logsigmoid(gap) + logsigmoid(-gap)) / 2
    found = metrics(list(trainer.run()))
    assert found[0]["loss"] == pytest.approx(float(expected), abs=1e-6)
    assert found[0]["accuracy"] == 0.5
    assert found[-1]["loss"] == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize(
    ("meaning", "gaps", "weights"),
    [
        ("gap", [3.0, 1.0, 0.0], [1.0, 1.0, 1.0]),
        ("weight", [0.0, 0.0, 0.0], [1.5, 0.5, 1.0]),  # 3 and 1 have the mean 2
        ("ignore", [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
    ],
)
def test_what_a_margin_or_strength_means(tiny, meaning, gaps, weights):
    rows = [{**row, "margin": m} for row, m in zip(ROWS, (3.0, 1.0, None), strict=False)]
    found, _ = encode_comparisons(load(tiny), rows[:3], settings(margins=meaning))
    judged = [judgement for comparison in found for judgement in comparison.judgements]
    assert [j.margin for j in judged] == gaps
    assert [j.weight for j in judged] == weights
