"""Conversations as the template renders them: real templates, ends of turns, refusals, dates."""

import datetime as clock
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import transformers.utils.chat_template_utils as rendering
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GenerationConfig, PreTrainedTokenizerFast

from workbench.errors import ConfigError, DataError, ModelError
from workbench.models.chat_template import TODAY, ChatTemplate, adds_bos, folded, stand_in
from workbench.models.encoding import Encoder

from .tiny import assistant, load, make_model, user

ROOT = Path(__file__).parents[2]
PEER = "1.16.0"
"""Of TRL, whose package carries the chat templates of many models."""
TALK = [*user("What is the capital of Norway?"), *assistant("Oslo is the capital.")]
# those of models that take parts (text, image) and drop a plain text without a word
IN_PARTS = {"idefics3", "llava_next", "smolvlm"}
# what ends an answer where its template writes nothing behind one
UNENDED = {"glm4moe"}


@pytest.fixture(scope="module")
def real_templates():
    """The chat templates in TRL's package, by name: fetched once, read from there."""
    folder = ROOT / ".venv" / "peers" / f"trl-{PEER}"
    if not list(folder.glob("*.whl")):
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        fetch += ["--disable-pip-version-check", "-d", str(folder), f"trl=={PEER}"]
        subprocess.run(fetch, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if re.search(r"chat_templates/\w+\.jinja$", n)]
        texts = {Path(n).stem: archive.read(n).decode() for n in names}
    return {name: text for name, text in texts.items() if not name.endswith("_training")}


def byte_tokenizer(template, specials, *, eos, bos="<|begin|>"):
    """A tokenizer of bytes that knows these marks as tokens of their own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = sorted({*specials, eos, bos})
    inner.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in marks])
    start = [(bos, inner.token_to_id(bos))]
    inner.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=start)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=eos, bos_token=bos, clean_up_tokenization_spaces=False
    )
    made.chat_template = template
    return made


def model_with(folder, tokenizer):
    make_model(folder, vocab_size=len(tokenizer) + 8, max_position_embeddings=8192)
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(str(folder))
    return load(folder)


class OneDay(clock.datetime):
    """The library's clock, stopped at the day that our prompts are told."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(TODAY)


def marks_of(template):
    """Everything in a template that looks like a mark of its model's."""
    return set(re.findall(r"<[|｜/]?[A-Za-z_▁|｜]+[|｜]?>", template))  # noqa: RUF001


@pytest.mark.parametrize("eos_is_the_end", [True, False], ids=["eos ends", "another ends"])
def test_real_templates_to_the_token(real_templates, tmp_path, monkeypatch, eos_is_the_end):
    """Prompt and answer are the template's own text of both, up to the end of the turn."""
    monkeypatch.setattr(rendering, "datetime", OneDay)
    wrong, unended = [], set()
    for name, template in real_templates.items():
        if name in IN_PARTS:
            continue
        probe = byte_tokenizer(template, (), eos="<|text|>")
        whole = probe.apply_chat_template(TALK, tokenize=False)
        tail = whole.rpartition("Oslo is the capital.")[2].split()
        last = re.findall(r"<[^<>]*>", tail[0])[-1] if tail else None
        eos = last if eos_is_the_end and last else "<|text|>"
        tokenizer = byte_tokenizer(template, {*marks_of(template), last or eos}, eos=eos)
        base = model_with(tmp_path / name, tokenizer)
        whole = base.tokenizer.apply_chat_template(TALK, tokenize=False)
        if last is None:
            unended.add(name)
            expected = [*base.tokenizer(whole, add_special_tokens=False)["input_ids"]]
            expected.append(base.tokenizer.eos_token_id)
        else:
            mark = last if last != "<|text|>" else eos
            text = whole[: whole.index(mark, whole.rindex("Oslo")) + len(mark)]
            expected = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        encoded = Encoder(base, max_length=8000, template={}).pair(TALK[:1], TALK[1:])
        if encoded.ids != expected or encoded.response[-1] not in base.eos_ids:
            wrong.append(name)
    assert wrong == []
    assert unended == UNENDED
    assert len(real_templates) - len(IN_PARTS) >= 34


