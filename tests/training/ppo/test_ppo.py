import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from workbench.errors import ConfigError, DataError, ModelError
from workbench.events import Finished, Notice, Progress, StopRequested
from workbench.models import forward, sampling
from workbench.models.encoding import Encoded, Encoder
from workbench.models.fast import decoding
from workbench.models.forward import lay, response_hidden, response_stats
from workbench.models.source import resolve
from workbench.settings import PPOSettings
from workbench.training import loop, sampled_answers
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.checks.memory_plan import Ways
from workbench.training.ppo import mini_batches, policy_loop, ppo
from workbench.training.ppo.mini_batches import MiniBatch
from workbench.training.ppo.objective import estimate

from ...models.fast.launches import as_on_a_card
from ...models.tiny import EOS, PAD, load, make_model, tiny_settings, user
from ..conftest import PROMPTS, Steering, bytes_of, fill, forget_after, make_adapter, metrics

FIXED = [Encoded([2, 5, 3], [6, 7, EOS]), Encoded([2, 8, 9, 3], [10, 11, 12, 13])]


def settings(**changes):
    few = {
        "steps": 2,
        "batch_size": 8,
        "epochs": 2,
        "mini_batches": 2,
        "response_length": 8,
        "learning_rate": 1e-2,
        "value_learning_rate": 1e-2,
        "schedule": "constant",
        "watch_every": 0,
        "micro_batch_tokens": 40,
    }
    return tiny_settings(PPOSettings, **{**few, **changes})


def trainer(model, reward, where, judge=None, prompts=PROMPTS, **changes):
    return ppo.PPOTrainer(str(model), reward, prompts, settings(**changes), where, judge)


def run(model, reward, where, judge=None, **changes):
    return list(
        ppo.PPOTrainer(str(model), reward, PROMPTS, settings(**changes), where, judge=judge).run()
    )


@torch.no_grad()
def logprobs(made, role, rows=FIXED):
    with made.roles.acting(role):
        return response_stats(made.base, lay(rows, made.base), temperature=1.0).logprobs


def packed(made):
    """Every frozen weight of the base, 4-bit blocks and their scales included."""
    found = {
        n: p.detach().clone() for n, p in made.base.model.named_parameters() if "lora_" not in n
    }
    for name, module in made.base.model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            found[f"{name}.absmax"] = state.absmax.clone()
            found[f"{name}.nested"] = state.state2.absmax.clone()
    return found


