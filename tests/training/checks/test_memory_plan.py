import json
from types import SimpleNamespace

import pytest
import torch

from workbench.errors import ConfigError, ModelError
from workbench.model_shapes import QWEN_7B
from workbench.models.fast import on_card
from workbench.settings import PPOSettings, RewardSettings, SFTSettings
from workbench.training.checks import memory_plan as plans
from workbench.training.checks.live_bytes import LiveBytes, all_tensors
from workbench.training.ppo import ppo

from ...models.conformance import SEEING, config_of, seeing_config_of
from ...models.tiny import make_model, tiny_settings, user
from ..conftest import make_adapter

SIZES = {
    "narrow": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    "wide": {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4},
}


def peak(told):
    phases = {}
    for part in told["parts"]:
        phases[part["phase"]] = phases.get(part["phase"], 0) + part["bytes"]
    return max(phases.values())


def parts(told, phase):
    return {p["part"]: p["bytes"] for p in told["parts"] if p["phase"] == phase}


# --- live bytes


def test_live_bytes_are_those_of_the_tensors_that_are_alive():
    before = torch.zeros(100)  # 400 bytes
    with LiveBytes([before]) as live:
        a = torch.zeros(10, dtype=torch.float64)  # 80
        view = a[:5]  # the same memory
        b = before + 1  # 400
        assert live.now == 880
        del a, b
        assert live.now == 480  # the view holds it
        del view
        assert live.now == 400
    assert live.peak == 880
    with LiveBytes([before], counted=False) as live:
        before.view(2, 50)
    assert live.peak == 0


# --- against the measured peak


SMALL, LARGE = {"micro_batch_tokens": 256}, {"micro_batch_tokens": 1024, "batch_size": 32}


@pytest.mark.parametrize(
    ("size", "value", "shape"),
    [
        ("narrow", "adapter", SMALL),
        pytest.param("narrow", "shared", SMALL, marks=pytest.mark.slow),
        pytest.param("narrow", "adapter", LARGE, marks=pytest.mark.slow),
        pytest.param("wide", "shared", SMALL, marks=pytest.mark.slow),
        pytest.param("wide", "adapter", LARGE, marks=pytest.mark.slow),
        pytest.param("wide", "shared", LARGE, marks=pytest.mark.slow),
    ],
)
def test_the_planned_peak_is_within_10_percent_of_the_measured_one(
    tmp_path, place, monkeypatch, size, value, shape
):
    model = make_model(tmp_path / "model", **SIZES[size])
    reward = make_adapter(tmp_path / "reward", model, 11, reward=True)
    few = {"batch_size": 16, "steps": 2, "epochs": 1, "mini_batches": 2, "max_length": 64}
    few |= {"response_length": 32, "watch_every": 0, "value": value}
    settings = tiny_settings(PPOSettings, **{**few, **shape})
    told = plans.plan(str(model), settings)
    before = {id(t) for t in all_tensors()}
    prompts = [user(" ".join("abcdefghijklmnopqrstuvwxyz"[i % 20] * 40)) for i in range(32)]
    made = ppo.PPOTrainer(str(model), str(reward), prompts, settings, place())
    made.base.eos_ids = ()  # every answer is as long as it may be
    made.train_step()  # AdamW makes its moments at the first step
    with LiveBytes(t for t in all_tensors() if id(t) not in before) as live:
        made.train_step()
    assert peak(told) == pytest.approx(live.peak, rel=0.1)


# --- what is planned


