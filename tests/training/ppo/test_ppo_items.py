"""The numbered details that decide whether PPO is right, and the test that holds each.

The numbers are those of the research page on RLHF systems, section 3. What is tested elsewhere is
named here; what is below fills the gaps. Tests are written as FILE::TEST, from ``tests/``.

     1  pad and EOS kept apart: training/ppo/test_ppo.py::test_pad_and_eos_are_kept_apart_where_eos_pads
     2  EOS never cut away: models/test_encoding.py::test_eos_is_always_last_however_long_the_prompt
     3  score index from the mask: models/test_forward.py::test_a_score_is_read_at_the_last_real_token_and_nowhere_else
     4  one encoding for all: models/test_encoding.py::test_sft_reward_model_and_ppo_see_the_same_ids
     5  prompts cut at a token: training/ppo/test_ppo.py::test_prompts_that_are_shortened_are_told
     6  padding changes nothing: models/test_forward.py::test_padding_changes_nothing
        left padding, positions: models/test_sampling.py::test_positions_count_from_a_prompts_first_real_token
     7  alone as in a batch: models/test_forward.py::test_a_row_alone_is_worth_what_it_is_in_a_batch
        gradients of micro-batches: training/ppo/test_ppo_items.py::test_7_41_micro_batches_change_gradients_by_1e_4_at_most
     8  chunked as unchunked: models/test_forward.py::test_chunks_give_the_same_numbers_and_gradients
        never all logits: algos/test_logprobs.py::test_chunked_never_holds_all_logits
     9  temperature divides the logits: algos/test_logprobs.py::test_temperature_divides_the_logits
        sampler's frequencies: models/test_sampling.py::test_frequencies_are_those_of_the_softmax
        the same in scoring: training/ppo/test_ppo.py::test_log_probabilities_are_at_the_sampling_temperature
    10  logits in fp32: algos/test_logprobs.py::test_huge_half_precision_logits_stay_finite_and_exact
    11  dropout is off: models/test_roles.py::test_an_adapter_that_peft_saved_is_taken_and_its_dropout_is_off
        in a whole update: training/ppo/test_ppo_items.py::test_11_two_forwards_with_gradients_are_bit_equal
    12  decoding near the training forward: training/ppo/test_ppo_items.py::test_12_decoding_draws_from_what_training_sees
    13  reference, reward and base after a run: training/ppo/test_ppo.py::test_a_run_leaves_reference_reward_and_base_bit_for_bit
        value step, policy untouched: training/ppo/test_ppo.py::test_a_step_of_the_value_model_alone_leaves_the_policy_bit_for_bit
        policy step, values untouched: training/ppo/test_ppo.py::test_a_step_of_the_policy_alone_leaves_the_values_bit_for_bit
    14  KL 0 before the first step: training/ppo/test_ppo_items.py::test_14_27_before_the_first_step_in_each_precision
    15  who is trained: training/ppo/test_ppo.py::test_only_policy_and_value_are_trained
        after role switches: models/test_roles.py::test_switching_leaves_requires_grad_as_it_was_set
        switches in an update: training/ppo/test_ppo_items.py::test_15_requires_grad_is_right_after_every_switch_of_an_update
    16  packed NF4 bytes: training/ppo/test_ppo.py::test_a_run_leaves_reference_reward_and_base_bit_for_bit
    17  saved and loaded, heads too: models/test_roles.py::test_what_was_saved_is_loaded_bit_for_bit
        a PPO run's own: training/ppo/test_ppo_items.py::test_17_the_final_policy_and_value_are_loaded_bit_for_bit
    18  rollouts on unpacked weights, never merged: models/fast/test_dense_weights.py::test_afterwards_everything_is_as_it_was
    19  head's first weights: models/test_roles.py::test_a_fresh_head_is_drawn_from_its_seed_with_variance_one_over_d_plus_one
    20  Bradley-Terry by hand: algos/test_losses.py::test_bradley_terry_by_hand
    21  a tie is half: training/reward/test_reward.py::test_accuracy_counts_a_tie_as_half
    22  only the last token is read: models/test_forward.py::test_a_score_is_read_at_the_last_real_token_and_nowhere_else
    23  scores of mean 0: training/reward/test_reward.py::test_scores_read_as_mean_0_and_deviation_1
    24  the rate ends at 0: training/test_optimiser.py::test_the_rate_falls_in_a_line_to_zero_after_the_last_step
    25  a pair in one sequence: models/fast/test_packing.py::test_scores_and_gradients_equal_separate_forward_passes
    26  truncation is refused: test_settings.py::test_what_would_bend_the_distribution_is_refused_with_the_reason
        and by the model's own config ignored: training/ppo/test_ppo_items.py::test_26_a_models_own_truncation_is_not_taken
    27  ratio 1 at the first step: training/ppo/test_ppo.py::test_each_tokens_ratio_is_1_before_its_first_step
        in bf16 and NF4, rebatched too: training/ppo/test_ppo_items.py::test_14_27_rebatched_the_ratio_stays_near_1
        rate 0, all epochs: training/ppo/test_ppo.py::test_a_run_without_a_learning_rate_changes_no_weight
    28  after EOS masked, EOS in the loss: training/ppo/test_ppo.py::test_what_comes_after_eos_is_masked_and_eos_itself_is_not
        EOS learns: training/ppo/test_ppo.py::test_ending_is_learned
    29  missing EOS, of the answer alone: training/ppo/test_ppo.py::test_an_answer_that_did_not_end_pays_the_penalty
        an EOS in the prompt: training/ppo/test_ppo_items.py::test_29_an_eos_in_the_prompt_does_not_pay_for_the_answers
    30  several EOS ids: models/test_sampling.py::test_any_of_several_eos_ids_ends_an_answer_and_stays_in_it
        in the penalty: training/ppo/test_ppo.py::test_any_of_several_eos_tokens_counts_as_an_end
    31  same seed, same ids: models/test_sampling.py::test_the_same_seed_gives_the_same_ids_and_another_seed_others
    32  per-token KL by hand: algos/test_rewards.py::test_per_token_kl_and_score_by_hand
    33  score at the last token alone: algos/test_rewards.py::test_without_a_charge_only_the_last_valid_token_is_paid
    34  k1, k2, k3 between Gaussians: algos/test_kl.py::test_moments_between_two_gaussians
        small differences: algos/test_kl.py::test_k3_keeps_the_digits_of_a_small_difference
    35  adaptive control: algos/test_kl.py::test_the_charge_follows_the_kl
        on the loop: training/ppo/test_ppo.py::test_adaptive_control_moves_the_charge_by_zieglers_rule
    36  GAE, lambda 1: algos/test_advantages.py::test_lambda_one_is_the_return_to_go_minus_the_value
        lambda 0: algos/test_advantages.py::test_lambda_zero_is_the_temporal_difference_error
        padding: algos/test_advantages.py::test_more_padding_changes_no_valid_entry
    37  returns of unwhitened advantages: algos/test_advantages.py::test_returns_are_unwhitened_advantages_plus_values
        on the loop: training/ppo/test_objective.py::test_whitened_advantages_leave_the_returns
    38  whitening: algos/test_advantages.py::test_the_blogs_example
    39  the clipped loss: algos/test_losses.py::test_clipped_policy_loss_of_one_token
    40  the clipped value loss: algos/test_losses.py::test_clipped_value_loss_of_one_token
    41  mean over the mini-batch: algos/test_losses.py::test_micro_batches_add_up_to_the_token_mean
    42  Adam's epsilon: training/ppo/test_ppo_items.py::test_42_adam_epsilon_is_that_of_torch_and_the_rate_linear
    43  global clipping: training/test_optimiser.py::test_clipping_scales_all_groups_together
        skipped steps: training/test_optimiser.py::test_a_gradient_that_is_not_finite_is_skipped_and_counted
    44  value from the reward model: training/ppo/test_ppo.py::test_at_first_the_value_of_the_last_token_is_the_reward_models_score
    45  entropy of uniform logits: algos/test_logprobs.py::test_uniform_logits_have_entropy_log_v
        explained variance: algos/test_advantages.py::test_explained_variance_by_hand
    46  one valid token: algos/test_advantages.py::test_one_valid_entry_or_none_divides_nothing_by_zero
    47  a run at rate 0: training/ppo/test_ppo_items.py::test_47_a_whole_run_at_rate_0_leaves_every_byte
    48  the analytic optimum: training/checks/test_analytic_optimum.py::test_the_optimum_is_reached
    49  resume: training/ppo/test_ppo.py::test_stopped_in_an_update_and_resumed_is_as_never_stopped
        killed: training/ppo/test_ppo.py::test_killed_and_resumed_is_as_never_killed
    50  half precision: training/ppo/test_ppo_items.py::test_50_half_precision_for_200_updates
"""  # noqa: E501  (names of tests are as long as they are)

