"""A comparison in one sequence must be worth exactly what its sequences are worth alone."""

import pytest
import torch

import workbench.models.fast.attention as attention_module
import workbench.models.fast.packing as module
from workbench.errors import ModelError
from workbench.models.answer_scores import packed_scores
from workbench.models.fast import on_card
from workbench.models.fast.attention import (
    ALIGNED,
    PREFIX,
    Sight,
    Span,
    TokenRun,
    runs_of,
    whole_row,
)
from workbench.models.fast.packing import pack, packed_hidden, span_of
from workbench.models.roles import Roles

from ..families import FAMILIES, WINDOW, make_family
from ..tiny import tiny_settings


def words(count: int, seed: int) -> list[int]:
    return torch.randint(5, 40, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def comparison(prompt: int, *answers: int) -> list[list[int]]:
    """Sequences of a prompt with so many tokens, and of answers with so many."""
    start = words(prompt, prompt)
    return [start + words(n, 100 * prompt + i) for i, n in enumerate(answers)]


#: K = 2, 3, 4 and 1, prompts and answers of mixed lengths, most of them longer than the window
MIXED = [
    comparison(9, 5, 8),
    comparison(3, 2, 12, 7),
    comparison(14, 1, 4, 4, 9),
    comparison(5, 6),
    comparison(1, 20, 3),
    comparison(7, 4, 4, 2),  # answers of one size
    comparison(2, 7),
    comparison(4, 5),  # of one size with its neighbour
]


class Acting:
    """A base with a reward adapter that says something, and a head."""

    def __init__(self, base, **settings):
        self.base = base
        self.roles = Roles(base, tiny_settings(**settings))
        self.roles.add("reward", trainable=True)
        generator = torch.Generator().manual_seed(1)
        for table in self.roles.parameters("reward"):
            torch.nn.init.normal_(table, std=0.2, generator=generator)
        self.head = self.roles.add_head("reward", trainable=True, seed=2)
        self.weights = [*self.roles.parameters("reward"), self.head.weight]

    def alone(self, comparisons):
        """Scores of one forward pass a sequence, by the model's own attention."""
        rows = [torch.tensor([s]) for sequences in comparisons for s in sequences]
        with self.roles.acting("reward"):
            hidden = [self.base.trunk(input_ids=r, use_cache=False)[0][0, -1] for r in rows]
        return torch.stack(hidden) @ self.head.weight[0]

    def packed(self, comparisons):
        with self.roles.acting("reward"):
            return packed_scores(self.base, self.head, comparisons)

    def whole(self, comparisons):
        """The same with every token of the last layer."""
        packed = pack(comparisons, self.base.device)
        with self.roles.acting("reward"):
            return packed_hidden(self.base, packed)[packed.last] @ self.head.weight[0]

    def gradients(self, scores):
        """Of a weighted sum of the scores, so that every one of them counts differently."""
        generator = torch.Generator().manual_seed(3)
        with self.roles.acting("reward"):
            return torch.autograd.grad(
                scores @ torch.randn(len(scores), generator=generator), self.weights
            )


def far(one, other) -> float:
    """The largest relative distance of two lists of gradients."""
    return max(
        float((a - b).norm() / b.norm()) for a, b in zip(one, other, strict=True) if bool(b.any())
    )


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """A packed row goes through the attention in one call."""
    monkeypatch.setattr(on_card, "CARDS", frozenset(("cpu",)))


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("attention", [None, "eager"])
@pytest.mark.parametrize("name", FAMILIES)
def test_scores_and_gradients_equal_separate_forward_passes(name, attention):
    are_those_of_separate_passes(make_family(name, attention=attention))


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "Gemma 2"])  # it is eager
def test_so_they_do_in_one_call_as_on_a_gpu(name, as_on_a_gpu, monkeypatch):
    monkeypatch.setattr(Sight, "mask", None)  # no call of a single sequence
    are_those_of_separate_passes(make_family(name))


def are_those_of_separate_passes(base):
    made = Acting(base)
    expected = made.alone(MIXED)
    gradients = made.gradients(expected)
    scores = made.packed(MIXED)
    assert made.base.model.config._attn_implementation.startswith(PREFIX)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert far(made.gradients(scores), gradients) < 1e-4


@pytest.mark.parametrize("name", ["Mistral", "Qwen2", "Qwen3", "Gemma 2", "Gemma 3"])
def test_a_window_counts_positions(name):
    """Sequences longer than the window, and no others, are worth something else without it."""
    narrow, wide = Acting(make_family(name)), Acting(make_family(name, sliding_window=64))
    moved = (narrow.packed(MIXED) - wide.packed(MIXED)).detach().abs() > 1e-4
    assert moved.tolist() == [len(s) > WINDOW for sequences in MIXED for s in sequences]
    # only the window's last token decides whether the prompt's first word counts
    short = [[[7, *words(WINDOW - 1, 1)], [7, *words(WINDOW - 1, 2), *words(3, 3)]]]
    torch.testing.assert_close(narrow.packed(short), narrow.alone(short), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["Llama", "Mistral", "GPT-2"])
def test_neighbours_and_order_change_nothing(name):
    made = Acting(make_family(name))
    together = made.packed(MIXED).split([len(c) for c in MIXED])
    for sequences, scores in zip(MIXED, together, strict=True):
        torch.testing.assert_close(made.packed([sequences]), scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            made.packed([sequences[::-1]]).flip(0), scores, rtol=0, atol=1e-5
        )
    backwards = made.packed(MIXED[::-1]).split([len(c) for c in MIXED[::-1]])
    torch.testing.assert_close(torch.cat(backwards[::-1]), torch.cat(together), rtol=0, atol=1e-5)


