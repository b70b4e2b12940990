"""The step loop, on its simplest trainer."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import workbench.training.checkpoint as checkpoint_module
from workbench.errors import DataError, ModelError, RunError
from workbench.events import Finished, NoControls, Notice, Phase, Progress, Saved
from workbench.settings import DPOSettings, PPOSettings, RewardSettings, SFTSettings
from workbench.training import loop, sft
from workbench.training.checkpoint import checkpoints
from workbench.training.checks.memory_plan import Ways
from workbench.training.dpo import DPOTrainer
from workbench.training.ppo.ppo import PPOTrainer
from workbench.training.reward.reward import RewardTrainer

from ..models.tiny import assistant, tiny_settings, user
from .conftest import PROMPTS, Steering, bytes_of, forget_after, metrics

ROWS = [{"prompt": user(f"say {w}"), "response": assistant(f"{w} {w}")} for w in "abcdefg"]
PAIRS = [
    {"prompt": user(f"say {w}"), "chosen": assistant(f"{w} {w}"), "rejected": assistant("h")}
    for w in "abcdefg"
]


def settings(**changes):
    few = {"steps": 4, "batch_size": 3, "learning_rate": 1e-2, "micro_batch_tokens": 16}
    few["watch_prompts"] = 0  # the loop is looked at, not what a run looks at
    return tiny_settings(SFTSettings, **{**few, **changes})


def run(tiny, place, **changes):
    return list(sft.SFTTrainer(str(tiny), ROWS, settings(**changes), place).run())


def kinds(events):
    return [(type(e).__name__, e.step) for e in events]


def test_events_come_in_order(tiny, place):
    events = run(tiny, place(), checkpoint_every=2)
    assert kinds(events) == [
        ("Notice", 0),
        ("Progress", 1),
        ("Progress", 2),
        ("Saved", 2),
        ("Progress", 3),
        ("Progress", 4),
        ("Saved", 4),
        ("Finished", 4),
    ]
    assert {e.total_steps for e in events if isinstance(e, Progress)} == {4}
    assert events[-1] == Finished(4, stopped=False)


def test_without_checkpoints_none_is_written(tiny, place):
    where = place()
    assert not any(isinstance(e, Saved) for e in run(tiny, where))
    assert checkpoints(where.folder) == []


def test_a_checkpoint_asked_for_is_written_at_the_next_step(tiny, place):
    where = place(controls=Steering(save_at=(2,)))
    assert [e.step for e in run(tiny, where) if isinstance(e, Saved)] == [2]
    assert [step for step, _ in checkpoints(where.folder)] == [2]


@pytest.mark.parametrize("part", ["weights", "optimiser", "micro_batch_tokens"])
def test_a_checkpoint_of_something_else_says_which_folder_to_delete(tiny, place, part):
    where = place()
    run(tiny, where, checkpoint_every=2)
    (_, before), (_, path) = checkpoints(where.folder)
    state = torch.load(path / "state.pt", weights_only=True)
    state[part] = [torch.zeros(3)]
    torch.save(state, path / "state.pt")
    with pytest.raises(RunError, match="the checkpoint cannot be read") as caught:
        run(tiny, where, checkpoint_every=2)
    assert caught.value.where == str(path) and "delete that folder" in caught.value.fix
    shutil.rmtree(path)
    assert metrics(run(tiny, where, checkpoint_every=2))[0]["loss"] > 0
    assert before.exists()


def test_a_saved_event_names_a_checkpoint_that_is_there(tiny, place):
    where = place()
    for event in sft.SFTTrainer(str(tiny), ROWS, settings(checkpoint_every=1), where).run():
        if isinstance(event, Saved):
            assert event.path == str(where.folder / "checkpoints" / f"step-{event.step}")
            assert checkpoints(where.folder)[-1][0] == event.step


def test_a_change_that_cannot_be_made_is_told_and_the_run_goes_on(tiny, place, monkeypatch):
    def refuse(loop, name, value):
        raise DataError("the chat template refuses it", where="prompt 1", fix="give another")

    monkeypatch.setattr(sft.SFTTrainer, "set_live", refuse)
    events = run(tiny, place(controls=Steering(changes={3: {"learning_rate": 0.5}})))
    (said,) = (e for e in events if isinstance(e, Notice) and e.kind == "warning")
    assert said.message == "learning_rate stays as it was: the chat template refuses it"
    assert events[-1] == Finished(4, stopped=False)


def test_live_changes_are_applied_at_their_step_and_told(tiny, place):
    controls = Steering(changes={3: {"learning_rate": 0.5}})
    events = run(tiny, place(controls=controls), schedule="constant")
    rates = [row["learning_rate"] for row in metrics(events)]
    assert rates == pytest.approx([1e-2, 1e-2, 0.5, 0.5])
    changed = [e for e in events if isinstance(e, Notice) and e.kind == "changed"]
    assert [(e.step, e.data) for e in changed] == [(3, {"learning_rate": 0.5})]
    assert "learning_rate is now 0.5" in changed[0].message
    assert kinds(events).index(("Notice", 3)) == kinds(events).index(("Progress", 3)) - 1


def test_where_it_is_inside_a_step_is_told_at_every_safe_point(tiny, place):
    told = []
    where = replace(place(), tell=told.append)
    events = run(tiny, where, steps=2, batch_size=3)
    assert not any(isinstance(event, Phase) for event in events)  # files know nothing of it
    assert {(p.total_steps, p.name, p.total, p.unit) for p in told} == {
        (2, "training", 3, "examples")
    }
    for step in (1, 2):
        done = [p.done for p in told if p.step == step]
        assert done[0] == 0 and done == sorted(done) and 0 < done[-1] < 3


def test_safe_points_come_between_micro_batches(tiny, place):
    """16 tokens hold two rows of 7 (say is unknown: <user> <unk> w <assistant> w w <eos>)."""
    controls = Steering()
    run(tiny, place(controls=controls), steps=1)
    assert controls.safe_points == 2


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_stop_saves_ends_and_undoes_what_was_begun(tiny, place, stop_at):
    """Two micro-batches a step: the stop comes in step 1, 1 and 3."""
    where = place(controls=Steering(stop_at=stop_at))
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(), where)
    events = list(trainer.run())
    done = (stop_at - 1) // 2
    assert kinds(events)[-2:] == [("Saved", done), ("Finished", done)]
    assert events[-1].stopped
    assert [step for step, _ in checkpoints(where.folder)] == [done]
    assert (where.folder / "final" / "adapter_model.safetensors").is_file()
    assert all(p.grad is None for p in trainer.optimiser.parameters)


@pytest.mark.parametrize("stop_at", [1, 4, 6])
def test_stopped_and_resumed_is_as_never_stopped(tiny, place, stop_at):
    straight = place("straight")
    expected = metrics(run(tiny, straight))
    broken = place("broken", Steering(stop_at=stop_at))
    first = metrics(run(tiny, broken))
    second = metrics(run(tiny, place("broken")))
    assert first + second == expected
    assert bytes_of(broken.folder) == bytes_of(straight.folder)


def test_killed_and_resumed_is_as_never_killed(tiny, place):
    straight, killed = place("straight"), place("killed")
    expected = metrics(run(tiny, straight, checkpoint_every=2))
    events = sft.SFTTrainer(str(tiny), ROWS, settings(checkpoint_every=2), killed).run()
    next(e for e in events if isinstance(e, Progress) and e.step == 3)
    events.close()  # step 3 was done, and nobody wrote it down
    assert not (killed.folder / "final").exists()
    assert metrics(run(tiny, killed, checkpoint_every=2)) == expected[2:]
    assert bytes_of(killed.folder) == bytes_of(straight.folder)


def test_a_finished_run_that_starts_again_only_writes_its_model(tiny, place):
    where = place()
    run(tiny, where, checkpoint_every=4)
    before = bytes_of(where.folder / "final")
    events = run(tiny, where, checkpoint_every=4)
    assert kinds(events) == [("Notice", 4), ("Finished", 4)]
    assert bytes_of(where.folder / "final") == before


def test_a_checkpoint_that_fails_leaves_the_one_before(tiny, place, monkeypatch):
    where, real, calls = place(), torch.save, []

    def dies_the_second_time(state, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError("disk full")
        real(state, file)

    monkeypatch.setattr(checkpoint_module.torch, "save", dies_the_second_time)
    with pytest.raises(RunError, match="cannot be written: disk full"):
        run(tiny, where, checkpoint_every=1)
    monkeypatch.undo()
    assert [step for step, _ in checkpoints(where.folder)] == [1]
    straight = place("straight")
    expected = metrics(run(tiny, straight))
    assert metrics(run(tiny, where)) == expected[1:]
    assert bytes_of(where.folder) == bytes_of(straight.folder)


def test_an_earlier_checkpoint_can_be_gone_back_to(tiny, place):
    where = place()
    expected = metrics(run(tiny, where, checkpoint_every=1))
    final = bytes_of(where.folder / "final")
    forget_after(where.folder, 3)
    assert metrics(run(tiny, where, checkpoint_every=1)) == expected[3:]
    assert bytes_of(where.folder / "final") == final


def test_a_gradient_that_is_not_finite_costs_one_step_only(tiny, place):
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(), place())
    parameter, hits = trainer.optimiser.parameters[1], []

    def poison(gradient):
        hits.append(1)
        return gradient * float("nan") if len(hits) == 2 else gradient

    parameter.register_hook(poison)
    events = list(trainer.run())
    skipped = [row["skipped_steps"] for row in metrics(events)]
    assert skipped[-1] == 1.0
    assert sorted(set(skipped)) in ([0.0, 1.0], [1.0])
    assert all(bool(torch.isfinite(p).all()) for p in trainer.optimiser.parameters)


def test_the_lengths_of_the_runs_files_go_into_the_checkpoint(tiny, place):
    where = place()
    run(tiny, where, checkpoint_every=4)
    kept = json.loads((where.folder / "checkpoints" / "step-4" / "lengths.json").read_text())
    assert kept.pop("state_crc32") > 0
    assert kept == {"step": 4, "metrics.jsonl": 7}


def test_nobody_steers():
    controls = NoControls()
    assert controls.safe_point() is None
    assert controls.changes(1) == {}
    assert controls.save_requested() is False


# --- memory that runs out ------------------------------------------------------------------------


class Scarce:
    """Forward passes fail as torch fails, while more than so many tokens go through at once."""

    def __init__(self, base, limit, error=None):
        self.real, self.limit, self.failed = base.trunk.forward, limit, 0
        self.error = error or RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        base.trunk.forward = self

    def __call__(self, *args, **kwargs):
        if kwargs["input_ids"].numel() > self.limit:
            self.failed += 1
            raise self.error
        return self.real(*args, **kwargs)


@pytest.mark.parametrize(
    "error", [None, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_where_memory_runs_out_the_step_is_done_again_in_smaller_parts(tiny, place, error):
    """21 tokens in one micro-batch do not fit, 14 and 7 do."""
    plenty = sft.SFTTrainer(str(tiny), ROWS, settings(micro_batch_tokens=40), place("plenty"))
    seen = []

    def watch(trainer):
        real = trainer.optimiser.step

        def step():
            seen.append([p.grad.clone() for p in trainer.optimiser.parameters])
            return real()

        trainer.optimiser.step = step

    watch(plenty)
    expected = metrics(list(plenty.run()))
    scarce = sft.SFTTrainer(
        str(tiny), ROWS, settings(micro_batch_tokens=40, checkpoint_every=4), place("scarce")
    )
    memory = Scarce(scarce.base, 14, error)
    watch(scarce)
    events = list(scarce.run())
    for one, other in zip(*seen[::4], strict=True):  # the first step's: the weights are equal
        assert float((one - other).norm()) <= 1e-6 * float(one.norm())
    for one, other in zip(metrics(events), expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    told = [(e.step, e.message) for e in events if isinstance(e, Notice) and e.kind == "warning"]
    assert told == [(1, "memory ran out: micro_batch_tokens is 20 from here on (40 before)")]
    assert memory.failed == 1  # the smaller size is kept
    resumed = sft.SFTTrainer(str(tiny), ROWS, settings(micro_batch_tokens=40), place("scarce"))
    list(resumed.run())
    assert resumed.settings.micro_batch_tokens == 20  # it is part of the checkpoint


KINDS = {
    "reward": lambda model, judge, where: RewardTrainer(
        model, PAIRS, left_open(RewardSettings), where
    ),
    "reward, two members": lambda model, judge, where: RewardTrainer(
        model, PAIRS, left_open(RewardSettings, members=2), where
    ),
    "sft": lambda model, judge, where: sft.SFTTrainer(model, ROWS, left_open(SFTSettings), where),
    "dpo": lambda model, judge, where: DPOTrainer(
        model, PAIRS, left_open(DPOSettings, response_length=8), where
    ),
    "ppo": lambda model, judge, where: PPOTrainer(
        model, judge, PROMPTS, left_open(PPOSettings, response_length=8), where
    ),
}


def left_open(kind, **changes):
    return tiny_settings(kind, steps=2, micro_batch_tokens=0, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainer_takes_and_tells_the_micro_batch_that_was_planned(
    tiny, reward, place, monkeypatch, kind
):
    """On a CPU 2048; elsewhere what the plan says, and after a checkpoint what that says."""
    assert KINDS[kind](str(tiny), reward, place("cpu")).settings.micro_batch_tokens == 2048
    monkeypatch.setattr(loop, "ways", lambda *_: Ways(True, False, 48))
    trainer = KINDS[kind](str(tiny), reward, place("card"))
    told = trainer._setup()
    assert (told.data["micro_batch_tokens"], told.data["recomputes"]) == (48, True)
    assert "48 tokens at once, layers computed twice" in told.message
    members = getattr(trainer, "members", [])
    assert {one.settings.micro_batch_tokens for one in (trainer, *members)} == {48}
    state = trainer.state()
    monkeypatch.setattr(loop, "ways", lambda *_: Ways(False, False, 96))
    resumed = KINDS[kind](str(tiny), reward, place("larger"))
    assert resumed.settings.micro_batch_tokens == 96
    resumed.load(state)
    assert resumed.settings.micro_batch_tokens == 48


def test_a_sequence_that_does_not_fit_alone_ends_the_run(tiny, place):
    where = place()
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(micro_batch_tokens=40), where)
    memory = Scarce(trainer.base, 6)
    with pytest.raises(ModelError, match="does not suffice for a single sequence") as caught:
        list(trainer.run())
    assert "step 1" in caught.value.where and "gradient_checkpointing" in caught.value.fix
    assert memory.failed == 3  # three rows, then two, then one at once
    assert all(p.grad is None for p in trainer.optimiser.parameters)


def test_another_fault_is_not_tried_again(tiny, place):
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(), place())
    memory = Scarce(trainer.base, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(trainer.run())
    assert memory.failed == 1
