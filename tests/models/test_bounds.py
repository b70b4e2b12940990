"""Folders that ask for too much: each is told, with how to mend it, and none is waited for."""

import json
import math
import re
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from workbench.errors import DataError, ModelError
from workbench.models import bounds, chat_template, roles
from workbench.models.bounds import check_sizes, token_ids, within
from workbench.models.roles import Roles
from workbench.models.source import RewardStats, resolve
from workbench.training.reward.scorer import Scorer

from ..training.conftest import make_adapter
from .tiny import load, make_model, make_tokenizer, tiny_settings

LATE = ModelError("too late")


def spin():
    while True:
        pass


def test_what_takes_too_long_is_interrupted_also_where_no_python_runs():
    begun = time.monotonic()
    with pytest.raises(ModelError, match="too late"), within(0.2, LATE):
        spin()
    with pytest.raises(ModelError, match="too late"), within(0.2, LATE):
        re.match(r"(a+)+$", "a" * 60 + "!")
    with pytest.raises(ModelError, match="too late"), within(0.2, LATE):
        9**9**9
    assert time.monotonic() - begun < 10
    with within(5.0, LATE):
        assert True


def test_a_timer_that_was_there_goes_on_and_other_threads_are_left_alone():
    rung = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    before = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with within(5.0, LATE):
            time.sleep(0.05)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
        time.sleep(0.5)
        assert rung == [1]
    finally:
        signal.signal(signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, *before)
    done = []

    def elsewhere():
        with within(0.01, LATE):
            time.sleep(0.05)
            done.append(1)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [1]


ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 9 ** 9 ** 9 }}",
    "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
]
HUGE = ["{{ 'x' * 3000000 }}", "{% for i in range(40000) %}{{ 'x' * 99 }}{% endfor %}"]
BROKEN = ["{{ 1 / 0 }}", "{% if %}", "{{ messages.x.y.z }}", "{{ [].pop() }}", "{% include 'a' %}"]
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "{{ messages.__class__.__base__ }}{% import 'os' as os %}",
]


@pytest.mark.parametrize("template", [*ENDLESS, *HUGE, *BROKEN, *ESCAPES])
def test_a_template_without_end_too_large_or_out_of_bounds_is_told(tmp_path, monkeypatch, template):
    monkeypatch.setattr(chat_template, "TEMPLATE_SECONDS", 0.3)
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    with pytest.raises(ModelError, match="the chat template") as caught:
        chat_template.ChatTemplate(make_tokenizer(chat_template=template))
    assert caught.value.where is not None and caught.value.fix
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "MARK").exists()


def test_a_template_that_has_no_end_for_some_talk_alone_is_told_there(monkeypatch):
    monkeypatch.setattr(chat_template, "TEMPLATE_SECONDS", 0.3)
    plain = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <eos> {% endfor %}"
    trap = "{% if 'boom' in messages[0]['content'] %}" + ENDLESS[0] + "{% endif %}"
    chat = chat_template.ChatTemplate(make_tokenizer(chat_template=plain + trap))
    assert chat.render([{"role": "user", "content": "calm"}]) == "user calm <eos> "
    with pytest.raises(ModelError, match=r"takes longer than 0\.3 s"):
        chat.render([{"role": "user", "content": "boom"}])


def test_a_template_of_a_megabyte_is_none(monkeypatch):
    monkeypatch.setattr(chat_template, "LARGEST_TEMPLATE", 20)
    with pytest.raises(ModelError, match="no text of at most 20 characters"):
        chat_template.ChatTemplate(make_tokenizer(chat_template="{# long #}" * 10))


def test_a_tokenizers_pattern_that_has_no_end_is_told(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    table = json.loads((tmp_path / "tokenizer.json").read_text())
    bomb = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**table, "normalizer": bomb}))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert token_ids(tokenizer, "b") == list(tokenizer("b")["input_ids"])
    with pytest.raises(ModelError, match="the tokenizer fails on a text of 61") as caught:
        token_ids(tokenizer, "a" * 60 + "!")
    assert caught.value.where == str(tmp_path) and "Regex" in caught.value.fix


