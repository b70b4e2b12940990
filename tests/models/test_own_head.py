"""Whatever a model does after its last hidden state is called: expected is its own forward."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM

from workbench.models.encoding import Encoded
from workbench.models.forward import lay, response_stats
from workbench.models.loaded_base import OUTPUT_EMBEDDINGS, OWN_FORWARD
from workbench.models.own_head import joint_of

from .families import GATED, SIZES, make_base

IDS = torch.randint(5, 33, (1, 14), generator=torch.Generator().manual_seed(3))
ROWS = [Encoded(IDS[0, :6].tolist(), IDS[0, 6:].tolist()), Encoded([7, 8], [9, 10, 11])]
PLAIN: dict[str, tuple[str, dict]] = {
    "Llama": ("llama", GATED),
    "GPT-2": ("gpt2", SIZES),
    "Granite that divides by one": ("granite", {**GATED, "logits_scaling": 1.0}),
    "Phi, with a bias": ("phi", {**GATED, "partial_rotary_factor": 0.5}),
    "BART's decoder": (
        "bart",
        {**SIZES, "d_model": 32, "decoder_layers": 1, "decoder_ffn_dim": 48},
    ),
}
OWN: dict[str, tuple[str, dict]] = {
    "Granite": ("granite", {**GATED, "logits_scaling": 8.0}),
    "Granite, almost one": ("granite", {**GATED, "logits_scaling": 1.001}),
    "GraniteMoe": ("granitemoe", {**GATED, "logits_scaling": 3.0, "num_local_experts": 4}),
    "Cohere": ("cohere", {**GATED, "logit_scale": 0.0625}),
    "Cohere2": ("cohere2", {**GATED, "logit_scale": 2.0, "head_dim": 8}),
    "Gemma 2": ("gemma2", {**GATED, "head_dim": 8, "final_logit_softcapping": 3.0}),
    "Gemma 2, far cap": ("gemma2", {**GATED, "head_dim": 8, "final_logit_softcapping": 500.0}),
    "Gemma 3": ("gemma3_text", {**GATED, "head_dim": 8, "final_logit_softcapping": 2.0}),
    "MiniCPM3": ("minicpm3", {**GATED, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 4,
                              "qk_rope_head_dim": 4, "v_head_dim": 8, "dim_model_base": 8}),
    "BERT's layers before its head": ("bert", {**SIZES, "is_decoder": True}),
}  # fmt: skip


def expected(base, row: Encoded):
    logits = base.model(input_ids=torch.tensor([row.ids])).logits[0, len(row.prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(row.response)[:, None])[:, 0]


@pytest.mark.parametrize("name", [*PLAIN, *OWN])
def test_log_probabilities_are_those_of_the_models_own_forward(name):
    kind, config = {**PLAIN, **OWN}[name]
    base = make_base(kind, **config)
    with torch.no_grad():
        stats = response_stats(base, lay(ROWS, base), temperature=1.0)
        for found, mask, row in zip(stats.logprobs, stats.logprobs != 0, ROWS, strict=True):
            torch.testing.assert_close(found[mask], expected(base, row), rtol=0, atol=1e-5)
    way = OUTPUT_EMBEDDINGS if name in PLAIN else OWN_FORWARD
    assert base.proofs["head"].way == way


@pytest.mark.parametrize("name", ["Granite", "Cohere", "Gemma 2", "BERT's layers before its head"])
def test_gradients_pass_through_the_own_head(name):
    kind, config = OWN[name]
    base = make_base(kind, **config)
    hidden = base.trunk(input_ids=IDS).last_hidden_state[0].detach().requires_grad_()
    embedded = base.model.get_input_embeddings()(IDS).detach().requires_grad_()
    weighing = torch.randn(14, 40, generator=torch.Generator().manual_seed(1))
    known = base.model(inputs_embeds=embedded).logits[0]
    torch.testing.assert_close(base.logits(hidden), known.detach(), rtol=0, atol=1e-5)
    # what reaches the last hidden state is what reaches the embeddings through the trunk
    (at_hidden,) = torch.autograd.grad((base.logits(hidden) * weighing).sum(), hidden)
    (right,) = torch.autograd.grad((known * weighing).sum(), embedded)
    states = base.trunk(inputs_embeds=embedded).last_hidden_state[0]
    (found,) = torch.autograd.grad((states * at_hidden).sum(), embedded)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_an_adapter_on_the_head_is_scaled_with_it():
    """The multiplier comes behind the adapter too."""
    base = make_base("granite", **{**GATED, "logits_scaling": 4.0, "tie_word_embeddings": False})
    assert base.own_head is not None
    adapted = get_peft_model(base.model, LoraConfig(r=2, target_modules=["lm_head", "q_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(0))
    known = base.model(input_ids=IDS).logits[0]
    found = base.logits(base.trunk(input_ids=IDS).last_hidden_state[0])
    torch.testing.assert_close(found, known, rtol=0, atol=1e-5)
    ours = [w for n, w in adapted.named_parameters() if "lm_head.lora" in n]
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), ours, retain_graph=True),
        torch.autograd.grad(known.square().sum(), ours),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


class ShiftedLlama(LlamaForCausalLM):
    """A model of somebody's own, with a shift of their own after the head."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 2.0 * output.logits + torch.arange(output.logits.shape[-1]) / 10
        return output


def test_a_class_of_somebodys_own_is_called_too():
    base = make_base("llama", **GATED)
    base.model.__class__ = ShiftedLlama
    with torch.no_grad():
        stats = response_stats(base, lay(ROWS[:1], base), temperature=1.0)
        torch.testing.assert_close(stats.logprobs[0], expected(base, ROWS[0]), rtol=0, atol=1e-5)
    assert base.proofs["head"].way == OWN_FORWARD


def test_a_trunk_is_what_it_was_after_its_head_ran():
    base = make_base("granite", **{**GATED, "logits_scaling": 8.0})
    base.logits(torch.randn(3, 32))
    assert "forward" not in vars(base.trunk)
    base.trunk.forward = watched = lambda *args, **kwargs: None
    base.logits(torch.randn(3, 32))
    assert vars(base.trunk)["forward"] is watched


def test_the_joint_is_the_outermost_module_that_gives_hidden_states():
    base = make_base("llama4_text", **{**GATED, "head_dim": 8, "num_local_experts": 2})
    joint = joint_of(base.model, IDS)
    assert joint is not None
    assert joint.module is base.trunk is base.model.model
    bare = make_base("llama", causal=False, **GATED)
    assert joint_of(bare.model, IDS) is None


def test_a_last_state_may_be_wider_or_narrower_than_an_embedding():
    """ELECTRA's embeddings have a size of their own."""
    base = make_base("electra", **{**SIZES, "is_decoder": True, "embedding_size": 16})
    assert base.model.get_input_embeddings().weight.shape[1] == 16
    assert base.width == 32