# --- before the first step -----------------------------------------------------------------------


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("start", ["base", "sft"])
def test_before_the_first_step_the_ratio_is_1_and_the_kl_is_0_exactly(
    tiny, tuned, reward, place, quantization, start
):
    model = tiny if start == "base" else tuned
    made = trainer(model, reward, place(), quantization=quantization, epochs=1, mini_batches=1)
    row = made.train_step().metrics
    assert row["policy/first_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert row["objective/kl"] == 0.0
    assert row["policy/approxkl"] == 0.0
    assert row["policy/clipfrac"] == 0.0
    assert 0.0 <= row["policy/sampler_kl"] < 1e-9  # fp32: rounding alone


def test_a_sampler_of_another_distribution_shows_in_its_kl(tiny, reward, place, monkeypatch):
    """Tokens drawn at temperature 2: k3 from the tokens by hand, each log-ratio in turn."""
    real = sampling._inverse_cdf
    monkeypatch.setattr(sampling, "_inverse_cdf", lambda logits, u, t: real(logits, u, 2 * t))
    made = trainer(tiny, reward, place())
    again = trainer(tiny, reward, place("again"))
    row = made.train_step().metrics
    rows, _ = answers_of(again, numbers_drawn(again))
    model, terms = load(tiny).model, []
    for answer in rows:
        logits = model(input_ids=torch.tensor([answer.ids])).logits[0].double()
        for at, token in enumerate(answer.response):
            state = logits[len(answer.prompt) - 1 + at]
            trained, drawn = (torch.log_softmax(state / t, dim=0)[token] for t in (1.0, 2.0))
            terms.append(float((trained - drawn).exp() - 1 - (trained - drawn)))
    assert row["policy/sampler_kl"] == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    assert row["policy/first_ratio"] == pytest.approx(1.0, abs=1e-6)  # which cannot see it


@pytest.mark.parametrize("unpacks", [False, True])
def test_so_they_are_on_a_card_with_joined_layers(tiny, reward, place, monkeypatch, unpacks):
    """In half precision, on a dense copy of the base and without; a CPU stands for the card."""
    as_on_a_card(monkeypatch)
    monkeypatch.setattr(loop, "ways", lambda *_: Ways(False, unpacks, 40))
    how = {"quantization": "nf4", "dtype": "bfloat16", "kl_coef": 0.0}
    made = trainer(tiny, reward, place(), **how)
    first = made.train_step().metrics
    assert first["policy/first_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert first["objective/kl"] == 0.0
    dense = [vars(layer)["joined"].dense for layer in made.roles._layers]
    assert all((matrix is not None) is unpacks for matrix in dense)
    assert made.train_step().metrics["objective/kl"] != 0.0


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_each_tokens_ratio_is_1_before_its_first_step(
    tiny, reward, place, quantization, monkeypatch
):
    """Bit for bit: the forward that measured is the forward that trains, batched alike."""
    seen = []
    real = mini_batches.clipped_policy_loss

    def watched(policy, rollout, advantages, mask, **more):
        seen.append(torch.equal(policy.detach()[mask], rollout[mask]))
        return real(policy, rollout, advantages, mask, **more)

    monkeypatch.setattr(mini_batches, "clipped_policy_loss", watched)
    made = trainer(
        tiny, reward, place(), quantization=quantization, epochs=1, mini_batches=1, batch_size=12
    )
    made.train_step()
    assert len(seen) >= 2  # several micro-batches
    assert all(seen)
    seen.clear()
    made.train_step()  # and again after an update: what sampled is what is measured
    assert all(seen)


def test_in_double_precision_too(tiny, reward, place):
    made = trainer(tiny, reward, place(), dtype="float64", epochs=1, mini_batches=1)
    made.train_step()
    row = made.train_step().metrics
    assert row["policy/approxkl"] == 0.0
    assert row["policy/first_ratio"] == pytest.approx(1.0, abs=1e-15)


def test_at_first_the_value_of_the_last_token_is_the_reward_models_score(tiny, reward, place):
    """The state behind an answer's last token is that in which one more would be chosen."""
    made = trainer(tiny, reward, place())
    longer = [Encoded(row.prompt, [*row.response, 5]) for row in FIXED]
    batch = lay(longer, made.base)

    def last_values():
        with torch.no_grad():
            table = made.value.values(made.base, batch)
        return torch.stack([table[i, len(row.response)] for i, row in enumerate(FIXED)])

    score = made.scorer.scores(FIXED, tokens=4096)
    assert float(score.std()) > 0.01
    torch.testing.assert_close(last_values(), score, rtol=0, atol=1e-5)
    assert (made.value.mean, made.value.std) == (0.25, 1.5)
    made.train_step()
    assert float((last_values() - score).abs().min()) > 1e-3  # it has learned
    assert torch.equal(made.scorer.scores(FIXED, tokens=4096), score)


def test_values_are_those_of_the_states_in_which_tokens_are_chosen(tiny, reward, place):
    made = trainer(tiny, reward, place())
    batch = lay(FIXED, made.base)
    found = made.value.values(made.base, batch)
    for i, row in enumerate(FIXED):
        for t in range(len(row.response)):
            before = Encoded(row.prompt, row.response[:t]) if t else Encoded(row.prompt, [])
            ids = torch.tensor([before.ids])
            with torch.no_grad(), made.roles.acting("value"):
                hidden = made.base.trunk(input_ids=ids).last_hidden_state[0, -1]
            value = (hidden @ made.value.head.weight[0] - 0.25) / 1.5
            assert float(found[i, t]) == pytest.approx(float(value), abs=1e-5)
    assert not found[0, 3:].any()


def test_what_does_not_pack_is_padded_and_says_so(tiny, reward, place, monkeypatch):
    """The same update but for rounding, whichever way the answers lie."""
    rows = {}
    for name in ("flat", "padded"):
        if name == "padded":
            for module in (policy_loop, forward, decoding):
                monkeypatch.setattr(module, "packs", lambda model: "it is only a test")
        made = trainer(tiny, reward, place(name), samples_per_prompt=2)
        rows[name] = made.train_step().metrics
        said = [text for text in made.notices if "padded" in text]
        told = "answers go through the model side by side, padded: it is only a test"
        assert said == ([told] if name == "padded" else [])
    assert rows["padded"]["objective/kl"] == 0.0
    for name in ("objective/scores", "objective/entropy", "policy/loss", "value/loss", "grad_norm"):
        assert rows["flat"][name] == pytest.approx(rows["padded"][name], rel=1e-3, abs=1e-5)


# --- what an update may change, and what it may not ----------------------------------------------


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_run_leaves_reference_reward_and_base_bit_for_bit(
    tiny, tuned, reward, place, quantization
):
    made = trainer(tuned, reward, place(), quantization=quantization)
    before = (
        logprobs(made, "reference"),
        made.scorer.scores(FIXED, tokens=4096),
        packed(made),
        logprobs(made, "policy"),
    )
    list(made.run())
    assert torch.equal(logprobs(made, "reference"), before[0])
    assert torch.equal(made.scorer.scores(FIXED, tokens=4096), before[1])
    after = packed(made)
    assert set(after) == set(before[2])
    assert all(torch.equal(after[name], before[2][name]) for name in after)
    assert any(".absmax" in name for name in after) == (quantization == "nf4")
    assert not torch.equal(logprobs(made, "policy"), before[3])


@pytest.mark.parametrize("value", ["adapter", "shared"])
def test_a_run_without_a_learning_rate_changes_no_weight(tiny, reward, place, value):
    made = trainer(
        tiny, reward, place(), learning_rate=0.0, value_learning_rate=0.0, epochs=3, value=value
    )
    before = [p.detach().clone() for p in made.optimiser.parameters]
    rows = metrics(list(made.run()))
    for parameter, was in zip(made.optimiser.parameters, before, strict=True):
        assert torch.equal(parameter, was)
    for row in rows:
        assert row["policy/ratio"] == pytest.approx(1.0, abs=1e-6)
        assert row["policy/clipfrac"] == 0.0
        assert row["policy/approxkl"] == pytest.approx(0.0, abs=1e-9)
        assert row["objective/kl"] == 0.0


def test_a_step_of_the_value_model_alone_leaves_the_policy_bit_for_bit(tiny, reward, place):
    made = trainer(tiny, reward, place(), learning_rate=0.0)
    policy, batch = logprobs(made, "policy"), lay(FIXED, made.base)
    values = made.value.values(made.base, batch).detach()
    made.train_step()
    assert torch.equal(logprobs(made, "policy"), policy)
    assert not torch.equal(made.value.values(made.base, batch), values)


def test_a_step_of_the_policy_alone_leaves_the_values_bit_for_bit(tiny, reward, place):
    made = trainer(tiny, reward, place(), value_learning_rate=0.0)
    policy, batch = logprobs(made, "policy"), lay(FIXED, made.base)
    values = made.value.values(made.base, batch).detach()
    made.train_step()
    assert not torch.equal(logprobs(made, "policy"), policy)
    assert torch.equal(made.value.values(made.base, batch), values)


def test_only_policy_and_value_are_trained(tiny, tuned, reward, place):
    made = trainer(tuned, reward, place())
    made.train_step()
    ours = {id(p) for p in made.optimiser.parameters}
    for role in ("reference", "reward"):
        assert not any(p.requires_grad for p in made.roles.parameters(role))
        assert not ours & {id(p) for p in made.roles.parameters(role)}
    assert not made.scorer.head.weight.requires_grad
    assert all(p.requires_grad for p in made.optimiser.parameters)
    expected = [*made.roles.parameters("policy"), *made.roles.parameters("value")]
    assert ours == {id(p) for p in (*expected, made.value.head.weight)}


def test_the_reference_is_the_sft_adapter_frozen_and_the_policy_its_copy(
    tiny, tuned, reward, place
):
    made = trainer(tuned, reward, place(), quantization="nf4")
    assert made.reference == "reference"
    alone = load(tiny, "nf4")
    with torch.no_grad():
        off = response_stats(alone, lay(FIXED, alone), temperature=1.0).logprobs
    assert torch.equal(logprobs(made, None), off)
    assert torch.equal(logprobs(made, "reference"), logprobs(made, "policy"))
    assert not torch.equal(logprobs(made, "reference"), off)
    saved = load_file(resolve(tuned).adapter / "adapter_model.safetensors")
    state = made.roles.state("reference")
    assert all(torch.equal(state[name], saved[name]) for name in saved)


def test_without_an_sft_adapter_the_reference_is_the_base_itself(tiny, reward, place):
    made = trainer(tiny, reward, place())
    assert made.reference is None
    assert torch.equal(logprobs(made, None), logprobs(made, "policy"))


def test_a_later_round_starts_from_its_adapter_and_is_held_to_the_first_reference(
    tiny, tuned, reward, place, tmp_path
):
    earlier = str(make_adapter(tmp_path / "earlier", tiny, 21))
    made = ppo.PPOTrainer(earlier, reward, PROMPTS, settings(), place(), None, tuned)
    saved = {
        role: load_file(resolve(folder).adapter / "adapter_model.safetensors")
        for role, folder in (("policy", earlier), ("reference", tuned))
    }
    for role, tensors in saved.items():
        state = made.roles.state(role)
        assert all(torch.equal(state[name], tensors[name]) for name in tensors)
    of_the_base = ppo.PPOTrainer(earlier, reward, PROMPTS, settings(), place("b"), None, str(tiny))
    assert of_the_base.reference is None
    list(of_the_base.run())
    assert resolve(str(of_the_base.place.folder / "final")).start is None  # KL from the base


def test_a_reference_on_another_base_is_refused(tiny, tuned, reward, place, tmp_path):
    other = make_model(tmp_path / "other")
    with pytest.raises(ModelError, match="another base than the policy"):
        ppo.PPOTrainer(tuned, reward, PROMPTS, settings(), place(), None, str(other))


# --- episodes ------------------------------------------------------------------------------------


def episodes_of(made, rows):
    everything, few = range(len(rows)), settings(mini_batches=1)
    groups = mini_batches.own_micro_batches(rows, everything, few, made.base, made.team)
    return made._measured(rows, [PROMPTS[0]] * len(rows), groups)


def answers_of(made, numbers, generator=None):
    """An answer to each prompt of these numbers, and the prompts' messages."""
    prompts = [made.prompts[i] for i in numbers]
    return made.sample(prompts, generator), [prompt.messages for prompt in prompts]


def numbers_drawn(made):
    """The prompts of an update by their numbers."""
    return [made.prompts.index(prompt) for prompt in made._draw()]


def estimates_of(made, seen, kl_coef):
    return estimate(seen, made.shaping.paid(seen), made.settings, kl_coef=kl_coef)


def test_what_comes_after_eos_is_masked_and_eos_itself_is_not(tiny, reward, place):
    made = trainer(tiny, reward, place())
    rows = [
        Encoded([2, 5, EOS, 3], [6, EOS]),  # an EOS in the prompt ends nothing
        Encoded([2, 5, 3], [EOS]),
        Encoded([2, 5, EOS, 3], [7, 8, 9]),
    ]
    seen = episodes_of(made, rows)
    assert seen.response_mask.tolist() == [
        [True, True, False],
        [True, False, False],
        [True, True, True],
    ]
    assert seen.ended.tolist() == [True, True, False]
    for table in (seen.rollout_logprobs, seen.ref_logprobs, seen.values, seen.entropy):
        assert not table[~seen.response_mask].any()
        assert bool(table[seen.response_mask].all())


def test_ending_is_learned(tiny, reward, place):
    """One answer, EOS alone, of advantage 1: its probability rises."""
    made = trainer(tiny, reward, place(), advantage="rloo", samples_per_prompt=2, batch_size=2)
    rows = [Encoded([2, 5, 3], [EOS]), Encoded([2, 5, 3], [7, 8])]
    seen = episodes_of(made, rows)
    estimates = estimates_of(made, seen, 0.0)
    estimates.advantages[seen.response_mask] = torch.tensor([1.0, 0.0, 0.0])
    before = logprobs(made, "policy", rows)
    one = MiniBatch([0, 1], [[0, 1]])
    made.clipped_steps.take(seen, estimates, [[one]], clip_range=made.clip_range)
    after = logprobs(made, "policy", rows)
    assert float(after[0, 0]) > float(before[0, 0]) + 1e-3


SLOPES = {"k2": lambda d: d, "k3": lambda d: 1 - (-d).exp()}  # of each estimate, by log policy


@pytest.mark.parametrize("estimator", SLOPES)
def test_kl_in_the_loss_pulls_by_its_estimators_slope(tiny, reward, place, estimator):
    """With advantages of 0 the loss is beta times the estimate: d = log policy - log ref."""
    given = {"advantage": "rloo", "samples_per_prompt": 2, "batch_size": 2}
    made = trainer(tiny, reward, place(), kl_place="loss", kl_estimator=estimator, **given)
    fill(made.roles, "policy", 5, std=0.05)  # no longer the reference
    seen = episodes_of(made, FIXED)
    part, zero = MiniBatch([0, 1], [[0, 1]]), estimates_of(made, seen, 0.0)
    zero.advantages.zero_()

    def gradients(advantages, **more):
        given = zero._replace(advantages=advantages)
        made.clipped_steps.gradients(part, seen, given, clip_range=0.2, **more)
        found = [p.grad.clone() for p in made.optimiser.parameters]
        for parameter in made.optimiser.parameters:
            parameter.grad = None
        return found

    d = seen.rollout_logprobs - seen.ref_logprobs
    pull = torch.where(seen.response_mask, -0.3 * SLOPES[estimator](d), 0.0)
    expected = gradients(pull)  # -A times the score function, the ratio being 1
    found = gradients(zero.advantages, kl_coef=0.3)
    assert any(float(grad.abs().max()) > 1e-4 for grad in found)
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=1e-4)


def test_an_answer_that_did_not_end_pays_the_penalty(tiny, reward, place):
    made = trainer(tiny, reward, place(), missing_eos_penalty=0.75)
    seen = episodes_of(made, FIXED)
    expected = made.scorer.scores(FIXED, tokens=4096) - torch.tensor([0.0, 0.75])
    torch.testing.assert_close(made.shaping.paid(seen), expected, rtol=0, atol=1e-6)


def test_any_of_several_eos_tokens_counts_as_an_end(tiny, reward, place):
    made = trainer(tiny, reward, place())
    made.base.eos_ids = (EOS, 13)
    assert episodes_of(made, FIXED).ended.tolist() == [True, True]


def test_scores_are_clipped_before_the_penalty_and_shown_unclipped(tiny, reward, place):
    made = trainer(tiny, reward, place(), score_clip=0.1, missing_eos_penalty=1.0)
    seen = episodes_of(made, FIXED)
    assert bool((seen.scores.abs() > 0.1).all())
    expected = seen.scores.sign() * 0.1 - torch.tensor([0.0, 1.0])
    torch.testing.assert_close(made.shaping.paid(seen), expected)


def test_log_probabilities_are_at_the_sampling_temperature(tiny, reward, place):
    made = trainer(tiny, reward, place(), temperature=0.5)
    seen = episodes_of(made, FIXED)
    for i, row in enumerate(FIXED):
        logits = load(tiny).model(input_ids=torch.tensor([row.ids])).logits[0].double()
        log_p = torch.log_softmax(logits / 0.5, dim=1)
        for t, token in enumerate(row.response):
            expected = float(log_p[len(row.prompt) - 1 + t, token])
            assert float(seen.rollout_logprobs[i, t]) == pytest.approx(expected, abs=1e-5)


def test_answers_of_one_prompt_stand_side_by_side(tiny, reward, place):
    made = trainer(tiny, reward, place(), samples_per_prompt=4, advantage="rloo")
    drawn = numbers_drawn(made)
    assert len(drawn) == 8
    assert drawn == [drawn[0]] * 4 + [drawn[4]] * 4
    assert drawn[0] != drawn[4]


# --- metrics -------------------------------------------------------------------------------------


def test_the_first_updates_metrics_by_definition(tiny, reward, place):
    """Sampled again with the same numbers, and worked out from the models by hand."""
    made = trainer(tiny, reward, place(), missing_eos_penalty=0.5)
    again = trainer(tiny, reward, place("again"), missing_eos_penalty=0.5)
    row = made.train_step().metrics
    rows, messages = answers_of(again, numbers_drawn(again))
    texts = [again.encoder.decode(r.response) for r in rows]
    ended = [r.response[-1] == EOS for r in rows]
    score = again.scorer.scores(rows, tokens=4096)
    tokens = sum(len(r.response) for r in rows)
    assert row["response/length"] == pytest.approx(tokens / 8)
    assert row["response/eos_rate"] == pytest.approx(sum(ended) / 8)
    assert row["objective/scores"] == pytest.approx(float(score.mean()), abs=1e-5)
    assert row["objective/scores_std"] == pytest.approx(float(score.std(correction=0)), abs=1e-5)
    paid = score.mean() - 0.5 * (1 - sum(ended) / 8)
    assert row["objective/rlhf_reward"] == pytest.approx(float(paid), abs=1e-5)
    assert row["episode"] == 8.0
    assert row["optimiser_steps"] == 4.0
    assert row["kl_coef"] == 0.05
    entropy = 0.0
    for r in rows:
        logits = load(tiny).model(input_ids=torch.tensor([r.ids])).logits[0].double()
        log_p = torch.log_softmax(logits[len(r.prompt) - 1 : -1], dim=1)
        entropy -= float((log_p.exp() * log_p).sum())
    assert row["objective/entropy"] == pytest.approx(entropy / tokens, abs=1e-5)
    assert len(texts) == len(messages) == 8


def test_every_metric_of_the_design_is_there(tiny, reward, place):
    (row,) = (e.metrics for e in run(tiny, reward, place(), steps=1) if isinstance(e, Progress))
    names = (
        "objective/kl objective/entropy objective/scores objective/rlhf_reward policy/approxkl "
        "policy/clipfrac policy/ratio value/loss value/explained_variance time/generate "
        "time/score time/optimise memory/peak_gb"
    )
    assert set(names.split()) <= set(row)
    assert all(v is None or math.isfinite(v) for v in row.values())


def test_the_judge_is_logged_and_never_paid(tiny, reward, place):
    plain = metrics(run(tiny, reward, place("plain")))
    judged = metrics(run(tiny, reward, place("judged"), lambda prompt, text: float(len(text))))
    assert all("objective/gold" not in row for row in plain)
    assert all(row.pop("objective/gold") > 0 for row in judged)
    assert judged == plain


def test_the_judge_sees_prompt_and_text(tiny, reward, place):
    seen = []
    run(tiny, reward, place(), lambda p, t: seen.append((p, t)) or 0.5, steps=1)
    assert len(seen) == 8
    assert all(p in PROMPTS and "<" not in t for p, t in seen)


def test_the_same_prompts_are_watched_with_the_same_draws(tiny, reward, place):
    events = run(
        tiny,
        reward,
        place(),
        lambda prompt, text: 0.25,
        steps=4,
        watch_every=3,
        watch_prompts=3,
        learning_rate=0.0,
    )
    seen = {e.step: e.samples for e in events if isinstance(e, Progress)}
    assert [len(seen[step]) for step in (1, 2, 3, 4)] == [3, 0, 0, 3]  # every third, and the last
    # 6 prompts, 3 watched: every second
    assert [row["prompt"] for row in seen[1]] == [PROMPTS[i][0]["content"] for i in (0, 2, 4)]
    texts = [[row["response"] for row in seen[step]] for step in (1, 4)]
    assert texts[0] == texts[1]  # the policy has not moved
    per_token = {"tokens", "token_kl", "token_value", "token_advantage"}
    assert set(seen[1][0]) == {"prompt", "response", "score", "kl", "ended", "gold", *per_token}
    for row in seen[1]:
        assert len({len(row[name]) for name in per_token}) == 1
        spoken = [w for w in "".join(row["tokens"]).split() if not w.startswith("<")]
        assert spoken == row["response"].split()
    assert {row["kl"] for row in seen[1]} == {0.0}


def test_watching_changes_nothing(tiny, reward, place):
    assert metrics(run(tiny, reward, place("a"), watch_every=1)) == metrics(
        run(tiny, reward, place("b"), watch_every=0)
    )


def test_other_prompts_can_be_watched_from_an_update_on(tiny, reward, place):
    """Texts or messages; the draws of training are those of a run in which nothing changed."""
    asked = ["z y", [*user("x"), {"role": "assistant", "content": "w"}, *user("v")]]
    more = {"watch_every": 1, "watch_prompts": 2, "steps": 4}
    more |= {"checkpoint_every": 1, "keep_checkpoints": 9}
    controls = Steering(changes={2: {"watch_prompts": asked}, 4: {"watch_prompts": 1}})
    where = place(controls=controls)
    events = list(ppo.PPOTrainer(str(tiny), reward, PROMPTS, settings(**more), where).run())
    seen = {e.step: [s["prompt"] for s in e.samples] for e in events if isinstance(e, Progress)}
    mine = [PROMPTS[i][0]["content"] for i in (0, 3)]
    assert seen == {1: mine, 2: ["z y", "v"], 3: ["z y", "v"], 4: mine[:1]}
    told = [e for e in events if isinstance(e, Notice) and e.kind == "changed"]
    assert [(e.step, e.data) for e in told] == [
        (2, {"watch_prompts": asked}),
        (4, {"watch_prompts": 1}),
    ]
    straight = run(tiny, reward, place("straight"), **more)
    assert metrics(events) == metrics(straight)
    forget_after(where.folder, 2)
    again = run(
        tiny,
        reward,
        where,
        **more,
    )
    assert [s["prompt"] for s in again[1].samples] == ["z y", "v"]  # resumed: still these


def test_adaptive_control_moves_the_charge_by_zieglers_rule(tiny, reward, place):
    """beta x (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon), from each update to the next."""
    rows = metrics(
        run(
            tiny,
            reward,
            place(),
            steps=4,
            kl_control="adaptive",
            adaptive_kl_target=0.05,
            adaptive_kl_horizon=80.0,
        )
    )
    errors = [min(max(row["objective/kl"] / 0.05 - 1, -0.2), 0.2) for row in rows]
    assert errors[0] == -0.2  # KL 0 before the first step
    assert max(errors) > 0  # and then it moved
    for row, then, error in zip(rows, rows[1:], errors, strict=False):
        assert then["kl_coef"] == pytest.approx(row["kl_coef"] * (1 + error * 8 / 80))


def test_running_normalisation_is_resumed_exactly(tiny, reward, place):
    """What is paid from a checkpoint on is counted from all scores, those before it too."""
    more = {"checkpoint_every": 2, "keep_checkpoints": 9, "score_normalisation": "running"}
    broken = place("broken")
    made = trainer(tiny, reward, broken, steps=4, **more)
    expected = metrics(list(made.run()))
    assert made.shaping.moments.count == 4 * 8
    forget_after(broken.folder, 2)
    resumed = trainer(tiny, reward, broken, steps=4, **more)
    assert metrics(list(resumed.run())) == expected[2:]
    assert resumed.shaping.moments == made.shaping.moments
    # the same scores at the first update, but paid as they are
    plain = metrics(run(tiny, reward, place("plain"), steps=1))
    assert plain[0]["objective/scores"] == expected[0]["objective/scores"]
    assert plain[0]["objective/rlhf_reward"] != pytest.approx(expected[0]["objective/rlhf_reward"])


# --- variants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("advantage", ["rloo", "group"])
def test_without_a_value_model(tiny, reward, place, advantage):
    where = place()
    made = trainer(tiny, reward, where, advantage=advantage, samples_per_prompt=4)
    assert made.value is None
    events = list(made.run())
    assert isinstance(events[-1], Finished)
    assert not any(name.startswith("value/") for name in metrics(events)[0])
    assert not (where.folder / "final" / "value").exists()


def test_rloo_by_hand(tiny, reward, place):
    """Two prompts of two answers: each answer's reward less the other's, on every token."""
    made = trainer(
        tiny, reward, place(), advantage="rloo", samples_per_prompt=2, whiten_advantages=False
    )
    rows = [*FIXED, *FIXED[::-1]]
    seen = episodes_of(made, rows)
    found = estimates_of(made, seen, 0.0).advantages
    r = made.shaping.paid(seen)
    expected = torch.stack([r[0] - r[1], r[1] - r[0], r[2] - r[3], r[3] - r[2]])
    torch.testing.assert_close(found, torch.where(seen.response_mask, expected[:, None], 0.0))


def test_a_value_head_on_the_policys_trunk(tiny, reward, place):
    where = place()
    made = trainer(tiny, reward, where, value="shared")
    assert made.value.role == "policy"
    assert not made.value.head.weight.any()
    events = list(made.run())
    assert bool(made.value.head.weight.any())
    assert metrics(events)[1]["value/loss"] >= 0.0
    assert not (where.folder / "final" / "value").exists()


@pytest.mark.parametrize("value", ["adapter", "shared"])
def test_recomputed_activations_change_the_last_digits_only(tiny, reward, place, value):
    """Only without them does the last layer run for the answers' tokens alone."""
    plain, again = (
        metrics(run(tiny, reward, place(str(on)), value=value, gradient_checkpointing=on))
        for on in (False, True)
    )
    for one, other in zip(plain, again, strict=True):
        # a share of tokens past a threshold may jump by one token
        one, other = (
            {k: v for k, v in row.items() if not k.endswith("clipfrac")} for row in (one, other)
        )
        assert one == pytest.approx(other, rel=1e-2, abs=1e-6)


def test_an_update_stops_early_past_its_target(tiny, reward, place):
    (row,) = metrics(run(tiny, reward, place(), steps=1, epochs=4, target_kl=1e-9))
    assert row["optimiser_steps"] == 2.0  # the first step sees 0, the second is past it


def test_micro_batches_change_the_gradients_in_the_last_digits_only(tiny, reward, place):
    rows = []
    for size in (4096, 16):
        made = trainer(tiny, reward, place(str(size)), micro_batch_tokens=size)
        row = metrics([Progress(1, 1, made.train_step().metrics)])[0]
        # a share of tokens past a threshold may jump by one token
        rows.append({k: v for k, v in row.items() if not k.endswith("clipfrac")})
    assert rows[0] == pytest.approx(rows[1], rel=1e-3, abs=1e-5)


def test_the_schedule_falls_to_its_end(tiny, reward, place):
    """2 updates x 2 epochs x 2 mini-batches = 8 steps; the last of each update is the 4th, 8th."""
    rows = metrics(run(tiny, reward, place(), schedule="linear", learning_rate=0.8))
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.8 * 5 / 8, 0.8 * 1 / 8])