def test_a_tokenizer_that_takes_too_long_is_told(monkeypatch):
    monkeypatch.setattr(bounds, "READING_SECONDS", 0.2)

    def slow(text, **_):
        time.sleep(5)

    with pytest.raises(ModelError, match="takes longer than"):
        token_ids(slow, "a")


# --- folders that lead in circles, and numbers that are none


def put(path, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_folders_that_lead_to_each_other_are_told(tmp_path):
    put(tmp_path / "a" / "adapter_config.json", base_model_name_or_path=str(tmp_path / "a"))
    with pytest.raises(ModelError, match="names itself as its base"):
        resolve(str(tmp_path / "a"))
    put(tmp_path / "b" / "adapter_config.json", base_model_name_or_path=str(tmp_path / "c"))
    put(tmp_path / "c" / "adapter_config.json", base_model_name_or_path=str(tmp_path / "b"))
    with pytest.raises(ModelError, match="lead to each other"):
        resolve(str(tmp_path / "b"))
    put(tmp_path / "run" / "config.json", kind="sft")
    (tmp_path / "run" / "final").symlink_to(tmp_path / "run")
    with pytest.raises(ModelError, match="lead to each other"):
        resolve(str(tmp_path / "run"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ModelError):
        resolve(str(tmp_path / "loop"))


@pytest.mark.parametrize("members", [10**9, 65, -1, 1.5e300, "3", [1], True, {"a": 1}, math.nan])
def test_an_ensemble_of_more_members_than_any_is_told(tmp_path, members):
    put(tmp_path / "reward.json", members=members)
    with pytest.raises(ModelError, match="members, and this one says"):
        resolve(str(tmp_path))


def test_an_ensemble_whose_member_is_gone_or_leads_back_is_told(tiny, tmp_path):
    put(tmp_path / "e" / "reward.json", members=2)
    put(tmp_path / "e" / "member-0" / "adapter_config.json", base_model_name_or_path=str(tiny))
    with pytest.raises(ModelError, match="a member of this ensemble is missing"):
        resolve(str(tmp_path / "e"))
    put(tmp_path / "f" / "reward.json", members=1)
    (tmp_path / "f" / "member-0").symlink_to(tmp_path / "f")
    with pytest.raises(ModelError, match="a member of this ensemble is missing"):
        resolve(str(tmp_path / "f"))


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n in ("mean", "std", "sharpness") for v in (math.nan, math.inf, 1e300, "1", None)]
    + [("std", 0), ("std", -1.0), ("std", 1e-300), ("sharpness", 0), ("mean", [1])]
    + [("training_pairs", v) for v in (-1, "x", math.nan, True, [1], 1e300)],
)
def test_figures_by_which_no_score_can_be_read_are_told(tmp_path, name, value):
    put(tmp_path / "reward.json", **{name: value})
    with pytest.raises(ModelError, match=f"{name} is ") as caught:
        RewardStats.read(tmp_path)
    assert caught.value.where == str(tmp_path / "reward.json")


def test_figures_as_they_are_are_read(tmp_path):
    assert RewardStats.read(tmp_path) == RewardStats(0.0, 1.0, None, 1.0)
    put(tmp_path / "reward.json", mean=-3, std=0.25, training_pairs=12, sharpness=2.0)
    assert RewardStats.read(tmp_path) == RewardStats(-3.0, 0.25, 12, 2.0)


@pytest.mark.parametrize("content", [b"{" * 100_000, b"\xff", b"[]", b"3", b""])
def test_json_that_is_none_is_told(tmp_path, content):
    (tmp_path / "reward.json").write_bytes(content)
    with pytest.raises(ModelError, match="JSON"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"r": 10**7},
        {"r": 0},
        {"r": -1},
        {"r": "8"},
        {"r": 1.5},
        {"r": True},
        {"rank_pattern": {"q_proj": 10**7}},
        {"rank_pattern": [8]},
    ],
)
def test_an_adapter_of_a_rank_that_none_has_is_told(tiny, tmp_path, changes):
    loaded = AutoModelForCausalLM.from_pretrained(str(tiny))
    config = LoraConfig(r=2, target_modules=["q_proj"])
    get_peft_model(loaded, config).save_pretrained(str(tmp_path))
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    put(tmp_path / "adapter_config.json", **{**written, **changes})
    with pytest.raises(ModelError, match="an adapter's rank is 1 to 16,384"):
        Roles(load(tiny), tiny_settings()).add("policy", trainable=False, source=tmp_path)