def test_recomputed_layers_give_the_same_gradients():
    """A layer that runs again in the backward pass sees the same tokens as the first time."""
    plain = Acting(make_family("Mistral"))
    again = Acting(make_family("Mistral"), gradient_checkpointing=True)
    scores, repeated = plain.whole(MIXED), again.whole(MIXED)
    assert torch.equal(scores, repeated)
    assert torch.equal(again.packed(MIXED), repeated)  # its last layer gives every token
    torch.testing.assert_close(plain.packed(MIXED), scores, rtol=0, atol=1e-5)
    assert far(again.gradients(repeated), plain.gradients(scores)) < 1e-6


def test_four_bits_change_nothing_about_it(base4):
    made = Acting(base4)
    rows = [[[i % 33 for i in s] for s in sequences] for sequences in MIXED]
    expected = made.alone(rows)
    gradients = made.gradients(expected)
    scores = made.packed(rows)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    assert far(made.gradients(scores), gradients) < 1e-4


def test_rows_without_comparisons_go_on_as_before():
    """Our attention stays around the model's own, and does what that does."""
    made = Acting(make_family("Mistral"))
    before = made.alone(MIXED)
    made.packed(MIXED)
    assert torch.equal(made.alone(MIXED), before)


def test_a_packed_row_by_hand():
    packed = pack([[[2, 3, 4, 7], [2, 3, 5, 6, 7]], [[9, 8]]], torch.device("cpu"))
    assert packed.ids.tolist() == [2, 3, 4, 7, 5, 6, 7, 9, 8]
    assert packed.positions.tolist() == [0, 1, 2, 3, 2, 3, 4, 0, 1]
    assert packed.last.tolist() == [3, 6, 8]
    assert packed.spans == (Span(2, (2, 3)), Span(0, (2,)))
    assert [span.size for span in packed.spans] == [7, 2]


@pytest.mark.parametrize(
    ("sequences", "span"),
    [
        ([[1, 2, 3], [1, 2, 3]], Span(2, (1, 1))),  # each keeps its last token
        ([[1, 2], [1, 2, 3]], Span(1, (1, 2))),
        ([[1, 2], [3, 4]], Span(0, (2, 2))),
        ([[1, 2, 4, 5], [1, 2, 4, 6], [1, 3, 4]], Span(1, (3, 3, 2))),
        ([[1]], Span(0, (1,))),
    ],
)
def test_what_sequences_share(sequences, span):
    assert span_of(sequences) == span


def test_sequences_of_one_size_side_by_side_meet_the_attention_in_one_call():
    spans = (Span(0, (4,)), Span(0, (4,)), Span(0, (3,)), Span(2, (3, 3, 1)), Span(0, (3,)))
    assert runs_of(spans) == [
        TokenRun(0, 4, 2, False),
        TokenRun(0, 3, 1, False),
        TokenRun(0, 2, 1, True),
        TokenRun(2, 3, 2, False),
        TokenRun(2, 1, 1, False),
        TokenRun(0, 3, 1, False),
    ]


def test_masks_by_hand():
    """Two tokens after three: a window of 2 shows a token itself and the one before it."""
    sight, query = Sight([]), torch.zeros(1, 1, 2, 4)
    hidden = torch.finfo(torch.float32).min
    assert sight.mask(query, 3, None)[0, 0].tolist() == [[0, 0, 0, 0, hidden], [0] * 5]
    assert sight.mask(query, 3, 2)[0, 0].tolist() == [
        [hidden, hidden, 0, 0, hidden],
        [hidden, hidden, hidden, 0, 0],
    ]
    assert sight.mask(query, 3, 2) is sight.mask(query, 3, 2)  # made once for all layers
    assert sight.mask(query.half(), 3, 2).dtype == torch.float16


def test_a_whole_rows_mask_by_hand():
    """Two tokens that both sequences see, sequences of 1 and 2, then one by itself of 2."""
    spans = [Span(2, (1, 2)), Span(0, (2,))]
    seen = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]
    mask = whole_row(spans, torch.zeros(1), None)
    assert (mask == 0).int().tolist() == seen
    assert mask.min() == torch.finfo(torch.float32).min
    assert mask.stride() == (ALIGNED, 1)
    near = (whole_row(spans, torch.zeros(1), 2) == 0).int()
    assert near[4].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert near[3].tolist() == [0, 1, 0, 1, 0, 0, 0]


def test_eager_attention_and_a_long_row_take_their_calls_apart(as_on_a_gpu, monkeypatch):
    heads = torch.zeros(1, 2, 7, 4)
    sight = Sight([])
    assert sight.at_once(heads, heads, causal=True)
    assert not sight.at_once(heads, heads, causal=False)
    monkeypatch.setattr(attention_module, "MOST", 6)
    assert not sight.at_once(heads, heads, causal=True)


def test_a_model_that_does_not_hand_comparisons_on_is_an_error(monkeypatch):
    base = make_family("Llama")
    monkeypatch.setattr(module, "wrap_attention", lambda model: None)
    with pytest.raises(ModelError, match="does not take several answers") as caught:
        packed_hidden(base, pack(MIXED[:1], base.device))
    assert "llama" in caught.value.where and "transformers" in caught.value.fix
