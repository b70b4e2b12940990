import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.models import forward
from workbench.models.encoding import Encoded
from workbench.settings import PPOSettings
from workbench.training.batches import shuffled
from workbench.training.ppo.mini_batches import mini_batch_parts, mini_batches, shuffled_episodes
from workbench.training.process_group import Team

from ...models.tiny import load, make_model, tiny_settings


def settings(**changes):
    return tiny_settings(PPOSettings, **changes)


def rows_of(lengths):
    return [Encoded([2], [5] * (n - 1)) for n in lengths]


def micro_batches(rows, order, settings, base):
    """Those of each mini-batch."""
    parts = mini_batches(rows, order, settings, base, Team())
    assert [part.episodes for part in parts] == mini_batch_parts(list(order), settings)
    return [part.micro_batches for part in parts]


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A base whose rows lie flat."""
    return load(make_model(tmp_path_factory.mktemp("flat") / "tiny"))


@pytest.fixture
def padded(flat, monkeypatch):
    """The same, taken for a model that does not pack."""
    monkeypatch.setattr(forward, "packs", lambda model: "as an example")
    return flat


def test_mini_batches_by_hand(padded):
    """Order 3 0 2 1 in two parts: (3, 2) and (0, 1); 8 tokens hold two rows of 4, one of 6."""
    rows = rows_of([4, 6, 2, 4])
    found = micro_batches(rows, [3, 0, 2, 1], _tokens(16), padded)
    assert found == [[[2, 3]], [[0, 1]]]
    found = micro_batches(rows, [3, 0, 2, 1], _tokens(8), padded)
    assert found == [[[2, 3]], [[0], [1]]]


def test_flat_mini_batches_by_hand(flat):
    """Without padding rows of 2 and 6 tokens fill 8; samples of one prompt count it once."""
    rows = rows_of([4, 2, 6, 5])
    # all begin alike: 2 tokens and 5 more are 7, but 4 and 4 more are not
    assert micro_batches(rows, [1, 0, 2, 3], _tokens(7), flat) == [[[1, 2]], [[0], [3]]]
    one, other = [2, 5, 6], [2, 7, 8]
    rows = [Encoded(p, [9] * n) for p, n in ((one, 2), (other, 4), (one, 1), (other, 5))]
    # rows 0 and 2 are 3 + 2 + 1 tokens, row 1 is 7 more, and row 3 begins its prompt anew
    assert micro_batches(rows, range(4), _tokens(14, 1), flat) == [[[0, 2, 1], [3]]]
    assert micro_batches(rows, range(4), _tokens(4, 1), flat) == [[[0], [2], [1], [3]]]


def test_samples_of_one_prompt_stay_together_in_every_order():
    two = settings(samples_per_prompt=4, mini_batches=2)
    order = shuffled_episodes(8, two, torch.Generator().manual_seed(1))
    assert sorted(order) == list(range(8))
    assert order[:4] in ([0, 1, 2, 3], [4, 5, 6, 7])
    drawn = [
        shuffled_episodes(8, settings(mini_batches=count), torch.Generator().manual_seed(1))
        for count in (1, 4)
    ]
    assert drawn[0] == drawn[1] == shuffled(8, torch.Generator().manual_seed(1))


def test_samples_of_one_prompt_are_in_one_mini_batch():
    given = settings(samples_per_prompt=2, mini_batches=2)
    assert mini_batch_parts([4, 5, 0, 1, 2, 3, 6, 7], given) == [[4, 5, 2, 3], [0, 1, 6, 7]]


def test_fewer_prompts_than_mini_batches_are_parted():
    """Two prompts cannot fill three mini-batches: then every episode goes its own way."""
    given = settings(samples_per_prompt=4, mini_batches=3)
    found = shuffled_episodes(8, given, torch.Generator().manual_seed(1))
    assert found == shuffled(8, torch.Generator().manual_seed(1))


def _tokens(size, count=2):
    found = settings(mini_batches=count)
    object.__setattr__(found, "micro_batch_tokens", size)
    return found


def test_no_more_mini_batches_than_episodes(flat):
    rows = rows_of([3, 3])
    assert len(micro_batches(rows, [0, 1], settings(mini_batches=9), flat)) == 2


@given(
    lengths=st.lists(st.integers(2, 30), min_size=1, max_size=20),
    count=st.integers(1, 6),
    data=st.data(),
)
def test_mini_batches_are_a_partition(flat, lengths, count, data):
    order = data.draw(st.permutations(range(len(lengths))))
    found = micro_batches(rows_of(lengths), order, settings(mini_batches=count), flat)
    flattened = [i for part in found for group in part for i in group]
    assert sorted(flattened) == list(range(len(lengths)))
    sizes = [sum(map(len, part)) for part in found]
    assert max(sizes) - min(sizes) <= 1