def test_auto_rates_go_by_the_width_and_are_told(tiny, reward, place):
    """Width 64 is a fifth below 128: 1e-3 times 100 ** (1 / 5), and 1e-3 times 25 ** (1 / 5)."""
    made = trainer(tiny, reward, place(), learning_rate="auto", value_learning_rate="auto")
    up = 100 ** (1 / 5)
    assert made.optimiser.rates == pytest.approx({"policy": 1e-3 * up, "value": 1e-3 * 25**0.2})
    setup = next(made.run())
    assert setup.data["learning_rate"] == made.optimiser.rates["policy"]
    made.set_live("learning_rate", 0.5)
    made.set_live("learning_rate", "auto")
    assert made.optimiser.rates["policy"] == pytest.approx(1e-3 * up)


# --- controls ------------------------------------------------------------------------------------


def test_live_changes_are_applied_at_their_step_and_told(tiny, reward, place):
    given = {"kl_coef": 0.5, "temperature": 0.7, "clip_range": 0.1, "learning_rate": 0.25}
    controls = Steering(changes={2: {**given, "value_learning_rate": 0.125}})
    made = trainer(tiny, reward, place(controls=controls), steps=3)
    events = list(made.run())
    rows = metrics(events)
    assert [row["kl_coef"] for row in rows] == [0.05, 0.5, 0.5]
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-2, 0.25, 0.25])
    assert (made.temperature, made.clip_range) == (0.7, 0.1)
    assert made.optimiser.rates == {"policy": 0.25, "value": 0.125}
    told = [(e.step, e.data) for e in events if isinstance(e, Notice) and e.kind == "changed"]
    assert [step for step, _ in told] == [2] * 5
    assert {k: v for _, data in told for k, v in data.items()} == {
        **given,
        "value_learning_rate": 0.125,
    }


