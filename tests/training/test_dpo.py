"""DPO: its step by definition, what it learns, how it is steered, stopped and resumed."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import logsigmoid

from workbench.errors import DataError
from workbench.events import Notice, Progress
from workbench.models.encoding import Encoded
from workbench.settings import DPOSettings
from workbench.training import dpo as module
from workbench.training.checkpoint import load_checkpoint

from ..models.tiny import assistant, tiny_settings, user
from .conftest import Steering, bytes_of, fill, forget_after, metrics

LETTERS = "abcdefghijklmnop"
ROWS = [
    {
        "prompt": user(f"{letter} " * (1 + i % 3)),
        "chosen": assistant(f"{letter} good" + " good" * (i % 2)),
        "rejected": assistant("bad " * (1 + i % 4) + letter),
        "margin": None,
    }
    for i, letter in enumerate(LETTERS)
]


def settings(**changes):
    few = {"steps": 6, "batch_size": 8, "learning_rate": 1e-2, "holdout": 0.25, "watch_every": 3}
    few |= {"watch_prompts": 2, "response_length": 6, "evaluate_every": 2}
    return tiny_settings(DPOSettings, **{**few, **changes})


def train(tiny, where, rows=ROWS, judge=None, reward=None, reference=None, **changes):
    more = {"judge": judge, "reward": reward, "reference": reference}
    return list(module.DPOTrainer(str(tiny), rows, settings(**changes), where, **more).run())


def trainer_of(tiny, where, rows=ROWS, **changes):
    return module.DPOTrainer(str(tiny), rows, settings(**changes), where)


def alone(base, answer: Encoded) -> torch.Tensor:
    """Summed log-probability of a response, by a forward pass of its own."""
    logits = base.model(input_ids=torch.tensor([answer.ids])).logits[0].double()
    logprobs = logits.log_softmax(-1)
    start = len(answer.prompt)
    return sum(logprobs[start + i - 1, token] for i, token in enumerate(answer.response))


def by_hand(trainer, batch, loss_of):
    """The mean of a loss over a batch, each answer in passes of its own; for gradients too."""
    losses, roles = [], trainer.roles
    for i in batch:
        comparison = trainer.comparisons[i]
        (judged,) = comparison.judgements
        answers = comparison.answers[judged.chosen], comparison.answers[judged.rejected]
        with roles.acting("policy"):
            policy = [alone(trainer.base, answer) for answer in answers]
        with torch.no_grad(), roles.acting(trainer.reference):
            reference = [alone(trainer.base, answer) for answer in answers]
        gains = [a - b for a, b in zip(policy, reference, strict=True)]
        losses.append(loss_of(*gains, *(len(answer.response) for answer in answers)))
    return torch.stack(losses).mean()


LOSSES = {  # as TRL 1.16 writes them
    "sigmoid": lambda c, r, nc, nr: -logsigmoid(0.1 * (c - r)),
    "sigmoid_norm": lambda c, r, nc, nr: -logsigmoid(0.1 * (c / nc - r / nr)),
    "ipo": lambda c, r, nc, nr: (c / nc - r / nr - 1 / (2 * 0.1)) ** 2,
}


@pytest.mark.parametrize("loss_type", LOSSES)
def test_packed_rows_equal_separate_passes_in_loss_and_gradients(tiny, place, loss_type):
    trainer = trainer_of(tiny, place(), loss_type=loss_type, micro_batch_tokens=40)
    fill(trainer.roles, "policy", 5, std=0.05)  # no longer the reference
    batch = [0, 3, 5, 6, 9]
    expected = by_hand(trainer, batch, LOSSES[loss_type])
    expected.backward()
    gradients = [p.grad.clone() for p in trainer.optimiser.parameters]
    for parameter in trainer.optimiser.parameters:
        parameter.grad = None
    assert trainer._gradients(batch)["loss"] == pytest.approx(expected.item(), abs=1e-5)
    assert any(float(gradient.abs().max()) > 1e-4 for gradient in gradients)
    for parameter, gradient in zip(trainer.optimiser.parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-5)


def test_cdpo_by_definition(tiny, place):
    trainer = trainer_of(tiny, place(), label_smoothing=0.2)
    fill(trainer.roles, "policy", 5, std=0.05)

    def loss(c, r, nc, nr):
        u = 0.1 * (c - r)
        return -0.8 * logsigmoid(u) - 0.2 * logsigmoid(-u)

    expected = by_hand(trainer, [1, 2, 4], loss)
    assert trainer._gradients([1, 2, 4])["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_the_metrics_by_definition(tiny, place):
    trainer = trainer_of(tiny, place())
    fill(trainer.roles, "policy", 5, std=0.05)
    batch, seen = [0, 1, 2], []
    by_hand(trainer, batch, lambda c, r, nc, nr: seen.append((float(c), float(r))) or c)
    found = trainer._gradients(batch)
    chosen, rejected = (torch.tensor(side).double() for side in zip(*seen, strict=True))
    assert found["rewards/chosen"] == pytest.approx(0.1 * float(chosen.mean()), abs=1e-5)
    assert found["rewards/rejected"] == pytest.approx(0.1 * float(rejected.mean()), abs=1e-5)
    gap = float((chosen - rejected).mean())
    assert found["rewards/margins"] == pytest.approx(0.1 * gap, abs=1e-5)
    share = float((chosen > rejected).double().mean())
    assert found["rewards/accuracies"] == pytest.approx(share)
    with torch.no_grad(), trainer.roles.acting("policy"):
        sums = [
            float(alone(trainer.base, c.answers[c.judgements[0].chosen]))
            for c in trainer.comparisons[:3]
        ]
    assert found["logps/chosen"] == pytest.approx(sum(sums) / 3, abs=1e-4)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_rule_is_learned_and_holds_on_new_prompts(tiny, place, quantization):
    found = metrics(train(tiny, place(), steps=14, quantization=quantization))
    first, last = found[0], found[-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)  # the policy is its reference
    assert (first["rewards/margins"], first["rewards/accuracies"]) == (0.0, 0.5)
    assert last["loss"] < 0.5 and last["rewards/accuracies"] == 1.0
    assert last["heldout/accuracy"] == 1.0 and last["heldout/margin"] > 0.2
    assert last["rewards/chosen"] > last["rewards/rejected"]
    assert last["objective/kl"] > first["objective/kl"] >= 0.0


def test_the_reference_is_asked_once_for_each_answer(tiny, place, monkeypatch):
    trainer = trainer_of(tiny, place(), holdout=0.0, steps=6, watch_every=0)
    asked = []
    real = trainer._logprobs
    monkeypatch.setattr(
        trainer, "_logprobs", lambda role, laid: asked.append(role) or real(role, laid)
    )
    list(trainer.run())
    steps, passes = trainer.total, len(ROWS) // trainer.settings.batch_size
    assert (asked.count("policy"), asked.count(None)) == (steps, passes)
    assert not trainer.ref_logprobs.isnan().any()


def test_watched_answers_have_the_exact_kl_scores_and_gold(tiny, place, reward):
    events = train(tiny, place(), reward=reward, judge=lambda prompt, text: float(len(text)))
    rows = [event for event in events if isinstance(event, Progress)]
    watched = [event for event in rows if event.samples]
    assert [event.step for event in watched] == [1, 4, 6]
    for event in watched:
        assert len(event.samples) == 2
        for name, key in (("kl", "kl"), ("scores", "score"), ("gold", "gold")):
            mean = sum(sample[key] for sample in event.samples) / 2
            assert event.metrics[f"objective/{name}"] == pytest.approx(mean, abs=1e-6)
    without = [e for e in train(tiny, place("no")) if isinstance(e, Progress)]
    assert "objective/scores" not in without[0].metrics and "score" not in without[0].samples[0]
    names = ("loss", "rewards/margins")
    assert [[e.metrics[n] for n in names] for e in without] == [
        [e.metrics[n] for n in names] for e in rows
    ]  # what watches changes nothing


def test_an_adapters_reference_is_that_adapter(tuned, place):
    trainer = trainer_of(tuned, place())
    assert trainer.reference == "reference"
    found = trainer._gradients([0, 1])
    assert (found["loss"], found["rewards/chosen"]) == (pytest.approx(math.log(2), abs=1e-6), 0.0)
    folder = Path(trainer.place.folder) / "out"
    folder.mkdir()
    trainer.write_final(folder)
    assert (folder / "reference" / "adapter_model.safetensors").is_file()


def test_ties_count_half_for_each_order_and_margins_are_asked_for(tiny, place):
    sides = {"chosen": assistant("a good"), "rejected": assistant("bad")}
    swapped = {"chosen": sides["rejected"], "rejected": sides["chosen"]}
    tie = [{"prompt": user("a"), **way, "weight": 0.5} for way in (sides, swapped)]
    trainer = trainer_of(tiny, place(), rows=tie, holdout=0.0)
    fill(trainer.roles, "policy", 5, std=0.05)
    (comparison,) = trainer.comparisons
    assert [j.weight for j in comparison.judgements] == [0.5, 0.5]
    found = trainer._gradients([0])
    assert found["rewards/margins"] == pytest.approx(0.0, abs=1e-7)
    trainer = trainer_of(tiny, place("m"), rows=[{"prompt": user("a"), **sides, "margin": 2.0}])
    assert trainer._gradients([0])["loss"] == pytest.approx(math.log(1 + math.exp(2)), abs=1e-5)


def test_beta_and_the_rate_are_steered(tiny, place):
    controls = Steering(changes={3: {"beta": 0.5, "learning_rate": 0.0}})
    events = train(tiny, place(controls=controls), schedule="constant")
    found = metrics(events)
    assert [row["beta"] for row in found] == [0.1, 0.1, 0.5, 0.5, 0.5, 0.5]
    assert [row["learning_rate"] for row in found][2:] == [0.0] * 4
    told = [e.message for e in events if isinstance(e, Notice) and e.kind == "changed"]
    assert told == ["beta is now 0.5", "learning_rate is now 0.0"]


@pytest.mark.parametrize("watch_every", [0, 2])
def test_stopped_at_any_safe_point_and_resumed_it_is_the_same_run(tiny, place, watch_every):
    same = {"watch_every": watch_every, "micro_batch_tokens": 40}
    whole = place("whole")
    expected = metrics(train(tiny, whole, **same))
    for stop_at in (2, 7, 12, *([20] if watch_every else [])):
        where = place(f"stop{stop_at}", Steering(stop_at=stop_at))
        first = metrics(train(tiny, where, **same))
        rest = metrics(train(tiny, place(f"stop{stop_at}"), **same))
        assert first + rest == expected
        assert bytes_of(where.folder / "final") == bytes_of(whole.folder / "final")


def test_resumed_from_a_checkpoint_the_reference_is_not_asked_again(tiny, place):
    where = place()
    expected = metrics(train(tiny, where, checkpoint_every=2, keep_checkpoints=9))
    before = bytes_of(where.folder / "final")
    forget_after(where.folder, 4)
    kept = load_checkpoint(where.folder)[1]["ref_logprobs"]
    assert not kept.isnan().any()  # 8 comparisons of 12 a step, and those kept aside
    assert metrics(train(tiny, where, checkpoint_every=2)) == expected[4:]
    assert bytes_of(where.folder / "final") == before


def test_memory_that_runs_out_halves_the_micro_batches_and_changes_nothing(
    tiny, place, monkeypatch
):
    expected = metrics(train(tiny, place("whole"), watch_every=0))
    real, failed = module.DirectTrainer._compare, []

    def scarce(self, group):
        if not failed and len(group) > 1:
            failed.append(1)
            raise torch.OutOfMemoryError("injected")
        return real(self, group)

    monkeypatch.setattr(module.DirectTrainer, "_compare", scarce)
    events = train(tiny, place("scarce"), watch_every=0)
    assert any("memory ran out" in e.message for e in events if isinstance(e, Notice))
    for mine, its in zip(expected, metrics(events), strict=True):
        assert its == pytest.approx(mine, abs=1e-4)


def test_final_loads_with_transformers_and_peft_alone(tiny, place):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    where = place()
    trainer = trainer_of(tiny, where)
    list(trainer.run())
    final = where.folder / "final"
    base = AutoModelForCausalLM.from_pretrained(str(tiny))
    policy = PeftModel.from_pretrained(base, str(final)).eval()
    answer = trainer.comparisons[0].answers[0]
    with torch.no_grad(), trainer.roles.acting("policy"):
        expected = alone(trainer.base, answer)
        logits = policy(input_ids=torch.tensor([answer.ids])).logits[0].double().log_softmax(-1)
    start = len(answer.prompt) - 1
    found = sum(logits[start + i, token] for i, token in enumerate(answer.response))
    assert float(found) == pytest.approx(float(expected), abs=1e-4)
    card = (final / "README.md").read_text()
    assert "A policy trained by DPO" in card and "rewards/margins" in card


def test_without_a_usable_pair_it_says_so(tiny, place):
    same = [{"prompt": user("a"), "chosen": assistant("b"), "rejected": assistant("b")}]
    with pytest.raises(DataError, match="no pair is left"):
        trainer_of(tiny, place(), rows=same)


def test_a_model_that_does_not_pack_learns_the_same(tiny, place, monkeypatch):
    expected = metrics(train(tiny, place("packed"), watch_every=0))
    for name in ("packs",):
        monkeypatch.setattr(module, name, lambda model: "in this test")
    monkeypatch.setattr("workbench.models.forward.packs", lambda model: "in this test")
    found = metrics(train(tiny, place("padded"), watch_every=0))
    for mine, its in zip(expected, found, strict=True):
        assert its == pytest.approx(mine, abs=1e-4)
