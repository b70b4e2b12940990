import json

import pytest
import torch

from workbench.models import model_card
from workbench.settings import PPOSettings, RewardSettings, SFTSettings
from workbench.training import sft
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.ppo import ppo
from workbench.training.reward import reward

from ..models.encoders import make_encoder
from ..models.tiny import tiny_settings, user
from .conftest import PROMPTS
from .reward.test_reward import ROWS

FACTS = {
    "base": "/models/b",
    "reference": "b",
    "quantization": "none",
    "dtype": "float32",
    "notices": ["a notice"],
}


def written(folder, **changes):
    given = {"facts": FACTS, "settings": RewardSettings(), "data": {"pairs": 3}, "use": "x = 1"}
    model_card.write_card(
        folder, **{**given, "figures": {"accuracy": 0.51234, "none": None}, **changes}
    )
    return (folder / model_card.NAME).read_text()


def test_a_card_tells_base_data_figures_use_and_settings(tmp_path):
    text = written(tmp_path, settings=RewardSettings(members=3))
    assert text.startswith('---\nbase_model: "b"\n')
    for part in (
        "# A reward model on b",
        "- a notice",
        "not quantised, and computed in float32",
        "## Data\n\n| | |\n|---|---|\n| pairs | 3 |",
        "| accuracy | 0.5123 |",
        "```python\nx = 1\n```",
        "| members | 3 (default 1) |",
        "| seed | 0 |",
    ):
        assert part in text, part
    assert "none" not in text.split("## Evaluation")[1].split("##")[0]


def test_without_figures_there_is_no_such_section(tmp_path):
    assert "## Evaluation" not in written(tmp_path, figures={})


def test_a_section_is_put_in_its_own_place(tmp_path):
    written(tmp_path)
    model_card.put_section(tmp_path, "Later", {"accuracy": 0.5})
    model_card.put_section(tmp_path, "Evaluation", {"accuracy": 0.75})
    text = (tmp_path / model_card.NAME).read_text()
    assert text.count("## Evaluation") == text.count("## Later") == text.count("## Use") == 1
    assert text.count("| accuracy | 0.75 |") == 1 and "0.5123" not in text
    model_card.put_section(tmp_path, "Later", {"accuracy": 0.25})
    assert (tmp_path / model_card.NAME).read_text().count("| accuracy | 0.25 |") == 1
    model_card.put_section(tmp_path / "nowhere", "Later", {"accuracy": 0.25})


def python_of(folder):
    """The card's own code, with its folder in the place of the dot."""
    text = (folder / model_card.NAME).read_text()
    code = text.split("```python\n")[1].split("\n```")[0]
    return code.replace('folder = "."', f"folder = {str(folder)!r}")


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_the_cards_own_code_gives_the_same_score(tiny, tmp_path, place, kind):
    """transformers and peft alone: the words of the prompt are unknown here, and the same ones."""
    base = tiny if kind == "decoder" else make_encoder(tmp_path / "encoder")
    where = place()
    few = tiny_settings(RewardSettings, steps=3, batch_size=4, learning_rate=1e-2)
    list(reward.RewardTrainer(str(base), ROWS, few, where).run())
    final = where.folder / "final"
    found = {}
    exec(python_of(final), found)
    asked = [user(found["prompt"])], [found["answer"]]
    assert evaluate(str(final), *asked, few) == [[pytest.approx(found["score"], abs=1e-5)]]
    stats = json.loads((final / "reward.json").read_text())
    assert found["score"] == pytest.approx((found["raw"] - stats["mean"]) / stats["std"])


def test_in_4_bits_the_code_names_what_stays_in_full():
    facts = {**FACTS, "quantization": "nf4"}
    for skip in ([], ["classifier"]):
        code = model_card.how_to_score(facts, mean=0.0, std=1.0, two_texts=False, skip=skip)
        compile(code, "card", "exec")
        assert "load_in_4bit=True" in code and "nf4" in code
        assert ("llm_int8_skip_modules=['classifier']" in code) == bool(skip)
    compile(model_card.how_to_answer(facts), "card", "exec")


def test_policies_have_cards_too(tiny, tmp_path, place):
    where = place("sft")
    few = tiny_settings(SFTSettings, steps=2, batch_size=2)
    list(sft.SFTTrainer(str(tiny), [{"text": "a b c d e f"}] * 4, few, where).run())
    text = (where.folder / "final" / model_card.NAME).read_text()
    assert "# A fine-tuned model" in text and "| perplexity |" in text
    torch.manual_seed(0)
    exec(python_of(where.folder / "final"), {})
    rewarded = place("reward")
    one = tiny_settings(RewardSettings, steps=1, batch_size=2, members=2)
    list(reward.RewardTrainer(str(tiny), ROWS, one, rewarded).run())
    assert "| members | 2 |" in (rewarded.folder / "final" / model_card.NAME).read_text()
    made = place("ppo")
    few = tiny_settings(PPOSettings, steps=1, batch_size=2, response_length=4, watch_every=0)
    list(ppo.PPOTrainer(str(tiny), str(rewarded.folder / "final"), PROMPTS, few, made).run())
    text = (made.folder / "final" / model_card.NAME).read_text()
    assert "# A policy trained by PPO" in text and "| objective/kl |" in text
