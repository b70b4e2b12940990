"""What decides whether a reward model is right, item by item, and the test of each.

The numbers are those of the list of implementation details that the project was planned by (section
3: tokens and data, forward invariances, roles on one base, reward model). An item that has no test
under its own number here is tested where the table says.
"""

import ast
import hashlib
from pathlib import Path

import pytest
import torch

from workbench.settings import RewardSettings
from workbench.training.reward import reward
from workbench.training.reward.encoded_pairs import encode_comparisons

from ...models.tiny import EOS, assistant, load, make_model, tiny_settings, user
from ..conftest import metrics
from .test_reward import ROWS

ITEMS = {
    3: "models/test_forward.py::test_a_score_is_read_at_the_last_real_token_and_nowhere_else",
    4: "training/reward/test_foreign.py::test_prompts_are_read_as_the_policy_writes_them",
    5: "models/test_encoding.py::test_a_prompt_is_never_cut_within_a_character",
    6: "models/test_forward.py::test_padding_changes_nothing",
    7: "models/test_forward.py::test_a_row_alone_is_worth_what_it_is_in_a_batch",
    8: "models/test_forward.py::test_chunks_give_the_same_numbers_and_gradients",
    11: "models/test_roles.py::test_an_adapter_that_peft_saved_is_taken_and_its_dropout_is_off",
    13: "models/test_roles.py::test_roles_do_not_leak_into_each_other",
    15: "models/test_roles.py::test_switching_leaves_requires_grad_as_it_was_set",
    17: "models/test_roles.py::test_what_was_saved_is_loaded_bit_for_bit",
    18: "training/test_merged_export.py::test_what_is_not_merged",
    19: "models/test_roles.py::"
    "test_a_fresh_head_is_drawn_from_its_seed_with_variance_one_over_d_plus_one",
    20: "algos/test_losses.py::test_bradley_terry_by_hand",
    22: "models/test_forward.py::test_a_score_is_read_at_the_last_real_token_and_nowhere_else",
    23: "training/reward/test_reward.py::test_scores_of_what_the_start_model_says_have_mean_0",
    25: "models/fast/test_packing.py::test_scores_and_gradients_equal_separate_forward_passes",
}
HERE = (1, 2, 16, 21, 24)


def settings(**changes):
    few = {"steps": 6, "batch_size": 8, "learning_rate": 1e-2, "holdout": 0.25}
    return tiny_settings(RewardSettings, **{**few, **changes})


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_item_has_a_test():
    home = Path(__file__).parents[2]
    for item, place in ITEMS.items():
        file, name = place.split("::")
        assert name in names_in(home / file), f"item {item}: {place}"
    own = names_in(Path(__file__))
    for item in HERE:
        assert any(name.startswith(f"test_item_{item}_") for name in own), f"item {item}"
    reward_and_tokens = {*range(1, 6), *range(19, 26)}
    assert reward_and_tokens <= {*ITEMS, *HERE}


def test_item_1_padding_with_eos_and_eos_in_the_prompt_do_not_hold_the_loss(tmp_path, place):
    """Where the score was read at the first EOS, both answers had one score: 0.6931 for ever."""
    template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <eos> {% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    base = make_model(tmp_path / "m", pad_token="<eos>", chat_template=template)
    few = settings(head_start="classic")
    trainer = reward.RewardTrainer(str(base), ROWS, few, place())
    (member,) = trainer.members
    prompt = member.train[0].answers[0].prompt
    assert EOS in prompt and trainer.base.tokenizer.pad_token_id != EOS
    found = metrics(list(trainer.run()))
    assert found[-1]["loss"] < 0.6 < found[0]["loss"]
    assert abs(found[0]["margin"]) > 1e-3


@pytest.mark.parametrize("max_length", [8, 32])
def test_item_2_every_answer_that_is_kept_ends_with_eos(tiny, max_length):
    """However the prompts are shortened; what leaves no room is counted, not cut."""
    long = {**ROWS[0], "prompt": user(" ".join("abcdefgh")), "rejected": assistant("a b c d e")}
    over = {**ROWS[0], "rejected": assistant(" ".join("abcdefgh"))}
    rows = [*ROWS, long, over]
    found, notices = encode_comparisons(load(tiny), rows, settings(max_length=max_length))
    answers = [answer for comparison in found for answer in comparison.answers]
    assert {answer.response[-1] for answer in answers} == {EOS}
    assert all(EOS not in answer.response[:-1] for answer in answers)
    assert all(len(answer.ids) <= max_length for answer in answers)
    assert any("left out" in text for text in notices) == (max_length == 8)
    assert sum(len(c.judgements) for c in found) == len(rows) - (max_length == 8)


def test_item_16_the_packed_base_is_the_same_after_a_run(tiny, place):
    trainer = reward.RewardTrainer(str(tiny), ROWS, settings(quantization="nf4"), place())

    def digest():
        found = hashlib.sha256()
        for module in trainer.base.model.modules():
            state = getattr(getattr(module, "weight", None), "quant_state", None)
            if state is not None:
                found.update(module.weight.detach().numpy().tobytes())
                found.update(state.absmax.numpy().tobytes())
        return found.hexdigest()

    before = digest()
    assert before != hashlib.sha256().hexdigest()
    list(trainer.run())
    assert digest() == before


def test_item_21_swapped_labels_have_the_other_accuracy(tiny, place):
    trainer = reward.RewardTrainer(str(tiny), ROWS, settings(holdout=0.5), place())
    (member,) = trainer.members
    for _ in range(3):
        trainer.train_step()
    before = member.evaluate()
    member.heldout = [
        c._replace(
            judgements=tuple(j._replace(chosen=j.rejected, rejected=j.chosen) for j in c.judgements)
        )
        for c in member.heldout
    ]
    after = member.evaluate()
    assert before["heldout/accuracy"] != 0.5
    assert after["heldout/accuracy"] == pytest.approx(1 - before["heldout/accuracy"])
    assert after["heldout/margin"] == pytest.approx(-before["heldout/margin"], abs=1e-6)


def test_item_24_the_learning_rate_falls_to_0_over_one_pass(tiny, place):
    trainer = reward.RewardTrainer(str(tiny), ROWS, settings(steps=0, batch_size=4), place())
    assert trainer.total == 3  # 12 pairs
    found = metrics(list(trainer.run()))
    rates = [row["learning_rate"] for row in found]
    assert rates == pytest.approx([1e-2, 1e-2 * 2 / 3, 1e-2 / 3])
    (member,) = trainer.members
    assert member.optimiser.factor() == 0.0
    before = [w.detach().clone() for w in member.optimiser.parameters]
    trainer.train_step()
    assert all(torch.equal(a, b) for a, b in zip(before, member.optimiser.parameters, strict=True))