def state_of(made):
    """Everything that a step may change, flat."""
    state = made.state()
    tensors = [*state["weights"], state["generator"]]
    for moments in state["optimiser"]["adamw"]["state"].values():
        tensors += [moments[name].float() for name in sorted(moments)]
    numbers = [state["optimiser"]["taken"], state["optimiser"]["skipped"], *state["live"]]
    return [t.clone() for t in tensors], numbers


def test_the_phases_of_an_update_are_told(tiny, reward, place):
    told = []
    where = replace(place(), tell=told.append)
    made = trainer(tiny, reward, where, watch_every=0, epochs=2)
    made.train_step()
    assert list(dict.fromkeys(p.name for p in told)) == ["generating", "scoring", "optimising"]
    size, length = made.settings.batch_size, made.settings.response_length
    known = {p.name: (p.total, p.unit) for p in told}
    assert known == {
        "generating": (size * length, "tokens"),
        "scoring": (size, "answers"),
        "optimising": (2 * size, "answers"),
    }
    for name, (total, _) in known.items():
        done = [p.done for p in told if p.name == name]
        assert done[0] == 0 and done == sorted(done) and done[-1] <= total
    assert {(p.step, p.total_steps) for p in told} == {(1, made.total)}


def test_a_stop_anywhere_in_an_update_puts_everything_back(tiny, reward, place):
    """At safe points of the second update: decoding, measuring, both epochs, watching."""
    counted = Steering()
    made = trainer(tiny, reward, place("count", counted), watch_every=1)
    made.train_step()
    made.step = 1
    first = counted.safe_points
    made.train_step()
    points = range(first + 1, counted.safe_points + 1)
    assert len(points) > 8
    for stop_at in (points[0], points[2], points[len(points) // 2], points[-4], points[-1]):
        made = trainer(tiny, reward, place("stop", Steering(stop_at=stop_at)), watch_every=1)
        made.train_step()
        made.step = 1
        tensors, numbers = state_of(made)
        with pytest.raises(StopRequested):
            made.train_step()
        again, same = state_of(made)
        assert same == numbers
        assert len(again) == len(tensors)
        assert all(torch.equal(a, b) for a, b in zip(again, tensors, strict=True)), stop_at
        assert all(p.grad is None for p in made.optimiser.parameters)


def test_an_update_whose_memory_runs_out_twice_becomes_smaller_twice(tiny, reward, place):
    """Whatever is put back before the next try, the size that was too large is not."""
    made = trainer(tiny, reward, place(), micro_batch_tokens=160, steps=1)
    real, sizes = made.base.trunk.forward, []

    def scarce(*args, **kwargs):
        if torch.is_grad_enabled() and kwargs["input_ids"].numel() > 40:
            sizes.append(made.settings.micro_batch_tokens)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, **kwargs)

    made.base.trunk.forward = scarce
    events = list(made.run())
    assert sizes == [160, 80]
    notices = [e.message for e in events if isinstance(e, Notice) and "memory" in e.message]
    assert notices == [
        "memory ran out: micro_batch_tokens is 80 from here on (160 before)",
        "memory ran out: micro_batch_tokens is 40 from here on (80 before)",
    ]
    assert made.settings.micro_batch_tokens == 40


def test_sampling_whose_memory_runs_out_goes_on_with_fewer_at_once(
    tiny, reward, place, monkeypatch
):
    plenty = trainer(tiny, reward, place("plenty"), steps=1)
    expected = metrics(list(plenty.run()))
    scarce = trainer(tiny, reward, place("scarce"), steps=1)
    real, failed = sampled_answers.sample_responses, []

    def sample(base, prompts, **more):
        if len(prompts) > 2:
            failed.append(len(prompts))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(base, prompts, **more)

    monkeypatch.setattr(sampled_answers, "sample_responses", sample)
    events = list(scarce.run())
    assert failed == [8, 4] and scarce.rows_at_once == 2
    found = metrics(events)
    assert all(row.pop("policy/sampler_kl") < 1e-9 for row in (*found, *expected))  # rounding
    assert found == expected  # the same numbers are drawn for each answer
    notices = [e.message for e in events if isinstance(e, Notice) and "memory" in e.message]
    assert notices == [
        f"memory ran out while sampling: {count} answers at once from here on" for count in (4, 2)
    ]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_stopped_in_an_update_and_resumed_is_as_never_stopped(tiny, reward, place, quantization):
    more = {"steps": 4, "quantization": quantization, "watch_every": 2, "watch_prompts": 2}
    straight = place("straight")
    expected = run(tiny, reward, straight, **more)
    controls = Steering()
    run(tiny, reward, place("count", controls), **more)
    stop_at = int(controls.safe_points * 0.6)
    first = run(tiny, reward, place("broken", Steering(stop_at=stop_at)), **more)
    assert 0 < len(metrics(first)) < 4
    second = run(tiny, reward, place("broken"), **more)
    assert metrics(first) + metrics(second) == metrics(expected)
    samples = [e.samples for e in (*first, *second) if isinstance(e, Progress)]
    assert samples == [e.samples for e in expected if isinstance(e, Progress)]
    assert bytes_of(place("broken").folder) == bytes_of(straight.folder)


def test_killed_and_resumed_is_as_never_killed(tiny, tuned, reward, place):
    """Live settings are part of what is resumed."""
    more = {"steps": 6, "checkpoint_every": 2, "schedule": "linear"}

    def steering():
        return Steering(changes={2: {"kl_coef": 0.3, "temperature": 0.8, "learning_rate": 5e-3}})

    expected = metrics(run(tuned, reward, place("straight", steering()), **more))
    killed = place("killed", steering())
    events = ppo.PPOTrainer(tuned, reward, PROMPTS, settings(**more), killed).run()
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, Progress) and event.step == 3:
            break
    events.close()
    assert metrics(seen) == expected[:3]
    assert metrics(run(tuned, reward, place("killed"), **more)) == expected[2:]
    assert bytes_of(killed.folder) == bytes_of(place("straight").folder)