@pytest.mark.parametrize("where", ["target_modules", "rank_pattern"])
def test_a_pattern_without_end_in_an_adapter_is_told(tiny, monkeypatch, where):
    monkeypatch.setattr(roles, "PATTERN_SECONDS", 0.3)
    bomb = r"(([a-z0-9_.])+)+X"
    given = {where: {bomb: 4} if where == "rank_pattern" else bomb}
    made = Roles(load(tiny), tiny_settings())
    monkeypatch.setattr(made, "_config", lambda *_: SimpleNamespace(**given))
    with pytest.raises(ModelError, match=r"takes longer than 0\.3 s"):
        made.add("policy", trainable=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"hidden_size": 2**40},
        {"vocab_size": 10**12},
        {"num_hidden_layers": -1},
        {"intermediate_size": 1e300},
    ],
)
def test_a_config_of_sizes_that_no_model_has_is_told(changes):
    with pytest.raises(ModelError, match="the model's config asks for") as caught:
        check_sizes(SimpleNamespace(**changes), "here")
    assert caught.value.where == "here"
    with pytest.raises(ModelError):
        check_sizes(SimpleNamespace(text_config=SimpleNamespace(**changes)), "here")
    check_sizes(SimpleNamespace(hidden_size=8192, num_hidden_layers="x", vocab_size=None), "here")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_never_given(tiny, tmp_path, value):
    folder = make_adapter(tmp_path, tiny, 3, reward=True)
    weights = load_file(folder / "adapter_model.safetensors")
    (head,) = (name for name in weights if "score" in name)
    weights[head] = torch.full_like(weights[head], value)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = tiny_settings()
    scorer = Scorer.attach(str(folder), Roles(load(tiny), settings), settings)
    row = scorer.encoder(settings).pair(
        [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
    )
    with pytest.raises(ModelError, match="no number to learn from"):
        scorer.scores([row], tokens=64)


# --- what held, and holds


def test_a_models_own_python_is_never_run(tiny, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(tiny, folder)
    mark = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass E: pass\n")
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "evil.E", "AutoModelForCausalLM": "evil.E", "AutoTokenizer": "evil.E"}
    put(folder / "config.json", **{**config, "auto_map": auto, "model_type": "evil"})
    with pytest.raises(ModelError):
        load(folder)
    put(folder / "config.json", **{**config, "auto_map": auto})
    load(folder)  # transformers has the architecture: its own class is taken
    assert not mark.exists()


class Marks:
    """A pickle that leaves a mark where it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_pickled_weights_and_adapters_are_never_unpickled(tiny, tmp_path):
    mark = tmp_path / "ran"
    folder = tmp_path / "m"
    make_model(folder) if not folder.exists() else None
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.save({"model.embed_tokens.weight": Marks(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load(folder)
    adapter = make_adapter(tmp_path / "a", tiny, 3, reward=False)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"x": Marks(mark)}, adapter / "adapter_model.bin")
    with pytest.raises((ModelError, DataError)):
        Roles(load(tiny), tiny_settings()).add("policy", trainable=False, source=adapter)
    assert not mark.exists()


@pytest.mark.parametrize("eos", ["x", [3, "x"], 1.5, {"a": 1}])
def test_an_end_that_is_no_id_is_told(tmp_path, eos):
    folder = make_model(tmp_path / "m")
    config = json.loads((folder / "generation_config.json").read_text())
    put(folder / "generation_config.json", **{**config, "eos_token_id": eos})
    with pytest.raises(ModelError, match=r"ids are numbers|cannot be loaded"):
        load(folder)
