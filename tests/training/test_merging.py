import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.errors import ModelError
from workbench.models.roles import Roles
from workbench.models.source import CARD
from workbench.training.merging import merge

from ..models.tiny import load, make_model, tiny_settings

IDS = torch.tensor([[2, 5, 6, 3, 7, 8]])


@torch.no_grad()
def test_a_merged_model_says_by_itself_what_the_adapter_says_on_the_full_weights(
    tiny, tuned, tmp_path
):
    roles = Roles(load(tiny), tiny_settings())
    roles.add("policy", trainable=False, source=tuned)
    with roles.acting("policy"):
        expected = roles.base.model(input_ids=IDS).logits
    off = roles.base.model(input_ids=IDS).logits
    out = tmp_path / "deep" / "merged"
    told = merge(tuned, out, dtype="float32")
    found = AutoModelForCausalLM.from_pretrained(str(out))(input_ids=IDS).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert not torch.allclose(found, off, atol=1e-2)
    assert AutoTokenizer.from_pretrained(str(out)).chat_template
    assert told == json.loads((out / CARD).read_text())
    assert (told["base"], told["merged_from"]) == (str(tiny), tuned)
    assert told["trained_on"] == {"quantization": "none", "dtype": "float32"}


def test_half_precision_is_what_is_written(tuned, tmp_path):
    merge(tuned, tmp_path / "half", dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "half"), dtype="auto")
    assert model.dtype == torch.bfloat16


def test_what_cannot_be_merged(tiny, reward, tmp_path):
    with pytest.raises(ModelError, match="no adapter to merge") as caught:
        merge(str(tiny), tmp_path / "a", dtype="float32")
    assert "train_ppo" in caught.value.fix
    with pytest.raises(ModelError, match="scores answers"):
        merge(reward, tmp_path / "a", dtype="float32")
    assert not (tmp_path / "a").exists()


def test_a_base_whose_files_are_4_bit_is_not_rounded_again(tiny, tmp_path):
    small = tmp_path / "packed"
    base = load(tiny, "nf4")
    base.model.save_pretrained(str(small))
    base.tokenizer.save_pretrained(str(small))
    roles = Roles(load(make_model(tmp_path / "m")), tiny_settings())
    roles.add("policy", trainable=True)
    roles.save("policy", tmp_path / "adapter", task="CAUSAL_LM", extra={})
    card = tmp_path / "adapter" / CARD
    card.write_text(json.dumps({**json.loads(card.read_text()), "base": str(small)}))
    with pytest.raises(ModelError, match="quantised") as caught:
        merge(str(tmp_path / "adapter"), tmp_path / "out", dtype="bfloat16")
    assert caught.value.where == str(small) and "16 bits" in caught.value.fix
