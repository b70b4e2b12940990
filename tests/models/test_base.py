import ast
import re
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cosine_similarity

import workbench.models.base as base_module
import workbench.models.self_test as self_test_module
from workbench.errors import ConfigError, ModelError
from workbench.models.base import load_base, pick_device, pick_dtype
from workbench.models.roles import Roles
from workbench.models.source import resolve

from .families import make_family
from .tiny import EOS, load, make_model, tiny_settings

bnb = pytest.importorskip("bitsandbytes")


def four_bit_layers(model):
    return [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]


# --- the CPU guard -----------------------------------------------------------------------------


def test_every_4_bit_layer_is_guarded_before_its_first_forward(tiny, monkeypatch):
    real, seen = bnb.nn.Linear4bit.forward, set()

    def watched(self, *inputs):
        assert self.support_avx512bf16_for_cpu is False, "a forward before the guard"
        seen.add(self)
        return real(self, *inputs)

    monkeypatch.setattr(bnb.nn.Linear4bit, "forward", watched)
    self_test_module._known.clear()  # a test that is remembered computes nothing
    layers = four_bit_layers(load(tiny, "nf4").model)
    assert len(layers) == len(seen) == 2 * 7
    assert all(layer.support_avx512bf16_for_cpu is False for layer in layers)


def test_the_guard_also_holds_below_adapters(base4):
    roles = Roles(base4, tiny_settings(quantization="nf4"))
    roles.add("policy", trainable=True)
    layers = four_bit_layers(base4.model)
    assert len(layers) >= 2 * 7
    assert all(layer.support_avx512bf16_for_cpu is False for layer in layers)