def hand_written(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.slow
def test_seven_billion_weights_with_all_four_roles_take_at_most_10_gb(tmp_path):
    settings = PPOSettings(
        batch_size=16,
        mini_batches=4,
        max_length=640,
        response_length=256,
        micro_batch_tokens=4 * 640,
        lora_rank=16,
        gradient_checkpointing=True,
    )
    told = plans.plan(hand_written(tmp_path / "qwen", **QWEN_7B.config), settings, card=24 * 10**9)
    assert (told["rows"], told["length"], told["dtype"]) == (4, 640, "bfloat16")
    assert peak(told) <= 10e9
    # by hand, a layer: q, k, v, o and the three of its MLP
    layer = 3584 * (2 * 3584 + 2 * 512) + 3 * 3584 * 18944
    assert parts(told, "optimise")["base: linear layers"] == round(28 * layer * 4.127 / 8)


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    """A model of two layers that is a config and nothing else."""
    whole = make_model(tmp_path_factory.mktemp("whole"))
    config = json.loads((whole / "config.json").read_text())
    return hand_written(tmp_path_factory.mktemp("bare") / "model", **config)


def test_each_part_is_counted_as_its_definition_says(shape):
    settings = tiny_settings(lora_rank=4, batch_size=8, mini_batches=2, max_length=32)
    found = parts(plans.plan(shape, settings), "optimise")
    inside = 2 * (4 * 64 * 64 + 3 * 64 * 128)  # linear weights of two layers
    adapter = 2 * 4 * (4 * (64 + 64) + 3 * (64 + 128))  # rank × (in + out) of each
    trained = 2 * adapter + 64  # policy and value, and the value's head
    assert found["base: linear layers"] == 4 * inside
    assert found["adapters and heads"] == 4 * (trained + adapter + 64)  # and the reward model
    assert found["gradients"] == 4 * trained
    assert found["AdamW's moments"] == 8 * trained
    assert found["copy of the state, to undo an update"] == 12 * trained
    far = plans.plan(shape, settings.changed(quantization="nf4"), card=10**9)
    found = parts(far, "generate")
    assert found["base: linear layers"] == round(inside * 4.127 / 8)
    assert found["keys and values"] == 2 * 2 * 64 * 8 * 32 * 2  # layers, width, rows, slots, bf16
    assert "copy of the state, to undo an update" not in found  # it is in the machine's memory


def test_a_shared_trunk_and_critic_free_ppo_train_less(shape):
    trained = {
        name: plans.plan(shape, tiny_settings(**changes))["trained"]
        for name, changes in {
            "adapter": {},
            "shared": {"value": "shared"},
            "rloo": {"advantage": "rloo", "samples_per_prompt": 2},
        }.items()
    }
    assert trained["adapter"] == 2 * trained["rloo"] + 64
    assert trained["shared"] == trained["rloo"] + 64


def test_checkpointing_and_smaller_micro_batches_save_activations(shape):
    def activations(**changes):
        settings = tiny_settings(batch_size=16, mini_batches=1, max_length=64, **changes)
        told = plans.plan(shape, settings.changed(response_length=60))
        return parts(told, "optimise")["activations and logits of a micro-batch"]

    usual = activations(micro_batch_tokens=512)
    assert activations(micro_batch_tokens=512, gradient_checkpointing=True) < 0.7 * usual
    assert activations(micro_batch_tokens=256) < 0.6 * usual


def test_layers_are_computed_twice_only_where_the_plan_needs_it(shape):
    """``auto``: the smallest card that holds the run without recomputing does not recompute."""
    settings = tiny_settings(batch_size=16, mini_batches=1, max_length=64, response_length=60)
    settings = settings.changed(gradient_checkpointing="auto", micro_batch_tokens=512)
    never = settings.changed(gradient_checkpointing=False)
    needed = peak(plans.plan(shape, never, card=1))  # what only fills free room is not in it
    for card, twice in ((needed, False), (needed - 1, True)):
        assert plans.plan(shape, settings, card=card)["recomputes"] is twice
        assert plans.plan(shape, never, card=card)["recomputes"] is False
        always = settings.changed(gradient_checkpointing=True)
        assert plans.plan(shape, always, card=card)["recomputes"] is True
    assert plans.plan(shape, settings)["recomputes"] is False  # off a card never unasked


def test_micro_batches_left_open_are_the_largest_that_a_card_holds(shape):
    """64 answers of 64 tokens: all at once, in halves before layers are computed twice, and so on.

    Each card holds just what was planned for that size, or one byte less.
    """
    auto = tiny_settings(batch_size=64, mini_batches=1, max_length=64, response_length=60)
    auto = auto.changed(gradient_checkpointing="auto", micro_batch_tokens=0)

    def needed(tokens, twice):
        told = plans.plan(
            shape, auto.changed(micro_batch_tokens=tokens, gradient_checkpointing=twice), card=1
        )
        return sum(parts(told, "optimise").values())

    def chosen(card, settings=auto):
        told = plans.plan(shape, settings, card=card)
        assert told["rows"] == told["micro_batch_tokens"] // 64
        return told["micro_batch_tokens"], told["recomputes"]

    assert chosen(needed(4096, False)) == (4096, False)
    assert chosen(needed(4096, False) - 1) == (2048, False)
    assert needed(1024, True) < needed(2048, True) < needed(2048, False)
    assert chosen(needed(2048, True)) == (2048, True)
    assert chosen(needed(1024, True)) == (1024, True)
    assert chosen(1) == (512, True)  # the least that is tried
    never = auto.changed(gradient_checkpointing=False)
    assert chosen(needed(1024, False), never) == (1024, False)
    assert chosen(10**10, auto.changed(micro_batch_tokens=256)) == (256, False)


def test_room_for_a_dense_base_goes_before_a_larger_micro_batch(shape, monkeypatch):
    settings = tiny_settings(batch_size=64, mini_batches=1, max_length=64, response_length=60)
    settings = settings.changed(quantization="nf4", micro_batch_tokens=0)
    monkeypatch.setattr(plans, "SHARE", 1.0)
    whole = {
        tokens: peak(plans.plan(shape, settings.changed(micro_batch_tokens=tokens), card=1))
        for tokens in (4096, 2048)
    }
    dense = 2 * 2 * (4 * 64 * 64 + 3 * 64 * 128)  # linear weights of two layers, in two bytes
    assert whole[2048] + dense < whole[4096]  # so the card below holds either, not both
    for card, tokens, unpacks in (
        (whole[4096], 2048, True),
        (whole[4096] + dense, 4096, True),
        (whole[2048], 2048, False),
    ):
        told = plans.plan(shape, settings, card=card)
        assert (told["micro_batch_tokens"], told["unpacks"]) == (tokens, unpacks)


def test_for_a_dense_base_alone_layers_are_not_computed_twice(shape, monkeypatch):
    """A size that was asked for and fits as it is; computed twice, a dense base would fit too."""
    monkeypatch.setattr(plans, "SHARE", 1.0)
    settings = tiny_settings(batch_size=64, mini_batches=1, max_length=64, response_length=60)
    settings = settings.changed(quantization="nf4", micro_batch_tokens=2048)
    card = peak(plans.plan(shape, settings.changed(gradient_checkpointing=False), card=1))
    twice = plans.plan(shape, settings.changed(gradient_checkpointing=True), card=card)
    told = plans.plan(shape, settings.changed(gradient_checkpointing="auto"), card=card)
    assert (twice["unpacks"], told["recomputes"], told["unpacks"]) == (True, False, False)


@pytest.mark.parametrize(
    ("length", "sizes"),
    [(64, [512, 1024, 2048, 4096]), (1500, [2048, 4096]), (4096, [4096]), (9000, [4096])],
)
def test_no_micro_batch_is_tried_that_the_longest_row_would_overflow(
    shape, monkeypatch, length, sizes
):
    """That row goes alone: its peak is the same, and planning it again takes seconds."""
    tried = []

    def made(source, settings, *rest):
        tried.append((settings.micro_batch_tokens, settings.recomputes))
        part = {"phase": "optimise", "part": "all", "bytes": 2}
        return SimpleNamespace(as_dict=lambda: {"parts": [part], "unpacks": False})

    monkeypatch.setattr(plans, "_Plan", made)
    settings = tiny_settings(batch_size=64, mini_batches=1, max_length=length, response_length=8)
    settings = settings.changed(gradient_checkpointing="auto", micro_batch_tokens=0)
    plans.plan(shape, settings, card=1)  # which holds nothing: all are tried
    largest = sizes[::-1]
    assert tried == [(t, False) for t in largest[:2]] + [(t, True) for t in largest]


def test_the_base_is_unpacked_to_train_on_where_that_fits(shape):
    settings = tiny_settings(quantization="nf4")
    name = "dense copy of the base to train on, where it fits"
    inside = 2 * (4 * 64 * 64 + 3 * 64 * 128)  # linear weights of two layers
    for card, fits in ((10**10, True), (1000, False)):
        told = plans.plan(shape, settings, card=card)
        assert told["unpacks"] is fits
        for phase in ("generate", "score", "optimise"):
            assert parts(told, phase).get(name, 0) == (2 * inside if fits else 0)
    assert plans.plan(shape, settings)["unpacks"] is False
    assert plans.plan(shape, settings.changed(quantization="none"), card=10**10)["unpacks"] is False


def test_a_run_does_what_the_plan_for_its_machine_says(shape, monkeypatch):
    settings = tiny_settings(gradient_checkpointing="auto")
    settings = settings.changed(micro_batch_tokens=0)
    assert plans.ways(shape, settings) == (False, False, 2048)
    assert plans.ways(shape, settings.changed(gradient_checkpointing=True)) == (True, False, 2048)
    assert plans.ways(shape, settings.changed(micro_batch_tokens=99)) == (False, False, 99)
    monkeypatch.setattr(on_card, "CARDS", frozenset(("cpu",)))
    planned = {"recomputes": True, "unpacks": True, "micro_batch_tokens": 1024}
    monkeypatch.setattr(plans, "plan", lambda *_: planned)
    assert plans.ways(shape, settings) == (True, True, 1024)


def test_the_dense_copy_is_taken_where_it_fits(shape):
    settings = tiny_settings(quantization="nf4")
    name = "dense copy for sampling, where it fits"
    assert name in parts(plans.plan(shape, settings, card=10**9), "generate")
    assert name not in parts(plans.plan(shape, settings, card=10**6), "generate")


def test_a_reward_model_and_fine_tuning_have_one_phase(shape):
    for kind, changes in ((RewardSettings, {"members": 3}), (SFTSettings, {})):
        told = plans.plan(shape, tiny_settings(kind, **changes))
        assert {part["phase"] for part in told["parts"]} == {"optimise"}
    one, three = (
        plans.plan(shape, tiny_settings(RewardSettings, members=n))["trained"] for n in (1, 3)
    )
    assert three == 3 * one


def test_a_reward_models_scale_by_samples_takes_what_sampling_takes(shape):
    settings = tiny_settings(RewardSettings, normalise="samples", max_length=64)
    found = parts(plans.plan(shape, settings.changed(quantization="nf4"), card=10**10), "generate")
    # keys and values of 2 layers and 64 numbers each, for 128 answers of 64 tokens, in bfloat16
    assert found["keys and values"] == 2 * 2 * 64 * 128 * 64 * 2
    assert "dense copy for sampling, where it fits" in found


@pytest.mark.slow
def test_a_reward_model_of_seven_billion_weights_fits_where_trls_does(tmp_path):
    """TRL's took 9.486 GB on an H200; a dense copy is made only where a card has more."""
    settings = RewardSettings(
        lora_rank=16, micro_batch_tokens=2560, batch_size=8, holdout=0.0, quantization="nf4"
    )
    model = hand_written(tmp_path / "qwen", **QWEN_7B.config)
    small, large = (plans.plan(model, settings, card=gb * 10**9) for gb in (9, 141))
    assert peak(small) <= 9 * 10**9
    assert not small["unpacks"]
    assert large["unpacks"]
    dense = parts(large, "optimise")["dense copy of the base to train on, where it fits"]
    assert dense == 2 * 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944)


