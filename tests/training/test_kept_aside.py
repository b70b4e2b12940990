import pytest
import torch

from workbench.events import Progress
from workbench.models.encoding import Encoded
from workbench.settings import SFTSettings
from workbench.training import sft
from workbench.training.kept_aside import MOST_ASIDE, Example, keep_aside

from ..models.tiny import EOS, assistant, load, tiny_settings, user, word
from .conftest import Steering, bytes_of, forget_after, metrics

WORDS = "abcdefghijkl"
ROWS = [{"prompt": user(w), "response": assistant(f"{w} b")} for w in WORDS]


def settings(**changes):
    few = {"steps": 5, "batch_size": 4, "learning_rate": 2e-2, "schedule": "constant"}
    aside = {"holdout": 0.25, "evaluate_every": 2, "watch_prompts": 2}
    return tiny_settings(SFTSettings, **{**few, **aside, **changes})


def told(events):
    """By step: the held-out loss, and the watched rows."""
    found = [event for event in events if isinstance(event, Progress)]
    losses = {e.step: e.metrics["heldout/loss"] for e in found if "heldout/loss" in e.metrics}
    return losses, {e.step: e.samples for e in found if e.samples}


def example(prompt, asked="?"):
    return Example.whole(Encoded(prompt, [9]), asked)