def test_a_model_is_loaded_for_training_in_one_place_only(project):
    """Another load path would be one without the guard."""

    def loads(path):
        calls = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        names = (ast.unparse(call) for call in calls)
        return any(re.search(r"AutoModel\w*\.from_pretrained$|Linear4bit$", n) for n in names)

    found = {
        path.relative_to(project).as_posix()
        for path in (project / "workbench").rglob("*.py")
        if loads(path)
    }
    assert found == {"workbench/models/base.py"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_the_same_before_and_after_an_eval_forward(tiny, dtype):
    """Without the guard, CPUs with AVX512-BF16 repack the weights and lose most of the gradient."""
    base = load(tiny, "nf4", dtype=dtype)
    model = get_peft_model(base.model, LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(5, 29).reshape(2, 12)

    def gradients():
        model.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids).loss.backward()
        found = [p.grad for p in model.parameters() if p.requires_grad]
        assert all(grad is not None for grad in found)
        return torch.cat([grad.flatten().double() for grad in found])

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    after = gradients()
    assert float(cosine_similarity(before, after, dim=0)) == pytest.approx(1.0, abs=1e-6)
    assert float(after.norm() / before.norm()) == pytest.approx(1.0, abs=1e-6)


# --- 4 bits, and where they cannot be had ---------------------------------------------------------


def test_nf4_with_double_quantisation_is_what_is_loaded(base4):
    assert (base4.quantization, base4.notices) == ("nf4", [])
    for layer in four_bit_layers(base4.model):
        state = layer.weight.quant_state
        assert (layer.weight.dtype, state.quant_type) == (torch.uint8, "nf4")
        assert state.nested  # double quantisation
        assert layer.weight.numel() * 2 == layer.in_features * layer.out_features
        assert layer.compute_dtype == torch.float32


def test_4_bits_stay_near_the_weights_they_stand_for(base, base4):
    """Normal weights in blocks of 64 lose about 9 % (rms) in NF4."""
    exact = base.model.get_parameter("model.layers.0.mlp.up_proj.weight")
    packed = base4.model.get_parameter("model.layers.0.mlp.up_proj.weight")
    coarse = bnb.functional.dequantize_4bit(packed.data, packed.quant_state)
    assert coarse.shape == exact.shape
    assert 0.05 < float((coarse - exact).norm() / exact.norm()) < 0.12


def test_without_bitsandbytes_the_base_is_loaded_unquantised_and_says_so(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    base = load(tiny, "nf4")
    assert base.quantization == "none"
    (notice,) = base.notices
    assert "bitsandbytes cannot be used" in notice and "not quantised" in notice
    assert not four_bit_layers(base.model)


def test_bitsandbytes_that_fails_as_it_starts_counts_as_absent(monkeypatch):
    def broken(name, *args, **kwargs):
        if name == "bitsandbytes":
            raise RuntimeError("no libbitsandbytes\nmore lines")
        return real(name, *args, **kwargs)

    real = __import__
    monkeypatch.setattr("builtins.__import__", broken)
    kind, notices = base_module._quantization("nf4")
    assert (kind, notices) == (
        "none",
        ["bitsandbytes cannot be used (no libbitsandbytes): not quantised"],
    )


def test_quantization_none_says_nothing(base):
    assert (base.quantization, base.notices) == ("none", [])
    assert not four_bit_layers(base.model)


def test_dimensions_that_straddle_blocks_are_told(tmp_path):
    folder = make_model(tmp_path / "odd", hidden_size=96, intermediate_size=160)
    base = load(folder, "nf4")
    assert base.quantization == "nf4"
    (notice,) = base.notices
    assert "14 layers" in notice and "multiple of 64" in notice and "q_proj" in notice
    ids = torch.arange(5, 15)[None]
    assert bool(torch.isfinite(base.trunk(input_ids=ids).last_hidden_state).all())


def test_a_model_that_has_nothing_to_quantise_is_not_called_quantised(base):
    notices: list[str] = []
    assert base_module._describe_4bit(base.model, 0, notices) == "none"
    assert "no layer" in notices[0]


# --- device and dtype -----------------------------------------------------------------------------


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"
    assert pick_device("cuda").type == "cuda"
    assert pick_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"


def test_cuda_asked_for_and_absent_is_an_error_not_a_cpu_run(monkeypatch, tiny):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="CUDA was asked for") as caught:
        load(tiny, device="cuda")
    assert "device" in caught.value.where and "cpu" in caught.value.fix


@pytest.mark.parametrize(
    ("asked", "device", "capability", "expected"),
    [
        ("auto", "cpu", None, torch.float32),
        ("auto", "cuda", (7, 5), torch.float16),  # T4
        ("auto", "cuda", (8, 0), torch.bfloat16),  # A100
        ("auto", "cuda", (9, 0), torch.bfloat16),  # H100
        ("float32", "cuda", (7, 5), torch.float32),
        ("bfloat16", "cpu", None, torch.bfloat16),
        ("float16", "cpu", None, torch.float16),
        ("float64", "cpu", None, torch.float64),
    ],
)
def test_the_dtype_suits_the_hardware(asked, device, capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert pick_dtype(asked, torch.device(device)) == expected


def test_the_base_computes_in_the_dtype_asked_for(tiny):
    base = load(tiny, dtype="bfloat16")
    assert base.dtype == torch.bfloat16
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_a_small_model_takes_one_thread_and_the_setting_overrules(tiny):
    before = torch.get_num_threads()
    try:
        load(tiny, threads=2)
        assert torch.get_num_threads() == 2
        load(tiny)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_large_model_leaves_one_core(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    with torch.device("meta"):
        large = torch.nn.Linear(10_000, 6_000)
    assert base_module._threads(large) == 7


# --- what is loaded, and what cannot be -----------------------------------------------------------


def test_the_base_is_frozen_and_in_eval_mode(base):
    assert not any(p.requires_grad for p in base.model.parameters())
    assert not any(module.training for module in base.model.modules())
    assert (base.width, base.longest, base.eos_ids) == (64, 128, (EOS,))


def test_logits_are_those_of_the_whole_model(base):
    ids = torch.arange(5, 25)[None]
    whole = base.model(input_ids=ids).logits[0]
    torch.testing.assert_close(
        base.logits(base.trunk(input_ids=ids).last_hidden_state[0]), whole, rtol=0, atol=0
    )


def test_capped_logits_are_capped_here_too():
    base = make_family("Gemma 2", final_logit_softcapping=5.0)
    hidden = 100 * torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    plain = base.model.get_output_embeddings()(hidden)
    torch.testing.assert_close(base.logits(hidden), 5.0 * torch.tanh(plain / 5.0))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_a_model_error(name, tmp_path):
    folder = make_model(tmp_path / "damaged")
    (folder / name).write_text("no such thing")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load(folder)
    assert caught.value.where == str(folder) and caught.value.fix


def test_a_hub_id_that_cannot_be_reached_is_a_model_error():
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load("nobody/has-this-model")
    assert "nobody/has-this-model" in caught.value.where and "network" in caught.value.fix


def test_an_architecture_that_is_unknown_is_a_model_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(tmp_path)


def test_loading_does_not_touch_the_global_random_state(tiny):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_base(resolve(str(tiny)), tiny_settings())
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
