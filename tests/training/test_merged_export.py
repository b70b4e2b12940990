"""A run's model as plain weights: no peft, no base, the same numbers."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from workbench.errors import ConfigError, ModelError
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import RewardSettings
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.merged_export import export_model
from workbench.training.reward import reward

from ..models.encoders import make_encoder
from ..models.tiny import load, make_model, tiny_settings
from .conftest import PROMPTS, make_adapter
from .reward.test_reward import ROWS

TEXTS = ["a b", "good", "c d e"]


def trained(base, where, **changes):
    few = {"steps": 3, "batch_size": 4, "learning_rate": 1e-2, "holdout": 0.25, **changes}
    list(reward.RewardTrainer(str(base), ROWS, tiny_settings(RewardSettings, **few), where).run())
    return where.folder / "final"


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_reward_model_scores_the_same_as_plain_weights(tiny, tmp_path, place, quantization, kind):
    """From an NF4 run too: the base is what the run saw, unpacked."""
    base = tiny if kind == "decoder" else make_encoder(tmp_path / "encoder")
    final = trained(base, place(), quantization=quantization)
    told = export_model(str(final), tmp_path / "plain", tiny_settings(), dtype="auto")
    assert (told["kind"], told["dtype"]) == ("reward", "float32")
    few = tiny_settings(quantization=quantization)
    expected = evaluate(str(final), PROMPTS[:3], TEXTS, few)
    plain = tmp_path / "plain"
    assert evaluate(str(plain), PROMPTS[:3], TEXTS, tiny_settings()) == [
        pytest.approx(expected[0], abs=1e-5)
    ]
    assert resolve(str(plain)).is_measured
    model = AutoModelForSequenceClassification.from_pretrained(str(plain))
    tokenizer = AutoTokenizer.from_pretrained(str(plain))
    assert model.config.num_labels == 1
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert "quantization_config" not in json.loads((plain / "config.json").read_text())


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_a_policy_speaks_the_same_as_plain_weights(tiny, tuned, tmp_path, dtype):
    export_model(tuned, tmp_path / "plain", tiny_settings(), dtype=dtype)
    roles = Roles(load(tiny), tiny_settings())
    roles.add("policy", trainable=False, source=resolve(tuned).adapter)
    ids = torch.arange(5, 29).reshape(2, 12)
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "plain"), dtype=torch.float32)
    with torch.no_grad(), roles.acting("policy"):
        expected = roles.base.model(input_ids=ids).logits
        found = model(input_ids=ids).logits
    close = 1e-4 if dtype == "auto" else 0.2
    torch.testing.assert_close(found, expected, rtol=0, atol=close)
    told = json.loads((tmp_path / "plain" / "config.json").read_text())["dtype"]
    assert told == ("float32" if dtype == "auto" else "bfloat16")


def test_what_is_not_merged(tiny, tuned, tmp_path, place):
    settings = tiny_settings()
    with pytest.raises(ConfigError, match="cannot be written as 'nf4'") as caught:
        export_model(tuned, tmp_path / "a", settings, dtype="nf4")
    assert "nothing is merged into 4 bits" in caught.value.fix
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="something there already") as caught:
        export_model(tuned, tmp_path / "there", settings, dtype="auto")
    assert caught.value.where == str(tmp_path / "there") and caught.value.fix
    with pytest.raises(ModelError, match="no adapter") as caught:
        export_model(str(tiny), tmp_path / "a", settings, dtype="auto")
    assert caught.value.where == str(tiny) and caught.value.fix
    final = trained(tiny, place(), steps=1, members=2)
    with pytest.raises(ModelError, match="ensemble of 2 members") as caught:
        export_model(str(final), tmp_path / "a", settings, dtype="auto")
    assert "member-0" in caught.value.fix and caught.value.where
    assert not (tmp_path / "a").exists()
    export_model(str(final / "member-1"), tmp_path / "a", settings, dtype="auto")


def test_a_base_whose_own_files_are_quantised_is_not_merged_into(tmp_path):
    base = make_model(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base, 3)
    config = json.loads((base / "config.json").read_text())
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    told = base / "config.json"
    told.write_text(json.dumps({**config, "quantization_config": quantised}))
    with pytest.raises(ModelError, match="own files are quantised") as caught:
        export_model(str(adapter), tmp_path / "a", tiny_settings(), dtype="auto")
    assert caught.value.where == str(base) and caught.value.fix