def test_earlier_thoughts_of_qwen3_are_what_its_template_makes_of_them(real_templates, tmp_path):
    """It drops them from turns before the last question; <think> is a token, and no special one."""
    template = real_templates["qwen3"]
    tokenizer = byte_tokenizer(template, {"<|im_start|>"}, eos="<|im_end|>")
    base = model_with(tmp_path / "qwen3", tokenizer)
    thought = assistant("<think>\nA capital.\n</think>\n\nOslo is the capital.")
    talk = [*TALK[:1], *thought, *user("And of Sweden?")]
    expected = base.tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    ids = base.tokenizer(expected, add_special_tokens=False)["input_ids"]
    assert Encoder(base, max_length=8000, template={}).prompt(talk, room=8) == ids
    assert "Oslo is the capital." in expected and "A capital." not in expected


def test_templates_that_take_parts_lose_no_text(real_templates, tmp_path):
    for name in sorted(IN_PARTS):
        template = real_templates[name]
        tokenizer = byte_tokenizer(template, marks_of(template), eos="<|text|>")
        text = ChatTemplate(tokenizer).render(TALK)
        assert all(message["content"] in text for message in TALK), name


CHAT = (
    "{% for m in messages %}{{ '<|turn|>' + m['role'] + '\n' + m['content'] + '<|done|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)
MARKS = ("<|turn|>", "<|done|>")


def test_an_answer_ends_as_the_template_ends_a_turn(tmp_path):
    """EOS is another token, as in first Llama 3, Phi-3, Gemma-it and Qwen's bases."""
    base = model_with(tmp_path / "m", byte_tokenizer(CHAT, MARKS, eos="<|text|>"))
    done = base.tokenizer.convert_tokens_to_ids("<|done|>")
    encoded = Encoder(base, max_length=256, template={}).pair(TALK[:1], TALK[1:])
    assert encoded.response[-1] == done
    assert {done, base.tokenizer.eos_token_id} <= set(base.eos_ids)


def test_where_nothing_ends_a_turn_the_next_ones_mark_may(tmp_path):
    """As in GLM, whose models stop at the mark of the user's next turn."""
    open_ended = CHAT.replace("<|done|>\n", "").replace(
        "'<|turn|>' + m['role']", "'<|' + m['role'] + '|>'"
    )
    tokenizer = byte_tokenizer(open_ended, ("<|user|>", "<|turn|>"), eos="<|text|>")
    folder, next_turn = tmp_path / "m", tokenizer.convert_tokens_to_ids("<|user|>")
    make_model(folder, vocab_size=len(tokenizer) + 8, max_position_embeddings=512)
    tokenizer.save_pretrained(str(folder))
    GenerationConfig(eos_token_id=[next_turn]).save_pretrained(str(folder))
    encoded = Encoder(load(folder), max_length=256, template={}).pair(TALK[:1], TALK[1:])
    assert encoded.response[-1] == next_turn


def test_an_end_that_is_no_token_is_followed_by_eos_and_told(tmp_path):
    base = model_with(tmp_path / "m", byte_tokenizer(CHAT, ("<|turn|>",), eos="<|text|>"))
    encoded = Encoder(base, max_length=256, template={}).pair(TALK[:1], TALK[1:])
    assert base.tokenizer.decode(encoded.response) == "Oslo is the capital.<|done|><|text|>"
    assert any("'<|done|>', which is no token" in notice for notice in base.notices)


def test_without_a_template_texts_begin_as_the_tokenizer_begins_them(tmp_path):
    base = model_with(tmp_path / "m", byte_tokenizer(None, (), eos="<|text|>"))
    encoder, tokenizer = Encoder(base, max_length=256, template={}), base.tokenizer
    begin = tokenizer.bos_token_id
    encoded = encoder.pair(TALK[:1], TALK[1:])
    text = "User:\nWhat is the capital of Norway?\n\nAssistant:\nOslo is the capital."
    assert encoded.ids == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert encoder.prompt(TALK[:1], room=8) == tokenizer(text.rpartition("\n")[0])["input_ids"]
    assert encoder.text("Rain.") == [*tokenizer("Rain.")["input_ids"], tokenizer.eos_token_id]
    assert encoded.ids.count(begin) == 1 and encoded.ids[0] == begin


def test_a_tokenizer_that_adds_no_bos_gets_none(base):
    assert not adds_bos(base.tokenizer)
    assert "bos_token" not in stand_in(base.tokenizer)


THINKS = CHAT.replace(
    "'<|turn|>assistant\n'",
    "'<|turn|>assistant\n' + ('' if enable_thinking is false else '<think>')",
)


def test_a_template_that_opens_a_thought_is_told_and_given_answers_have_none(tmp_path):
    base = model_with(tmp_path / "m", byte_tokenizer(THINKS, MARKS, eos="<|done|>"))
    open_, shut = (
        Encoder(base, max_length=256, template=given) for given in ({}, {"enable_thinking": False})
    )
    assert base.tokenizer.decode(open_.prompt(TALK[:1], room=8)).endswith("assistant\n<think>")
    assert base.tokenizer.decode(shut.prompt(TALK[:1], room=8)).endswith("assistant\n")
    assert open_.pair(TALK[:1], TALK[1:]) == shut.pair(TALK[:1], TALK[1:])
    assert "<think>" not in base.tokenizer.decode(open_.pair(TALK[:1], TALK[1:]).ids)
    assert any("enable_thinking" in notice for notice in base.notices)


NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"


def test_a_conversation_that_the_template_refuses_says_what_to_do(tmp_path):
    base = model_with(tmp_path / "m", byte_tokenizer(NO_SYSTEM + CHAT, MARKS, eos="<|done|>"))
    talk = [{"role": "system", "content": "Be kind."}, *TALK[:1]]
    encoder = Encoder(base, max_length=256, template={})
    with pytest.raises(DataError, match="refuses this conversation: no system") as caught:
        encoder.prompt(talk, room=8)
    assert "system, user, which begins 'Be kind.'" in caught.value.where
    assert "fold_system=True" in caught.value.fix
    folding = Encoder(base, max_length=256, template={}, fold_system=True)
    text = base.tokenizer.decode(folding.prompt(talk, room=8))
    assert "<|turn|>user\nBe kind.\n\nWhat is the capital" in text


def test_folding_by_hand():
    system = {"role": "system", "content": "s"}
    assert folded([system, *user("u")]) == user("s\n\nu")
    assert folded([system]) == user("s")
    assert folded(user("u")) == user("u")
    assert folded([system, *assistant("a"), *user("u")]) == [*assistant("a"), *user("s\n\nu")]


def test_a_prompt_is_the_same_tomorrow(tmp_path, monkeypatch):
    dated = "{{ 'Today: ' + strftime_now('%d %b %Y, %A') + '\n' }}" + CHAT
    base = model_with(tmp_path / "m", byte_tokenizer(dated, MARKS, eos="<|done|>"))

    class Later(clock.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    monkeypatch.setattr(rendering, "datetime", Later)
    text = base.tokenizer.decode(
        Encoder(base, max_length=256, template={}).prompt(TALK[:1], room=8)
    )
    assert text.startswith("Today: 01 Jan 2026, Thursday\n")
    other = Encoder(base, max_length=256, template={"today": "2030-12-31"}).prompt(TALK[:1], room=8)
    assert base.tokenizer.decode(other).startswith("Today: 31 Dec 2030, Tuesday\n")
    assert any(TODAY in notice for notice in base.notices)
    with pytest.raises(ConfigError, match="'soon' is no date"):
        Encoder(base, max_length=256, template={"today": "soon"})


def test_a_template_that_loses_the_answer_is_refused(tmp_path):
    tokenizer = byte_tokenizer("{{ messages[0]['content'] }}", (), eos="<|text|>")
    with pytest.raises(ModelError, match="what the assistant says is not in its text"):
        model_with(tmp_path / "m", tokenizer)