import hashlib
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from workbench.models.encoding import Encoded
from workbench.models.forward import lay, response_hidden, response_stats
from workbench.models.roles import Roles
from workbench.training.ppo import ppo
from workbench.training.ppo.mini_batches import mini_batches
from workbench.training.ppo.ppo_roles import ValueModel

from ...models.tiny import EOS, load, make_model, tiny_settings
from ..conftest import fill, metrics
from .test_ppo import FIXED, answers_of, episodes_of, estimates_of, logprobs, trainer

TESTS = Path(__file__).parents[2]
PRECISIONS = [("none", "float32"), ("none", "bfloat16"), ("nf4", "float32"), ("nf4", "bfloat16")]


def test_every_item_names_a_test_that_there_is():
    named = re.findall(r"(\S+\.py)::(\w+)", __doc__)
    for file, name in named:
        assert f"def {name}(" in (TESTS / file).read_text(), f"{file}::{name}"
    items = [int(number) for number in re.findall(r"^ +(\d+)  ", __doc__, re.M)]
    assert items == list(range(1, 51))


@pytest.mark.parametrize(("quantization", "dtype"), PRECISIONS)
def test_14_27_before_the_first_step_in_each_precision(tiny, reward, place, quantization, dtype):
    made = trainer(
        tiny, reward, place(), quantization=quantization, dtype=dtype, epochs=1, mini_batches=1
    )
    row = made.train_step().metrics
    assert row["objective/kl"] == 0.0
    assert row["policy/approxkl"] == 0.0
    assert row["policy/clipfrac"] == 0.0
    assert row["policy/first_ratio"] == pytest.approx(1.0, abs=1e-6)  # a mean of ones, in fp32