# --- a reward model on another base ---------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Another size, and a vocabulary in another order: its ids mean other words."""
    words = (*reversed("abcdefghijklmnopqrstuvwxyz"), "good", "bad", "more", "words")
    model = make_model(
        tmp_path_factory.mktemp("models") / "foreign",
        seed=5,
        hidden_size=128,
        vocab_size=35 + 2,
        words=words,
    )
    folder = tmp_path_factory.mktemp("foreign-reward")
    return str(make_adapter(folder, model, 13, reward=True))


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_reward_model_on_another_base_is_loaded_beside(tiny, foreign, place, quantization):
    made = trainer(tiny, foreign, place(), quantization=quantization)
    assert not made.scorer.shares_base
    assert made.scorer.base is not made.base
    assert made.scorer.base.width == 128
    assert made.value.role == "value"
    assert not made.value.head.weight.any()  # nothing to copy: it starts at 0
    assert isinstance(list(made.run())[-1], Finished)


def test_answers_that_did_not_end_or_are_too_long_keep_within_its_length(tiny, foreign, place):
    """The reward model's encoder with 6 tokens: the prompt's marks stay, and no EOS is made up."""
    made = trainer(tiny, foreign, place())
    own = Encoder(made.scorer.base, max_length=6, template={})
    b = own.text("b")[0]
    rows = [Encoded([2], [6, EOS]), Encoded([2], [6]), Encoded([2], [6] * 9), Encoded([2], [])]
    read = made.scorer.read(rows, [user("a")] * 4, made.encoder, own, (EOS,))
    assert [r.response for r in read] == [[b, EOS], [b], [b] * 4, []]
    assert [len(r.prompt) for r in read] == [3, 3, 2, 3]


