"""A token that follows must follow from the whole sequence, whatever the rows beside it."""

import pytest
import torch

import workbench.models.fast.decoding as module
from workbench.models.fast.decoding import PaddedDecoder, SlotDecoder, Slots, decoder

from ..families import FAMILIES, make_base, make_family
from ..tiny import EOS, PAD, load

PROMPTS = [[7, 5, 9], [6, 7, 8, 9, 10, 11, 12, 13, 5], [7, 5, 9], [20]]
STEPS = [[11, 12, 13, 14], [15, 16, 17, 18], [19, 20, 21, 22], [9, 8, 7, 6]]


@torch.no_grad()
def alone(base, ids):
    """Logits after a sequence, by the model's own attention."""
    return base.model(input_ids=torch.tensor([ids])).logits[0, -1]


@torch.no_grad()
def played(made):
    """Logits at the start and after each step; two rows leave on the way."""
    found, rows = [made.start()], torch.arange(4)
    for step, tokens in enumerate(STEPS):
        if step == 2:
            rows = torch.tensor([1, 3])
            made.keep(rows)
        found.append(made.step(torch.tensor(tokens)[rows]))
    return found


def expected(base):
    rows = range(4)
    found = [torch.stack([alone(base, PROMPTS[row]) for row in rows])]
    for step in range(len(STEPS)):
        rows = (1, 3) if step >= 2 else rows
        seen = [PROMPTS[row] + [STEPS[s][row] for s in range(step + 1)] for row in rows]
        found.append(torch.stack([alone(base, ids) for ids in seen]))
    return found


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_what_it_says_of_the_whole_sequence(name, attention):
    """Windows are shorter than the sequences; rows of 1 to 13 tokens side by side."""
    base = make_family(name, attention=attention)
    wanted = expected(base)
    for found, want in zip(played(SlotDecoder(base, PROMPTS, length=4)), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=1e-5)


def test_what_would_be_recorded_on_a_gpu_gives_the_same():
    """All slots looked at, numbers only in place; nothing is recorded without a GPU."""
    base = make_family("Mistral")
    recorded = played(SlotDecoder(base, PROMPTS, length=4, graphs=True))
    for found, want in zip(recorded, expected(base), strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=1e-5)


def test_prompts_go_through_in_parts(monkeypatch):
    base, sizes = make_family("Llama"), []
    whole = played(SlotDecoder(base, PROMPTS, length=4))
    monkeypatch.setattr(module, "PROMPT_TOKENS", 4)
    real = module.run_packed
    monkeypatch.setattr(
        module,
        "run_packed",
        lambda b, ids, *more: (sizes.append(ids.numel()), real(b, ids, *more))[1],
    )
    for found, want in zip(played(SlotDecoder(base, PROMPTS, length=4)), whole, strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=1e-5)
    assert sizes == [1 + 3, 9, 4, 4, 2, 2]  # a prompt of two rows runs once


def test_a_model_that_does_not_pack_takes_its_own_cache():
    base = make_base(
        "bloom",
        hidden_size=32,
        n_layer=2,
        n_head=4,
        vocab_size=40,
        pad_token_id=PAD,
        eos_token_id=EOS,
    )
    made = decoder(base, PROMPTS, length=4)
    assert isinstance(made, PaddedDecoder)
    for found, want in zip(played(made), expected(base), strict=True):
        torch.testing.assert_close(found, want, rtol=0, atol=1e-5)


def test_a_model_that_packs_decodes_in_slots(tiny):
    assert isinstance(decoder(load(tiny), PROMPTS, length=4), SlotDecoder)


def test_slots_by_hand():
    """Positions 1 and 3 of 4 slots; a window of 2 shows a token and the one before it."""
    slots = Slots(2, 4, torch.device("cpu"))
    slots.positions += torch.tensor([1, 3])
    hidden = torch.finfo(torch.float32).min
    assert slots._slots(None, torch.float32)[:, 0, 0].tolist() == [[0, 0, hidden, hidden], [0] * 4]
    assert slots._slots(2, torch.float32)[:, 0, 0].tolist() == [
        [0, 0, hidden, hidden],
        [hidden, hidden, 0, 0],
    ]
    slots.reach = 4
    slots.positions += 1
    slots.before_step()
    assert slots._slots(None, torch.float32)[0, 0, 0].tolist() == [0, 0, 0, hidden]
