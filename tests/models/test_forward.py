"""Padding, batching and chunking must not change what a row is worth."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import workbench.models.forward as forward_module
from workbench.models.encoding import Encoded
from workbench.models.forward import (
    Batch,
    Flat,
    collate,
    hidden_states,
    lay,
    response_hidden,
    response_stats,
    sequence_scores,
    spread,
)
from workbench.models.roles import Roles

from .tiny import EOS, PAD, tiny_settings

ROWS = [
    Encoded([2, 5, 6, 3], [7, 8, 9, EOS]),
    Encoded([2, 10, 3], [11]),  # did not end
    Encoded([2, 12, 13, 14, 15, 3], [16, EOS]),
]


@pytest.fixture
def spoken(base):
    """The tiny base with an adapter that says something, and a head; acting."""
    roles = Roles(base, tiny_settings())
    roles.add("policy", trainable=True)
    for table in roles.parameters("policy"):
        torch.nn.init.normal_(table, std=0.1, generator=torch.Generator().manual_seed(1))
    head = roles.add_head("policy", trainable=True, seed=3)
    with roles.acting("policy"):
        yield base, head


def widened(batch: Batch, more: int) -> Batch:
    """The same batch with so many more columns of padding."""
    return Batch(
        torch.nn.functional.pad(batch.ids, (0, more), value=PAD),
        torch.nn.functional.pad(batch.states, (0, more)),
        torch.nn.functional.pad(batch.tokens, (0, more), value=PAD),
        torch.nn.functional.pad(batch.response_mask, (0, more), value=False),
        batch.last,
        batch.sizes,
        batch.at,
    )


def test_collate_by_hand(base):
    batch = collate(ROWS[:2], base)
    assert batch.ids.tolist() == [[2, 5, 6, 3, 7, 8, 9, EOS], [2, 10, 3, 11, 0, 0, 0, 0]]
    # the token at position p is chosen in the state at p - 1
    assert batch.states.tolist() == [[3, 4, 5, 6], [2, 0, 0, 0]]
    assert batch.tokens.tolist() == [[7, 8, 9, EOS], [11, 0, 0, 0]]
    assert batch.response_mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert batch.last.tolist() == [7, 3]


def test_a_pad_token_that_is_eos_does_not_shorten_an_answer(base):
    base.tokenizer.pad_token = base.tokenizer.eos_token
    batch = collate(ROWS[:2], base)
    assert batch.ids[1].tolist() == [2, 10, 3, 11, EOS, EOS, EOS, EOS]
    assert batch.last.tolist() == [7, 3]
    assert batch.response_mask.sum(1).tolist() == [4, 1]


@pytest.mark.parametrize("more", [0, 1, 7])
def test_padding_changes_nothing(spoken, more):
    base, head = spoken
    batch = collate(ROWS, base)
    wide = widened(batch, more)
    for temperature in (1.0, 0.7):
        stats = response_stats(base, batch, temperature=temperature)
        again = response_stats(base, wide, temperature=temperature)
        width = batch.tokens.shape[1]
        for before, after in zip(stats, again, strict=True):
            torch.testing.assert_close(after[:, :width], before, rtol=0, atol=1e-5)
            assert not after[:, width:].any()
    torch.testing.assert_close(
        response_hidden(base, wide), response_hidden(base, batch), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        sequence_scores(base, head, wide), sequence_scores(base, head, batch), rtol=0, atol=1e-5
    )


def test_a_row_alone_is_worth_what_it_is_in_a_batch(spoken):
    base, head = spoken
    together = collate(ROWS, base)
    stats = response_stats(base, together, temperature=1.0)
    scores = sequence_scores(base, head, together)
    for i, row in enumerate(ROWS):
        alone = collate([row], base)
        mine = response_stats(base, alone, temperature=1.0)
        size = len(row.response)
        torch.testing.assert_close(mine.logprobs[0], stats.logprobs[i, :size], rtol=0, atol=1e-5)
        torch.testing.assert_close(mine.entropy[0], stats.entropy[i, :size], rtol=0, atol=1e-5)
        assert not stats.logprobs[i, size:].any()
        torch.testing.assert_close(
            sequence_scores(base, head, alone)[0], scores[i], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_response_stats_are_log_softmax_and_gather_of_the_full_logits(spoken, temperature):
    base, _ = spoken
    stats = response_stats(base, collate(ROWS, base), temperature=temperature)
    for i, row in enumerate(ROWS):
        logits = base.model(input_ids=torch.tensor([row.ids])).logits[0].double()
        log_p = torch.log_softmax(logits / temperature, dim=-1)
        for t, token in enumerate(row.response):
            at = len(row.prompt) - 1 + t
            assert float(stats.logprobs[i, t]) == pytest.approx(float(log_p[at, token]), abs=1e-5)
            entropy = -float((log_p[at].exp() * log_p[at]).sum())
            assert float(stats.entropy[i, t]) == pytest.approx(entropy, abs=1e-5)


def test_chunks_give_the_same_numbers_and_gradients(spoken, monkeypatch):
    base, _ = spoken
    batch = collate(ROWS, base)
    weights = [p for p in base.model.parameters() if p.requires_grad]

    def seen():
        stats = response_stats(base, batch, temperature=1.0)
        return stats.logprobs, torch.autograd.grad(stats.logprobs.sum(), weights)

    whole, whole_gradients = seen()
    monkeypatch.setattr(forward_module, "CHUNK", 2)
    pieces, gradients = seen()
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)
    for one, other in zip(gradients, whole_gradients, strict=True):
        assert float((one - other).norm()) <= 1e-5 * float(other.norm())


def test_a_score_is_read_at_the_last_real_token_and_nowhere_else(spoken):
    base, head = spoken
    batch = collate(ROWS, base)
    hidden = hidden_states(base, batch.ids)
    expected = [float(hidden[i, len(r.ids) - 1] @ head.weight[0]) for i, r in enumerate(ROWS)]
    scores = sequence_scores(base, head, batch)
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    other = batch.ids.clone()
    other[1, 4:] = 20  # after the last real token
    assert float(sequence_scores(base, head, batch._replace(ids=other))[1]) == pytest.approx(
        expected[1], abs=1e-5
    )


def test_the_head_only_meets_response_positions(spoken, monkeypatch):
    base, _ = spoken
    seen: list[int] = []
    real = base.model.get_output_embeddings().forward
    monkeypatch.setattr(
        base.model.get_output_embeddings(), "forward", lambda x: (seen.append(len(x)), real(x))[1]
    )
    response_stats(base, collate(ROWS, base), temperature=1.0)
    assert seen == [4 + 1 + 2]


# --- without padding


def both(base, rows, monkeypatch):
    """The rows flat, and side by side as for a model that does not pack."""
    flat = lay(rows, base)
    monkeypatch.setattr(forward_module, "packs", lambda model: "as an example")
    padded = lay(rows, base)
    monkeypatch.undo()
    assert isinstance(flat, Flat) and isinstance(padded, Batch)
    return flat, padded


SAMPLES = [
    *ROWS,
    Encoded([2, 5, 6, 3], [7, 8, 20, 21, EOS]),  # begins like the first, and goes on alike
    Encoded([2, 10, 3], [11]),  # the same as the second
    Encoded([2, 5, 6, 3], [EOS]),
]


@pytest.mark.parametrize("rows", [ROWS, SAMPLES])
def test_flat_rows_are_worth_what_padded_rows_are(spoken, rows, monkeypatch):
    base, head = spoken
    flat, padded = both(base, rows, monkeypatch)
    assert torch.equal(flat.tokens, padded.tokens)
    assert torch.equal(flat.response_mask, padded.response_mask)
    weights = [p for p in base.model.parameters() if p.requires_grad]
    found = []
    for batch in (flat, padded):
        stats = response_stats(base, batch, temperature=0.8)
        scores = sequence_scores(base, head, batch)
        weighing = torch.randn(stats.logprobs.shape, generator=torch.Generator().manual_seed(2))
        total = (stats.logprobs * weighing).sum() + scores.square().sum()
        found.append((*stats, scores, torch.autograd.grad(total, [*weights, head.weight])))
    (*values, gradients), (*expected, wanted) = found
    for one, other in zip(values, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    for one, other in zip(gradients, wanted, strict=True):
        assert float((one - other).norm()) <= 1e-4 * float(other.norm())


def test_a_flat_row_by_hand(base):
    flat = lay([Encoded([2, 5], [6, 7]), Encoded([9], [8, EOS]), Encoded([2, 5], [6, 8])], base)
    # the shortest prompt first; what two samples share is there once, their first answer token too
    assert flat.packed.ids.tolist() == [9, 8, EOS, 2, 5, 6, 7, 8]
    assert flat.packed.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 3]
    assert flat.places == (0, 1, 4, 5)
    assert flat.states.tolist() == [2, 3, 0, 1, 2, 3]
    assert flat.ends == (6, 2, 7)


def test_nothing_of_a_batch_holds_its_whole_vocabulary(base, monkeypatch):
    """The largest tensor of forward and backward has a chunk's logits, however many rows."""
    roles = Roles(base, tiny_settings())
    roles.add("policy", trainable=True)
    monkeypatch.setattr(forward_module, "CHUNK", 8)
    rows = [Encoded([2, 5, 3], [7, 8, 9, 10, 11, EOS])] * 1 + [
        Encoded([2, i, 3], list(range(i, i + 12))) for i in range(5, 17)
    ]
    vocabulary = base.model.config.vocab_size
    with Largest() as seen, roles.acting("policy"):
        batch = lay(rows, base)
        response_stats(base, batch, temperature=1.0).logprobs.sum().backward()
    tokens = int(batch.response_mask.sum())
    assert seen.by_width[vocabulary] <= 8 < tokens
    assert seen.most < tokens * vocabulary * 8  # no table of them under another shape


class Largest(TorchDispatchMode):
    """Watches every tensor that an operation makes.

    Attributes:
        by_width: the most rows of a tensor with so many columns.
        most: the most elements.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_width: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.ndim and not _is_weight(tensor):
                width = tensor.shape[-1]
                rows = tensor.numel() // max(width, 1)
                self.by_width[width] = max(self.by_width.get(width, 0), rows)
                self.most = max(self.most, tensor.numel())
        return out


def _is_weight(tensor: torch.Tensor) -> bool:
    """The head's own matrix, transposed, is no logits."""
    return tuple(tensor.shape) in {(64, 33), (33, 64)}


def test_spread_puts_values_where_the_mask_is_true(base):
    batch = collate([Encoded([5], [6]), Encoded([7], [8, 9])], base)
    assert batch.response_mask.tolist() == [[True, False], [True, True]]
    assert spread(torch.tensor([1.0, 2.0, 3.0]), batch).tolist() == [[1.0, 0.0], [2.0, 3.0]]