def test_all_examples_of_one_prompt_are_on_the_same_side():
    examples = [example([n // 3]) for n in range(30)]  # ten prompts, three answers each
    for seed in range(5):
        train, aside = keep_aside(examples, 0.2, seed=seed)
        assert (len(train), len(aside)) == (24, 6)
        assert not {e.encoded.prompt[0] for e in train} & {e.encoded.prompt[0] for e in aside}
    assert keep_aside(examples, 0.2, seed=1) == keep_aside(examples, 0.2, seed=1)
    assert keep_aside(examples, 0.2, seed=1) != keep_aside(examples, 0.2, seed=2)


def test_how_many_are_kept_aside():
    many = [example([n]) for n in range(2 * MOST_ASIDE)]
    for count, share, wanted in (
        (100, 0.0, 0),
        (24, 0.02, 0),  # less than half an example
        (26, 0.02, 1),
        (2 * MOST_ASIDE, 0.25, MOST_ASIDE // 2),
        (2 * MOST_ASIDE, 0.5, MOST_ASIDE),
    ):
        train, aside = keep_aside(many[:count], share, seed=3)
        assert (len(train), len(aside)) == (count - wanted, wanted)
    # one prompt is never torn apart
    assert len(keep_aside([example([1])] * 40, 0.1, seed=0)[1]) == 0
    blocks = [example([1], asked=None) for _ in range(40)]  # texts may begin with the same token
    assert len(keep_aside(blocks, 0.1, seed=0)[1]) == 4


def test_the_held_out_loss_is_the_mean_surprise_of_what_is_not_learned(tiny, place):
    """By definition from the untrained model: it is told with step 1, from before that step."""
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(), place())
    assert (len(trainer.examples), len(trainer.aside)) == (9, 3)
    surprises = []
    for encoded, *_ in trainer.aside:
        assert encoded.response == [encoded.prompt[1], word("b"), EOS]
        ids = torch.tensor([[*encoded.prompt, *encoded.response]])
        log_p = torch.log_softmax(load(tiny).model(input_ids=ids).logits[0].double(), dim=1)
        at = len(encoded.prompt) - 1
        surprises += [-float(log_p[at + i, token]) for i, token in enumerate(encoded.response)]
    events = list(trainer.run())
    losses, _ = told(events)
    assert list(losses) == [1, 2, 4, 5]
    assert losses[1] == pytest.approx(sum(surprises) / 9, abs=1e-5)
    assert losses[5] != losses[4] != losses[2] != losses[1]
    rows = metrics(events)
    assert rows[0]["heldout/perplexity"] == pytest.approx(2.718281828 ** losses[1], rel=1e-6)


def test_the_same_prompts_are_answered_beside_what_was_said_at_first(tiny, place):
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(steps=12), place())
    _, seen = told(trainer.run())
    asked = [row["prompt"] for row in seen[1]]
    assert len(asked) == 2 and set(asked) <= {example.question for example in trainer.aside}
    first = [row["response"] for row in seen[1]]
    for rows in seen.values():
        assert [row["prompt"] for row in rows] == asked
        assert [row["reference"] for row in rows] == first
    assert list(seen) == [1, 2, 4, 6, 8, 10, 12]
    assert [row["response"] for row in seen[12]] != first


def test_a_text_is_continued_and_nothing_aside_means_the_first_of_the_others(tiny, place):
    texts = [{"text": " ".join(WORDS)}]
    trainer = sft.SFTTrainer(str(tiny), texts, settings(max_length=8, holdout=0.0), place())
    assert trainer.aside == []
    losses, seen = told(trainer.run())
    assert losses == {} and list(seen) == [1, 2, 4, 5]
    assert seen[1][0]["prompt"] == "e f g h"  # as many as leave room for the answer


def test_every_weight_is_trained_and_watched_too(tiny, place):
    changes = {"lora_rank": 0, "quantization": "none", "evaluate_every": 0}
    losses, seen = told(sft.SFTTrainer(str(tiny), ROWS, settings(**changes), place()).run())
    assert list(losses) == list(seen) == [1, 5]


def test_looking_changes_nothing_and_a_resumed_run_sees_the_same(tiny, place):
    plain = place("plain")
    never = settings(evaluate_every=0, watch_prompts=0)
    rows = metrics(list(sft.SFTTrainer(str(tiny), ROWS, never, plain).run()))
    where = place("looked")
    looked = settings(checkpoint_every=3)
    whole = list(sft.SFTTrainer(str(tiny), ROWS, looked, where).run())
    assert [row["loss"] for row in metrics(whole)] == [row["loss"] for row in rows]
    assert bytes_of(where.folder / "final") == bytes_of(plain.folder / "final")
    forget_after(where.folder, 3)
    again = list(sft.SFTTrainer(str(tiny), ROWS, looked, where).run())
    assert metrics(again) == metrics(whole)[3:]
    assert told(again)[1] == {step: rows for step, rows in told(whole)[1].items() if step > 3}


@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_stop_while_the_first_answers_are_written_leaves_the_run_at_its_start(
    tiny, place, stop_at
):
    where = place(controls=Steering(stop_at=stop_at))
    events = list(sft.SFTTrainer(str(tiny), ROWS, settings(micro_batch_tokens=16), where).run())
    assert events[-1].stopped and events[-1].step == 0
    again = list(sft.SFTTrainer(str(tiny), ROWS, settings(micro_batch_tokens=16), place()).run())
    whole = list(
        sft.SFTTrainer(str(tiny), ROWS, settings(micro_batch_tokens=16), place("whole")).run()
    )
    assert metrics(again) == metrics(whole) and told(again) == told(whole)


def test_where_memory_does_not_suffice_fewer_answers_are_written_at_once(tiny, place, monkeypatch):
    from workbench.training import sampled_answers

    sizes, real = [], sampled_answers.sample_responses

    def scarce(base, prompts, **arguments):
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("no room")
        return real(base, prompts, **arguments)

    _, whole = told(sft.SFTTrainer(str(tiny), ROWS, settings(steps=1), place("whole")).run())
    monkeypatch.setattr(sampled_answers, "sample_responses", scarce)
    events = list(sft.SFTTrainer(str(tiny), ROWS, settings(steps=1), place()).run())
    assert sizes == [2, 1, 1, 1, 1]
    assert told(events)[1] == whole
    said = [event.message for event in events if getattr(event, "kind", "") == "warning"]
    assert said == ["memory ran out while sampling: 1 answers at once from here on"]