def test_it_reads_the_text_with_its_own_tokenizer(tiny, foreign, place):
    """An answer is worth in PPO what ``score`` says of its text."""
    made = trainer(tiny, foreign, place())
    rows, messages = answers_of(made, numbers_drawn(made))
    rows = [
        Encoded(r.prompt, r.response if r.response[-1] == EOS else [*r.response, EOS]) for r in rows
    ]
    texts = [made.encoder.decode(r.response) for r in rows]
    (expected,) = evaluate(foreign, messages, texts, tiny_settings())
    seen = made._measured(rows, messages, [list(range(len(rows)))])
    assert seen.scores.tolist() == pytest.approx(expected, abs=1e-4)


# --- what cannot be trained -----------------------------------------------------------------------


def test_no_prompt_is_an_error(tiny, reward, place):
    with pytest.raises(DataError, match="no prompt") as caught:
        trainer(tiny, reward, place(), prompts=[])
    assert caught.value.where and caught.value.fix


def test_a_policy_is_no_reward_model(tiny, tuned, place):
    for not_one in (tuned, str(tiny)):
        with pytest.raises(ModelError, match="not a reward model") as caught:
            trainer(tiny, not_one, place())
        assert caught.value.where == not_one and "train_reward" in caught.value.fix


def test_a_reward_model_is_no_policy(reward, place):
    with pytest.raises(ModelError, match="scores answers"):
        trainer(reward, reward, place())