def test_every_weight_that_is_trained_is_counted_and_in_half_precision_its_float32_copy(shape):
    settings = tiny_settings(SFTSettings, lora_rank=0)
    linear = 2 * (4 * 64 * 64 + 3 * 64 * 128)
    single, half = (
        parts(plans.plan(shape, settings.changed(dtype=dtype)), "optimise")
        for dtype in ("float32", "bfloat16")
    )
    weights = (single["base: linear layers"] + single["base: embeddings, head"]) / 4
    assert single["base: linear layers"] == 4 * linear == 2 * half["base: linear layers"]
    copy = "float32 copy of the weights"
    assert copy not in single and copy in half
    trained = half[copy] // 4
    assert linear < trained <= weights  # buffers are not trained
    for found in (single, half):
        assert found["AdamW's moments"] == 8 * trained
        assert found["gradients"] == 4 * trained
        assert "adapters and heads" not in found


def test_a_rank_of_0_is_refused_where_a_run_would_refuse_it(shape):
    for settings in (
        tiny_settings(SFTSettings, lora_rank=0, quantization="nf4"),
        tiny_settings(RewardSettings, lora_rank=0),
    ):
        with pytest.raises(ConfigError, match="lora_rank"):
            plans.plan(shape, settings)


def test_nothing_but_the_config_is_read(shape):
    """The folder holds no weights and no tokenizer: it could not be loaded."""
    with pytest.raises(Exception, match="cannot be loaded"):
        ppo.PPOTrainer(shape, shape, [user("a")], tiny_settings(), None, None)
    assert peak(plans.plan(shape, tiny_settings())) > 0


def test_what_cannot_be_planned_is_refused(tmp_path):
    odd = hand_written(tmp_path / "odd", model_type="no such model")
    with pytest.raises(ModelError, match="no plan can be made"):
        plans.plan(odd, tiny_settings())
    encoder = hand_written(tmp_path / "bert", model_type="bert", architectures=["BertModel"])
    with pytest.raises(ModelError, match="only language models are planned"):
        plans.plan(encoder, tiny_settings())


@pytest.mark.parametrize("kind", ["mixtral", "mamba", "rwkv", "granite", "llava", "gemma3"])
def test_mixtures_recurrent_models_and_those_that_see_are_planned(kind, tmp_path):
    """Experts in fp32, no keys and values, a class of another name."""
    config = seeing_config_of(kind) if kind in SEEING else config_of(kind)
    config.save_pretrained(str(tmp_path))
    settings = tiny_settings(PPOSettings, max_length=32, response_length=8)
    told = plans.plan(str(tmp_path), settings)
    sizes = {row["part"]: row["bytes"] for row in told["parts"]}
    assert told["trained"] > 0
    assert sizes["activations and logits of a micro-batch"] > 0
    assert ("keys and values" in sizes) == (kind not in ("mamba", "rwkv"))