@pytest.mark.parametrize(("quantization", "dtype"), PRECISIONS)
def test_14_27_rebatched_the_ratio_stays_near_1(tiny, reward, place, quantization, dtype):
    """The same answers measured in other micro-batches: 1e-5 in fp32, else 1e-2 on average."""
    made = trainer(tiny, reward, place(), quantization=quantization, dtype=dtype)
    fill(made.roles, "policy", 5)
    rows, messages = answers_of(made, [i % 6 for i in range(12)])
    one = made._measured(rows, messages, [list(range(12))])
    several = made._measured(rows, messages, [[i, i + 6] for i in range(6)])
    mask = one.response_mask
    off = ((several.rollout_logprobs - one.rollout_logprobs).exp() - 1).abs()[mask]
    if dtype == "float32":
        assert float(off.max()) <= 1e-5
    assert float(off.mean()) <= 1e-2


def gradients(made, rows, size):
    """Of the first mini-batch, with micro-batches of so many tokens."""
    one = made.settings.changed(mini_batches=1, micro_batch_tokens=size)
    (part,) = mini_batches(rows, range(len(rows)), one, made.base, made.team)
    episodes = episodes_of(made, rows)
    estimates = estimates_of(made, episodes, 0.1)
    made.clipped_steps.gradients(part, episodes, estimates, clip_range=made.clip_range)
    found = torch.cat([p.grad.flatten() for p in made.optimiser.parameters])
    for parameter in made.optimiser.parameters:
        parameter.grad = None
    return found, len(part.micro_batches)