def test_answers_that_leave_no_room_for_a_prompt_are_an_error(tiny, reward, place):
    with pytest.raises(ConfigError, match="no room") as caught:
        trainer(tiny, reward, place(), response_length=32)
    assert "response_length = 32" in caught.value.where and "max_length" in caught.value.fix


def test_prompts_that_are_shortened_are_told(tiny, reward, place):
    made = trainer(tiny, reward, place(), prompts=[user(" ".join("a" * 40)), *PROMPTS])
    assert made.notices == ["1 prompts were shortened from the left (max_length)"]
    assert len(made.prompts[0].ids) == 32 - 8
    assert made.prompts[0].ids == Encoder(made.base, max_length=24, template={}).prompt(
        user(" ".join("a" * 40)), room=0
    )


# --- final ---------------------------------------------------------------------------------------


def test_final_holds_the_policy_and_the_value_model_beside_it(tiny, reward, place):
    where = place()
    made = trainer(tiny, reward, where)
    list(made.run())
    final = where.folder / "final"
    assert resolve(str(final)).base == str(tiny)
    assert resolve(str(final)).start is None  # it started from the base
    saved = load_file(final / "adapter_model.safetensors")
    state = made.roles.state("policy")
    assert set(saved) == set(state)
    assert all(torch.equal(saved[name], state[name]) for name in saved)
    assert json.loads((final / "value" / "value.json").read_text()) == {"mean": 0.25, "std": 1.5}
    assert not resolve(str(final)).is_reward
    assert not resolve(str(final / "value")).is_reward
    assert json.loads((final / "workbench.json").read_text())["kind"] == "ppo"


