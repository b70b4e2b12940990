import json
from types import SimpleNamespace

import pytest

from workbench import model_shapes
from workbench.model_shapes import Card, Lengths, Shape, update_seconds
from workbench.settings import PPOSettings
from workbench.world.sample_files import builtin

TINY = Shape(
    "tiny",
    {
        "hidden_size": 10,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 100,
    },
)
CARD = Card("a card", 1, bandwidth=4e5, peak=1e6, share=0.5)  # 5e5 FLOP/s, 1e5 bytes/s reached
PLAIN = PPOSettings(quantization="none", batch_size=8, mini_batches=2, micro_batch_tokens=40)
LENGTHS = Lengths(6, 4)  # 8 × 10 = 80 tokens in 2 micro-batches, 32 of them answered


@pytest.mark.parametrize(
    ("shape", "inside", "whole"),  # billions of weights, as the models' cards say
    [
        (model_shapes.QWEN_05B, 0.36, 0.49),
        (model_shapes.QWEN_7B, 6.53, 7.61),
        (model_shapes.LLAMA_8B, 6.98, 8.03),
    ],
)
def test_the_published_shapes_have_the_published_numbers_of_weights(shape, inside, whole):
    assert shape.linear / 1e9 == pytest.approx(inside, abs=0.005)
    tables = 1 if shape.config["tie_word_embeddings"] else 2
    assert (shape.linear + tables * shape.head) / 1e9 == pytest.approx(whole, abs=0.01)


def test_keys_and_values_of_a_token_are_those_that_were_published():
    assert 2 * model_shapes.QWEN_05B.cache == 12_288  # bytes in 16 bits
    assert 2 * model_shapes.QWEN_7B.cache == 57_344
    assert 2 * model_shapes.LLAMA_8B.cache == 131_072


def test_the_embedded_model_has_the_shape_that_is_written_here():
    config = json.loads((builtin("tiny-chat") / "config.json").read_text())
    written = model_shapes.TINY_CHAT.config
    assert {name: config[name] for name in written} == written


def test_weights_are_counted_as_the_definition_says():
    # q and o 10×10, k and v 10×5, three of the MLP 10×20; twice
    assert TINY.linear == 2 * (2 * 100 + 2 * 50 + 3 * 200)
    assert (TINY.head, TINY.cache) == (1000, 2 * 2 * 5)


def test_an_update_by_hand():
    """N = 1800, H = 1000; a pass takes 2 ms to start its two layers; logits 2·1000·32 FLOP."""
    found = update_seconds(TINY, CARD, PLAIN, LENGTHS, dense=False)
    reading = 2 * (1800 + 1000 + 8 * (6 + 2) * 20) / 1e5  # 16 bits each; answers half grown
    computing = 2 * 2800 * 8 / 5e5
    assert reading < computing
    assert found.generate == pytest.approx(2 * 1800 * 48 / 5e5 + 0.002 + 4 * computing)
    assert found.score == pytest.approx((4 * 2 * 1800 * 80 + 2 * 64_000) / 5e5 + 4 * 2 * 0.002)
    assert found.optimise == pytest.approx((4 * 2 * 1800 * 80 + 3 * 64_000) / 5e5 + 4 * 2 * 0.002)
    assert found.total == pytest.approx(sum(found))


def test_what_costs_more_or_less():
    def seconds(**changes):
        return update_seconds(TINY, CARD, PLAIN.changed(**changes), LENGTHS, dense=False)

    plain = seconds()
    passes = 2 * 1800 * 80 / 5e5 + 2 * 0.002  # of all tokens through the layers, once
    assert seconds(epochs=3).optimise == pytest.approx(3 * plain.optimise)
    again = seconds(gradient_checkpointing=True)
    assert again.optimise == pytest.approx(plain.optimise + 2 * passes)
    for critic in ({"value": "shared"}, {"advantage": "rloo", "samples_per_prompt": 2}):
        assert seconds(**critic).score == pytest.approx(plain.score - passes)
        assert seconds(**critic).optimise == pytest.approx(plain.optimise - 2 * passes)


def test_four_bits_are_unpacked_in_every_pass_unless_a_dense_copy_is_sampled_with():
    packed = PLAIN.changed(quantization="nf4")
    unpacking = 1800 * (0.516 + 2 + 2) / 1e5
    plain = update_seconds(TINY, CARD, PLAIN, LENGTHS, dense=False)
    copied = update_seconds(TINY, CARD, packed, LENGTHS, dense=True)
    without = update_seconds(TINY, CARD, packed, LENGTHS, dense=False)
    assert copied.score == pytest.approx(plain.score + 4 * 2 * unpacking)
    assert copied.generate == pytest.approx(plain.generate + unpacking)
    reading = unpacking + 2 * (1000 + 8 * 8 * 20) / 1e5
    computing = 2 * 2800 * 8 / 5e5
    assert without.generate == pytest.approx(copied.generate + 4 * (reading - computing))


def test_a_step_that_is_not_played_back_takes_its_start():
    plain = update_seconds(TINY, CARD, PLAIN, LENGTHS, dense=False)
    started = update_seconds(TINY, CARD._replace(graphs=False), PLAIN, LENGTHS, dense=False)
    assert started.generate == pytest.approx(plain.generate + 4 * 0.002)


def test_a_shape_is_read_from_a_config():
    read = model_shapes.shape_of("tiny", SimpleNamespace(**TINY.config))
    assert (read.linear, read.head, read.layers) == (TINY.linear, TINY.head, 2)
    gpt = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    plain = model_shapes.shape_of("gpt", SimpleNamespace(**gpt, intermediate_size=None))
    assert plain.linear == 2 * 8 * 4 * (2 + 2) + 3 * 8 * 32
    assert model_shapes.shape_of("none", SimpleNamespace(hidden_size=8)) is None


def test_a_step_is_its_passes_and_its_logits():
    """80 tokens in 2 micro-batches, 32 read; 5e5 FLOP/s; a pass starts 2 layers."""
    seconds = model_shapes.step_seconds(TINY, CARD, PLAIN, 80, 32)
    flop = 2 * 2 * TINY.linear * 80 + 3 * 2 * TINY.head * 32
    assert seconds == pytest.approx(flop / 5e5 + 2 * 2 * 2 * model_shapes.START)
