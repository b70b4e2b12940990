import pytest
import torch
from transformers import AutoModelForSequenceClassification, GenerationConfig

from workbench.errors import ModelError

from .encoders import make_classifier
from .tiny import EOS, PAD, SPECIAL, UNKNOWN, WORDS, load, make_model, user


@pytest.mark.parametrize("pad", [None, "<eos>"])
def test_padding_that_ends_an_answer_is_replaced_and_told(tmp_path, pad):
    base = load(make_model(tmp_path / "m", pad_token=pad))
    assert base.tokenizer.pad_token_id == UNKNOWN
    how = "had no pad token" if pad is None else "padded with the token that ends an answer"
    assert any(how in notice and "<unk> stands in" in notice for notice in base.notices)


def test_where_no_special_token_is_left_another_pads(tmp_path):
    """Rather any token than EOS: a classifier of transformers would read the token before it."""
    names = {"pad_token": "<eos>", "unk_token": "<eos>", "specials": []}
    base = load(make_model(tmp_path / "m", **names))
    assert base.tokenizer.pad_token_id == 0 != EOS


def test_a_classifier_finds_the_last_token_by_our_padding(tmp_path, tiny):
    """Were EOS the padding, transformers would take the score of the token before EOS."""
    folder = make_classifier(tmp_path / "m", make_model(tmp_path / "b", pad_token="<eos>"))
    base = load(folder)
    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    rows = [[5, 6, EOS], [7, EOS]]
    model.config.pad_token_id = base.tokenizer.pad_token_id
    padded = torch.tensor([rows[0], [*rows[1], base.tokenizer.pad_token_id]])
    with torch.no_grad():
        found = model(input_ids=padded).logits[:, 0]
        alone = [float(model(input_ids=torch.tensor([row])).logits[0, 0]) for row in rows]
    assert found.tolist() == pytest.approx(alone, abs=1e-5)


def test_tokens_without_an_embedding_are_an_error(tmp_path):
    folder = make_model(tmp_path / "m", vocab_size=len(SPECIAL) + len(WORDS) - 2)
    with pytest.raises(ModelError, match="2 tokens that the model has no embedding for") as caught:
        load(folder)
    assert "31 embeddings, first token without one: 'good' (31)" in caught.value.where
    assert "resize_token_embeddings" in caught.value.fix


def test_without_a_chat_template_a_plain_one_is_used_and_told(tmp_path):
    base = load(make_model(tmp_path / "m", chat_template=None))
    text = base.tokenizer.apply_chat_template(
        user("a b"), tokenize=False, add_generation_prompt=True
    )
    assert text == "User:\na b\n\nAssistant:"
    assert any("no chat template" in notice for notice in base.notices)


def test_a_tokenizer_with_everything_gives_no_notice(base):
    assert base.notices == []
    assert base.tokenizer.pad_token_id == PAD


def test_no_eos_token_anywhere_is_an_error(tmp_path):
    folder = make_model(tmp_path / "m", eos_token=None, eos_token_id=None)
    with pytest.raises(ModelError, match="no EOS token") as caught:
        load(folder)
    assert caught.value.where == str(folder) and "eos_token" in caught.value.fix


def test_an_eos_token_named_only_by_the_model_is_given_to_the_tokenizer(tmp_path):
    base = load(make_model(tmp_path / "m", eos_token=None))
    assert (base.tokenizer.eos_token_id, base.eos_ids) == (EOS, (EOS,))


def test_every_eos_token_of_the_generation_config_ends_an_answer(tmp_path):
    folder = make_model(tmp_path / "m")
    GenerationConfig(eos_token_id=[7, 3, EOS]).save_pretrained(str(folder))
    assert load(folder).eos_ids == (EOS, 3, 7)