def test_final_holds_the_adapter_that_the_policy_started_from(tuned, reward, place):
    where = place()
    run(tuned, reward, where)
    start = resolve(str(where.folder / "final")).start
    assert start == where.folder / "final" / "reference"
    theirs = load_file(resolve(tuned).adapter / "adapter_model.safetensors")
    mine = load_file(start / "adapter_model.safetensors")
    assert set(mine) == set(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_pad_and_eos_are_kept_apart_where_eos_pads(tmp_path, place):
    """The known trap: with pad = EOS, masks made from ids would lose the ends."""
    model = make_model(tmp_path / "m", pad_token=None)
    reward = str(make_adapter(tmp_path / "reward", model, 3, reward=True))
    made = trainer(model, reward, place())
    made.base.tokenizer.pad_token = made.base.tokenizer.eos_token  # loading put another there
    assert made.base.tokenizer.pad_token_id == EOS != PAD
    seen = episodes_of(made, FIXED)
    assert seen.response_mask.sum(1).tolist() == [3, 4]
    assert seen.ended.tolist() == [True, False]
    assert isinstance(list(made.run())[-1], Finished)


def test_steps_go_through_all_prompts_before_any_again(tiny, reward, place):
    made = trainer(tiny, reward, place(), batch_size=2)
    drawn = []
    for step in range(6):
        made.step = step
        drawn.append(numbers_drawn(made))
    first, second = ([i for two in part for i in two] for part in (drawn[:3], drawn[3:]))
    assert sorted(first) == sorted(second) == list(range(6))
    assert all(a != b for a, b in pairwise(first))


def test_hidden_states_of_the_reward_role_do_not_move(tiny, reward, place):
    made = trainer(tiny, reward, place(), value_learning_rate=0.1)
    batch = lay(FIXED, made.base)
    with torch.no_grad(), made.roles.acting("reward"):
        before = response_hidden(made.base, batch)
    made.train_step()
    with torch.no_grad(), made.roles.acting("reward"):
        assert torch.equal(response_hidden(made.base, batch), before)