@pytest.mark.parametrize("value", ["adapter", "shared"])
def test_7_41_micro_batches_change_gradients_by_1e_4_at_most(tiny, reward, place, value):
    made = trainer(tiny, reward, place(), value=value)
    fill(made.roles, "policy", 5)
    rows, _ = answers_of(made, [0, 1, 2, 3, 4, 5])
    whole, one = gradients(made, rows, 4096)
    split, several = gradients(made, rows, 16)
    assert (one, several > 2) == (1, True)
    assert float((split - whole).norm() / whole.norm()) <= 1e-4


def test_11_two_forwards_with_gradients_are_bit_equal(tiny, reward, place):
    made = trainer(tiny, reward, place())
    fill(made.roles, "policy", 5)
    batch = lay(FIXED, made.base)
    with made.roles.acting("policy"):
        one, two = (response_hidden(made.base, batch) for _ in range(2))
    assert one.requires_grad
    assert torch.equal(one, two)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_12_decoding_draws_from_what_training_sees(tiny, reward, place, quantization):
    """Each token drawn is the one that the training forward's distribution gives for its number.

    The decoder keeps a cache and may unpack weights; its own probabilities are never trained on.
    """
    made = trainer(tiny, reward, place(), quantization=quantization)
    fill(made.roles, "policy", 5)
    numbers = torch.Generator().manual_seed(9)
    rows, _ = answers_of(made, [0, 1, 2, 3], numbers)
    uniforms = torch.rand(8, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    batch = lay(rows, made.base)
    with torch.no_grad(), made.roles.acting("policy"):
        hidden = response_hidden(made.base, batch)
        table = torch.softmax(made.base.logits(hidden).double(), dim=1)
    at = iter(table)
    for i, row in enumerate(rows):
        for t, token in enumerate(row.response):
            p = next(at)
            below = float(p[:token].sum())
            drawn = float(uniforms[t, i])
            assert below - 1e-4 <= drawn <= below + float(p[token]) + 1e-4


def test_15_requires_grad_is_right_after_every_switch_of_an_update(
    tiny, tuned, reward, place, monkeypatch
):
    made = trainer(tuned, reward, place())
    trained = {id(p) for p in made.optimiser.parameters}
    adapters = [p for n, p in made.base.model.named_parameters() if "lora_" in n]
    seen = []
    real = Roles._switch

    def watched(roles, name):
        real(roles, name)
        seen.append(all(p.requires_grad == (id(p) in trained) for p in adapters))

    monkeypatch.setattr(Roles, "_switch", watched)
    made.train_step()
    assert len(seen) > 20
    assert all(seen)
    assert not any(
        p.requires_grad for n, p in made.base.model.named_parameters() if "lora_" not in n
    )


def test_17_the_final_policy_and_value_are_loaded_bit_for_bit(tiny, reward, place):
    where = place()
    made = trainer(tiny, reward, where, quantization="nf4")
    list(made.run())
    batch = lay(FIXED, made.base)
    said = logprobs(made, "policy")
    foreseen = made.value.values(made.base, batch)
    final = where.folder / "final"
    roles = Roles(load(tiny, "nf4"), tiny_settings(quantization="nf4"))
    roles.add("policy", trainable=False, source=final)
    roles.add("value", trainable=False, source=final / "value")
    with torch.no_grad(), roles.acting("policy"):
        again = response_stats(roles.base, batch, temperature=1.0).logprobs
    assert torch.equal(again, said)
    value = ValueModel(roles, "value", roles.heads["value"], (made.value.mean, made.value.std))
    assert torch.equal(value.values(roles.base, batch), foreseen)
    assert "score.weight" in " ".join(load_file(final / "value" / "adapter_model.safetensors"))


def test_26_a_models_own_truncation_is_not_taken(tiny, reward, place):
    """Many published models ask for top_k and a penalty in their generation config."""
    plain = trainer(tiny, reward, place("plain"))
    bent = trainer(tiny, reward, place("bent"))
    config = bent.base.model.generation_config
    config.top_k, config.top_p, config.repetition_penalty, config.do_sample = 1, 0.1, 5.0, False
    drawn = [answers_of(made, [0, 1, 2, 3, 4, 5])[0] for made in (plain, bent)]
    assert drawn[0] == drawn[1]


def test_29_an_eos_in_the_prompt_does_not_pay_for_the_answers(tiny, reward, place):
    made = trainer(tiny, reward, place(), missing_eos_penalty=0.75)
    rows = [Encoded([2, EOS, 5, EOS, 3], [6, 7]), Encoded([2, 5, 3], [6, EOS])]
    seen = episodes_of(made, rows)
    paid = (seen.scores - made.shaping.paid(seen)).tolist()
    assert paid == pytest.approx([0.75, 0.0], abs=1e-6)


def test_42_adam_epsilon_is_that_of_torch_and_the_rate_linear():
    """PPO's first code had 1e-5, in which the small gradients of a new adapter drown."""
    defaults = ppo.PPOSettings()
    assert (defaults.adam_epsilon, defaults.schedule) == (1e-8, "linear")


def digest(made):
    """Every byte of every weight: base, adapters and heads; 4-bit blocks and their scales too."""
    found = hashlib.sha256()
    heads = [(name, head.weight) for name, head in sorted(made.roles.heads.items())]
    for name, tensor in [*made.base.model.named_parameters(), *heads]:
        state = getattr(tensor, "quant_state", None)
        scales = [] if state is None else [state.absmax, state.state2.absmax]
        for part in (tensor.detach(), *scales):
            found.update(name.encode() + part.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_47_a_whole_run_at_rate_0_leaves_every_byte(tiny, tuned, reward, place, quantization):
    zero = {"learning_rate": 0.0, "value_learning_rate": 0.0, "steps": 3}
    made = trainer(tuned, reward, place("zero"), quantization=quantization, **zero)
    before = digest(made)
    list(made.run())
    assert digest(made) == before
    moved = trainer(tuned, reward, place("moved"), quantization=quantization)
    assert digest(moved) == before
    list(moved.run())
    assert digest(moved) != before


@pytest.mark.parametrize(
    ("quantization", "updates"),
    [
        ("none", 20),
        pytest.param("none", 200, marks=pytest.mark.slow),
        pytest.param("nf4", 200, marks=pytest.mark.slow),
    ],
)
def test_50_half_precision_for_200_updates(tmp_path, place, quantization, updates):
    """float16 on a CPU stands for a card without bfloat16: adapters and heads stay fp32."""
    from ..conftest import make_adapter

    model = make_model(tmp_path / "m", hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    reward = str(make_adapter(tmp_path / "reward", model, 3, reward=True))
    made = trainer(
        model,
        reward,
        place(),
        dtype="float16",
        quantization=quantization,
        steps=updates,
        batch_size=4,
        epochs=1,
        mini_batches=1,
        response_length=4,
    )
    rows = metrics(list(made.run()))
    assert len(rows) == updates
    for row in rows:
        norm = row.pop("grad_norm")  # of a step that was skipped it may be infinite
        assert norm is None or not math.isnan(norm)
        assert all(v is None or math.isfinite(v) for v in row.values())
    assert rows[-1]["skipped_steps"] <= 16.0  # from 2^16 down to where nothing overflows
    assert rows[-1]["objective/kl"] != 0.0  # it learned
    assert made.base.dtype == torch.float16
    assert {p.dtype for p in made.optimiser.parameters} == {torch.float32}
    assert all(bool(torch.isfinite(p).all()) for p in made.optimiser.parameters)
