import math

import pytest
import torch

from workbench.events import StopRequested
from workbench.models.fast.decoding import left_padded
from workbench.models.sampling import CHECK_EVERY, _inverse_cdf, sample_responses

from .tiny import EOS, load

PROMPTS = [[2, 5, 3], [2, 6, 7, 8, 9, 3], [2, 10, 11, 3], [3]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(base, prompts=PROMPTS, *, length=12, temperature=1.0, seed=0, **more):
    return sample_responses(
        base, prompts, length=length, temperature=temperature, generator=seeded(seed), **more
    )


@pytest.fixture(scope="module")
def quiet(tiny):
    """The tiny model; sampling changes nothing in it."""
    return load(tiny)


@pytest.fixture
def endless(quiet, monkeypatch):
    """No token ends an answer."""
    monkeypatch.setattr(quiet, "eos_ids", (10_000,))
    return quiet


def test_a_token_is_the_first_whose_cumulative_probability_exceeds_the_uniform():
    """Probabilities 0.2, 0.3, 0.5 end at 0.2, 0.5, 1.0."""
    logits = torch.tensor([0.2, 0.3, 0.5]).log().expand(6, 3)
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.49, 0.51, 0.9999999], dtype=torch.float64)
    assert _inverse_cdf(logits, uniforms, 1.0)[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_token_without_probability_is_never_drawn():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf]]).expand(3, 3)
    uniforms = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert _inverse_cdf(logits, uniforms, 1.0)[0].tolist()[:2] == [1, 1]


def test_temperature_divides_the_logits():
    """At T = 0.5 probabilities 0.2 and 0.8 become 0.04 / 0.68 = 0.0588 and 0.9412."""
    logits = torch.tensor([[0.2, 0.8]]).log().expand(2, 2)
    uniforms = torch.tensor([0.058, 0.060], dtype=torch.float64)
    drawn, chance = _inverse_cdf(logits, uniforms, 0.5)
    assert drawn.tolist() == [0, 1]
    assert chance.tolist() == pytest.approx([0.04 / 0.68, 0.64 / 0.68])


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_every_token_follows_from_the_whole_sequence_without_padding_or_cache(
    tiny, quantization, temperature
):
    """Redone by definition: one row at a time, a whole forward for each token."""
    base, length = load(tiny, quantization), 10
    told = torch.zeros(length, len(PROMPTS), dtype=torch.float64)
    found = sample(base, length=length, temperature=temperature, logprobs=told)
    uniforms = torch.rand(length, len(PROMPTS), generator=seeded(), dtype=torch.float64)
    for row, (prompt, response) in enumerate(zip(PROMPTS, found, strict=True)):
        for step, token in enumerate(response):
            ids = torch.tensor([prompt + response[:step]])
            with torch.no_grad():
                logits = base.model(input_ids=ids).logits[0, -1]
            p = torch.softmax(logits.double() / temperature, dim=0)
            before = float(p[:token].sum())
            assert before - 1e-5 <= float(uniforms[step, row]) <= before + float(p[token]) + 1e-5
            assert float(told[step, row]) == pytest.approx(float(p[token].log()), abs=1e-5)
        assert len(response) == length or response[-1] == EOS
        assert EOS not in response[:-1]


def test_the_same_seed_gives_the_same_ids_and_another_seed_others(quiet):
    assert sample(quiet) == sample(quiet)
    assert sample(quiet) != sample(quiet, seed=1)


def test_a_rows_answer_does_not_depend_on_the_others(endless):
    """Neither on their padding nor on when they end."""
    own = sample(endless, [[2, 5, 3], [3], [3]])[0]
    assert sample(endless, [[2, 5, 3], [2, 6, 7, 8, 9, 10, 11, 3], [2, 7, 3]])[0] == own
    endless.eos_ids = tuple(t for t in range(33) if t not in own)  # the others end at once
    found = sample(endless, [[2, 5, 3], [3], [3]])
    assert found[0] == own
    assert min(len(row) for row in found) < len(own)


def test_a_shorter_answer_is_the_beginning_of_a_longer_one(endless):
    """One number a row and step: a longer limit draws nothing differently."""
    assert [row[:5] for row in sample(endless, length=9)] == sample(endless, length=5)


