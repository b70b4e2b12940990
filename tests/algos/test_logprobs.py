import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.algos.logprobs import (
    chunked_token_logprobs,
    chunked_token_stats,
    entropy,
    exact_kl,
)
from workbench.errors import ConfigError

N, D, V, CHUNK = 61, 4, 50, 8  # the last chunk is not full; every product below differs


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, torch.Tensor):
                self.numel = max(self.numel, part.numel())
        return result


class Head(torch.nn.Module):
    """A linear head that writes down how many tokens it was given, call by call."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(D, V)
        self.seen = []

    def forward(self, hidden):
        self.seen.append(hidden.shape[0])
        return self.linear(hidden)


def token_logprobs(logits, tokens, *, temperature):
    """Of logits as they are, in one chunk."""
    whole = {"temperature": temperature, "chunk": len(tokens)}
    return chunked_token_logprobs(logits, tokens, lambda these: these, **whole)


@pytest.fixture
def case():
    torch.manual_seed(3)
    hidden = torch.randn(N, D, requires_grad=True)
    return hidden, torch.randint(V, (N,)), Head()


def test_logprobs_of_known_probabilities():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    logits = p.log() + torch.tensor([[3.0], [-7.0]])  # a shift changes nothing
    got = token_logprobs(logits, torch.tensor([1, 2]), temperature=1.0)
    torch.testing.assert_close(got, torch.tensor([math.log(0.2), math.log(0.5)]))


def test_temperature_divides_the_logits():
    # at temperature 0.5 the odds are squared: 9 : 1 : 1 becomes 81 : 1 : 1
    logits = torch.tensor([[math.log(9.0), 0.0, 0.0]])
    got = token_logprobs(logits, torch.tensor([0]), temperature=0.5)
    torch.testing.assert_close(got, torch.tensor([math.log(81 / 83)]))
    p = torch.tensor([81 / 83, 1 / 83, 1 / 83])
    torch.testing.assert_close(entropy(logits, temperature=0.5), -(p * p.log()).sum()[None])
    # KL from the uniform is log V - entropy, at any temperature
    kl = exact_kl(logits, torch.zeros(1, 3), temperature=0.5)
    torch.testing.assert_close(kl, math.log(3) + (p * p.log()).sum()[None])


def test_the_gradient_is_one_at_the_token_less_the_probabilities():
    logits = torch.tensor([[0.0, 2 * math.log(3)], [0.0, -math.inf]], requires_grad=True)
    token_logprobs(logits, torch.tensor([1, 0]), temperature=2.0).sum().backward()
    # p = (1/4, 3/4) at temperature 2, and (1, 0); each slope is divided by 2
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.125, 0.125], [0.0, 0.0]]))


def test_huge_half_precision_logits_stay_finite_and_exact():
    logits = torch.tensor([[6e4, -6e4, 0.0], [6e4, 6e4, -6e4]], dtype=torch.float16)
    got = token_logprobs(logits, torch.tensor([1, 0]), temperature=1.0)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.tensor([-120_000.0, -math.log(2)]))
    torch.testing.assert_close(entropy(logits, temperature=1.0), torch.tensor([0.0, math.log(2)]))
    kl = exact_kl(logits, logits.flip(0), temperature=1.0)
    torch.testing.assert_close(kl, torch.tensor([math.log(2), 0.5 * 120_000.0 - math.log(2)]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_widened_before_anything_else(dtype):
    torch.manual_seed(0)
    logits, tokens = (5 * torch.randn(20, V)).to(dtype), torch.randint(V, (20,))
    exact = (logits.double() / 0.7).softmax(1)
    picked = exact[torch.arange(20), tokens].log().float()
    got = token_logprobs(logits, tokens, temperature=0.7)
    torch.testing.assert_close(got, picked, atol=1e-5, rtol=1e-6)
    spread = -(exact * exact.log()).sum(1).float()
    torch.testing.assert_close(entropy(logits, temperature=0.7), spread, atol=1e-5, rtol=1e-5)


def test_double_precision_is_kept():
    assert token_logprobs(
        torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0]), temperature=1.0
    ).dtype == (torch.float64)


def test_uniform_logits_have_entropy_log_v():
    for v in (2, 8, 50_257):
        got = entropy(torch.full((2, v), 4.5), temperature=0.7)
        torch.testing.assert_close(got, torch.full((2,), math.log(v)), atol=1e-4, rtol=0)


def test_an_excluded_token_adds_nothing_to_the_entropy_nor_a_nan_to_its_gradient():
    logits = torch.tensor([[0.0, 0.0, -math.inf]], requires_grad=True)
    got = entropy(logits, temperature=1.0)
    torch.testing.assert_close(got, torch.tensor([math.log(2)]))
    got.sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3))


def test_exact_kl_is_of_the_policy_from_the_reference():
    policy, ref = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)  # 0.510826
    backward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)  # 0.368064
    got = exact_kl(policy.log() + 2.0, ref.log() - 1.0, temperature=1.0)
    torch.testing.assert_close(got, torch.tensor([forward]))
    got = exact_kl(ref.log(), policy.log(), temperature=1.0)
    torch.testing.assert_close(got, torch.tensor([backward]))


def test_exact_kl_of_equal_logits_is_exactly_zero():
    torch.manual_seed(1)
    logits = torch.randn(5, V)
    assert torch.equal(exact_kl(logits, logits.clone(), temperature=0.7), torch.zeros(5))


def test_exact_kl_where_a_token_is_excluded():
    certain = torch.tensor([[0.0, -math.inf]], requires_grad=True)
    got = exact_kl(certain, torch.tensor([[0.0, -math.inf]]), temperature=1.0)
    torch.testing.assert_close(got, torch.zeros(1))
    got.sum().backward()
    assert certain.grad.isfinite().all()
    even = torch.zeros(1, 2)
    got = exact_kl(certain.detach(), even, temperature=1.0)
    torch.testing.assert_close(got, torch.tensor([math.log(2)]))
    assert exact_kl(even, certain.detach(), temperature=1.0).item() == math.inf


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_without_a_distribution_is_refused(temperature):
    logits, token = torch.zeros(1, 3), torch.tensor([0])
    for call in (
        lambda: token_logprobs(logits, token, temperature=temperature),
        lambda: entropy(logits, temperature=temperature),
        lambda: exact_kl(logits, logits, temperature=temperature),
        lambda: chunked_token_stats(logits, token, lambda h: h, temperature=temperature, chunk=1),
    ):
        with pytest.raises(ConfigError, match="temperature"):
            call()


def test_a_chunk_of_nothing_is_refused(case):
    hidden, tokens, head = case
    with pytest.raises(ConfigError, match="chunk of 0"):
        chunked_token_stats(hidden, tokens, head, temperature=1.0, chunk=0)


@pytest.mark.parametrize("chunk", [1, CHUNK, N - 1, N, 10 * N])
def test_chunked_equals_log_softmax_and_gather(case, chunk):
    hidden, tokens, head = case
    weights = torch.randn(N)  # so that no two tokens' gradients are alike
    table = (head(hidden) / 0.7).log_softmax(1)
    expected = table[torch.arange(N), tokens]
    inputs = (hidden, *head.parameters())
    expected_grads = torch.autograd.grad((weights * expected).sum(), inputs)

    got = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=chunk)
    grads = torch.autograd.grad((weights * got.logprobs).sum(), inputs)

    torch.testing.assert_close(got.logprobs, expected, atol=1e-6, rtol=0)
    spread = -(table.exp() * table).sum(1).detach()
    torch.testing.assert_close(got.entropy, spread, atol=1e-6, rtol=1e-6)
    assert not got.entropy.requires_grad
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("chunk", [CHUNK, 10 * N])
def test_log_probabilities_alone_are_bit_for_bit_those_with_entropies(case, chunk):
    hidden, tokens, head = case
    given = {"temperature": 0.7, "chunk": chunk}
    both = chunked_token_stats(hidden, tokens, head, **given).logprobs
    alone = chunked_token_logprobs(hidden, tokens, head, **given)
    assert torch.equal(alone, both)
    gradients = [torch.autograd.grad(found.sum(), hidden)[0] for found in (alone, both)]
    assert torch.equal(*gradients)


def test_chunked_without_gradients_is_the_same(case):
    hidden, tokens, head = case
    with_grad = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=CHUNK)
    with torch.no_grad():
        without = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=CHUNK)
    assert not without.logprobs.requires_grad
    assert torch.equal(with_grad.logprobs, without.logprobs)
    assert torch.equal(with_grad.entropy, without.entropy)


def test_chunked_never_holds_all_logits(case):
    hidden, tokens, head = case
    with LargestTensor() as chunked:
        stats = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=CHUNK)
        stats.logprobs.sum().backward()
    with LargestTensor() as whole:
        token_logprobs(head(hidden), tokens, temperature=0.7).sum().backward()
    assert chunked.numel == CHUNK * V
    assert whole.numel == N * V  # the recorder does see such a tensor


def test_each_chunk_is_forgotten_and_computed_again_for_the_backward_pass(case):
    hidden, tokens, head = case
    chunks = [8, 8, 8, 8, 8, 8, 8, 5]
    stats = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=CHUNK)
    assert head.seen == chunks
    stats.logprobs.sum().backward()
    assert sorted(head.seen) == sorted(chunks * 2)


def test_one_chunk_is_not_computed_twice(case):
    hidden, tokens, head = case
    stats = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=N)
    stats.logprobs.sum().backward()
    assert head.seen == [N]


def test_without_gradients_nothing_is_prepared_for_them(case, monkeypatch):
    hidden, tokens, head = case
    monkeypatch.setattr("workbench.algos.logprobs.checkpoint", None)  # a call would raise
    with torch.no_grad():
        chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=CHUNK)
    assert head.seen == [8, 8, 8, 8, 8, 8, 8, 5]


def test_no_tokens_give_no_numbers(case):
    hidden, tokens, head = case
    got = chunked_token_stats(hidden[:0], tokens[:0], head, temperature=0.7, chunk=CHUNK)
    assert got.logprobs.shape == got.entropy.shape == (0,)
