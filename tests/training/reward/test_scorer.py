import pytest
import torch

from workbench.data.messages import as_messages
from workbench.errors import ModelError
from workbench.models.encoding import Encoded
from workbench.models.roles import Roles
from workbench.training.reward.scorer import Scorer

from ...models.tiny import EOS, load, make_model, tiny_settings
from ..conftest import make_adapter

ROWS = [
    Encoded([2, 5, 3], [6, 7, EOS]),
    Encoded([2, 8, 9, 3], [10, 11, 12, 13]),
    Encoded([2, 5, EOS, 3], [6, EOS]),
]


@pytest.fixture
def scorer(tiny, reward):
    roles = Roles(load(tiny), tiny_settings())
    return Scorer.attach(reward, roles, tiny_settings())


def test_on_the_base_that_is_loaded_it_is_one_more_adapter(tiny, reward):
    roles = Roles(load(tiny), tiny_settings())
    scorer = Scorer.attach(reward, roles, tiny_settings())
    assert scorer.shares_base
    assert scorer.base is roles.base
    assert scorer.roles is roles


def test_on_another_base_it_brings_its_own(tiny, tmp_path):
    other = make_model(tmp_path / "other", seed=4)
    theirs = make_adapter(tmp_path / "reward", other, 5, reward=True)
    roles = Roles(load(tiny), tiny_settings())
    scorer = Scorer.attach(str(theirs), roles, tiny_settings(quantization="nf4"))
    assert not scorer.shares_base
    assert scorer.base is not roles.base
    assert scorer.base.source.base == str(other)
    assert scorer.base.quantization == "nf4"  # guarded and quantised as any base


def test_a_score_is_the_heads_number_at_the_last_token_normalised(scorer):
    """Mean 0.25 and deviation 1.5, as reward.json says."""
    found = scorer.scores(ROWS, tokens=4096)
    for row, score in zip(ROWS, found, strict=True):
        with torch.no_grad(), scorer.roles.acting("reward"):
            ids = torch.tensor([row.ids])
            hidden = scorer.base.trunk(input_ids=ids).last_hidden_state[0, -1]
        raw = float(hidden @ scorer.head.weight[0])
        assert float(score) == pytest.approx((raw - 0.25) / 1.5, abs=1e-5)


def test_micro_batches_keep_order_and_numbers(scorer):
    whole = scorer.scores(ROWS, tokens=4096)
    torch.testing.assert_close(scorer.scores(ROWS, tokens=1), whole, rtol=0, atol=1e-5)


def test_scoring_records_no_gradient_and_leaves_the_role_off(scorer):
    found = scorer.scores(ROWS, tokens=4096)
    assert not found.requires_grad
    assert scorer.roles.role is None
    assert all(layer.active_adapters == [] for layer in scorer.roles._layers)


@pytest.mark.parametrize("which", ["base", "sft"])
def test_what_is_not_a_reward_model_is_refused(tiny, tuned, which):
    name = str(tiny) if which == "base" else tuned
    with pytest.raises(ModelError, match="not a reward model") as caught:
        Scorer.attach(name, Roles(load(tiny), tiny_settings()), tiny_settings())
    assert caught.value.where == name and "train_reward" in caught.value.fix


def test_its_encoder_has_its_own_tokenizer_and_the_settings_length(scorer):
    encoder = scorer.encoder(tiny_settings(max_length=16))
    assert encoder.max_length == 16
    assert encoder.tokenizer is scorer.base.tokenizer


def test_a_text_is_one_assistant_message():
    assert as_messages("a b", "assistant") == [{"role": "assistant", "content": "a b"}]