@pytest.mark.parametrize("eos", [(EOS,), (5, 9, 20), tuple(range(4, 33))])
def test_any_of_several_eos_ids_ends_an_answer_and_stays_in_it(endless, eos):
    """What is sampled is the endless answer, cut after its first EOS."""
    whole = sample(endless, PROMPTS * 4, length=20)
    endless.eos_ids = eos
    for answer, uncut in zip(sample(endless, PROMPTS * 4, length=20), whole, strict=True):
        ends = [i for i, token in enumerate(uncut) if token in eos]
        assert answer == (uncut[: ends[0] + 1] if ends else uncut)


def test_an_eos_inside_the_prompt_ends_nothing(endless):
    found = sample(endless, [[2, EOS, 3]], length=4)
    assert len(found[0]) == 4


def test_frequencies_are_those_of_the_softmax(quiet):
    """Chi-square of 6000 first tokens against softmax(logits / T), no token left out."""
    for temperature in (1.0, 0.7):
        rows = 6000
        drawn = sample(quiet, [PROMPTS[1]] * rows, length=1, temperature=temperature, seed=3)
        with torch.no_grad():
            logits = quiet.model(input_ids=torch.tensor([PROMPTS[1]])).logits[0, -1].double()
        expected = rows * torch.softmax(logits / temperature, dim=0)
        counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=33).double()
        often = expected >= 5  # the usual condition of the test: what is rarer is pooled
        e = torch.cat([expected[often], expected[~often].sum(0, keepdim=True)])
        c = torch.cat([counts[often], counts[~often].sum(0, keepdim=True)])
        statistic = ((c - e) ** 2 / e.clamp(min=1e-9)).sum()
        freedom = torch.tensor((int((e > 0).sum()) - 1) / 2, dtype=torch.float64)
        assert float(torch.special.gammaincc(freedom, statistic / 2)) > 0.001


def test_four_hundred_thousand_draws_are_distributed_as_the_softmax():
    """Chi-square of 39 degrees of freedom; one in a thousand fair samplers is above 72.05."""
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(40, generator=generator)
    expected = 400_000 * (logits.double() / 0.7).exp() / (logits.double() / 0.7).exp().sum()
    uniforms = torch.rand(400_000, generator=generator, dtype=torch.float64)
    drawn, _ = _inverse_cdf(logits.expand(400_000, 40), uniforms, 0.7)
    counts = torch.bincount(drawn, minlength=40)
    assert ((counts - expected) ** 2 / expected).sum() < 72.05


def test_finished_rows_leave_the_batch(endless, monkeypatch):
    sizes: list[int] = []
    real = endless.trunk.forward

    def watched(*args, **kwargs):
        sizes.append(len(kwargs["input_ids"]))
        return real(*args, **kwargs)

    whole = sample(endless, PROMPTS * 4, length=20)
    endless.eos_ids = (5, 9, 20)
    monkeypatch.setattr(endless.trunk, "forward", watched)
    found = sample(endless, PROMPTS * 4, length=20)
    assert sizes[:2] == [1, 16]  # the prompts in one row; then a token for each answer
    assert sizes[1:] == sorted(sizes[1:], reverse=True)
    assert len(set(sizes)) > 2  # compacted more than once
    assert len(sizes) == max(len(row) for row in found)
    assert [w[: len(f)] for w, f in zip(whole, found, strict=True)] == found


def test_when_all_have_ended_decoding_ends(endless, monkeypatch):
    calls: list[int] = []
    real = endless.trunk.forward
    monkeypatch.setattr(
        endless.trunk, "forward", lambda *a, **k: (calls.append(1), real(*a, **k))[1]
    )
    endless.eos_ids = tuple(range(33))
    assert [len(row) for row in sample(endless, length=20)] == [1] * len(PROMPTS)
    assert len(calls) == 1


def test_the_safe_point_comes_every_few_steps(endless):
    calls: list[int] = []
    sample(endless, length=2 * CHECK_EVERY + 1, safe_point=lambda: calls.append(1))
    assert len(calls) == 3


def test_a_stop_in_the_middle_reaches_the_trainer(endless):
    calls: list[int] = []

    def second():
        calls.append(1)
        if len(calls) == 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        sample(endless, length=40, safe_point=second)
    assert len(calls) == 2


def test_sampling_leaves_the_global_random_state_alone(quiet):
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    sample(quiet)
    assert torch.equal(torch.rand(2), expected)


def test_positions_count_from_a_prompts_first_real_token(quiet):
    """Padding has no position of its own; where positions are learned, it would shift them."""
    ids, positions, mask = left_padded(quiet, [[2, 5, 3], [3]])
    assert ids.tolist() == [[2, 5, 3], [0, 0, 3]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]
