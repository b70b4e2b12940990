import json

import pytest

import workbench as wb
from workbench import child
from workbench.errors import ConfigError
from workbench.settings import PPOSettings, RewardSettings
from workbench.verbs import plan_memory

from ..models.tiny import make_model

PARTS = [
    {"phase": "generate", "part": "base: linear layers", "bytes": 2 * 10**9},
    {"phase": "generate", "part": "keys and values", "bytes": 10**9},
    {"phase": "optimise", "part": "base: linear layers", "bytes": 2 * 10**9},
    {"phase": "optimise", "part": "activations and logits of a micro-batch", "bytes": 4 * 10**9},
]


def made(free, settings=None, **changes):
    told = {"parts": PARTS, "free": free * 10**9, "rows": 2, "length": 640, "device": "cuda"}
    told |= {
        "micro_batch_tokens": 2048,
        "dtype": "bfloat16",
        "quantization": "nf4",
        "model": "some <model>",
    }
    return plan_memory.MemoryPlan({**told, **changes}, settings or PPOSettings())


def test_the_sum_of_each_phase_and_the_peak():
    plan = made(8)
    assert plan.phases == {"generate": 3.0, "optimise": 6.0}
    assert (plan.peak_gb, plan.free_gb, plan.fits, plan.advice) == (6.0, 8.0, True, "")
    assert plan.frame.loc["sum"].to_dict() == {"generate": 3.0, "optimise": 6.0}
    assert list(plan.frame.index) == [
        "base: linear layers",
        "keys and values",
        "activations and logits of a micro-batch",
        "sum",
    ]
    assert "6.00 GB at the peak, 8.00 GB free: it fits" in repr(plan)
    assert "some &lt;model&gt;" in plan._repr_html_() and "<model>" not in plan._repr_html_()


def test_what_to_change_begins_with_what_saves_the_most():
    assert made(5).advice == "set gradient_checkpointing=True; take a smaller model"
    recomputed = PPOSettings(gradient_checkpointing=True)
    assert made(5, recomputed).advice.startswith("lower micro_batch_tokens (it is 2048)")
    assert made(5, recomputed, rows=1).advice.startswith("lower max_length (it is 1024)")
    plain = PPOSettings(quantization="none")
    assert made(5, plain).advice.endswith("set quantization='nf4'")
    assert "it does not fit; set gradient_checkpointing=True" in repr(made(5))


def test_every_part_that_a_plan_names_has_a_remedy_or_is_optional(asked, model):
    plan = wb.plan(model, card_gb=1e-6)
    assert not plan.fits
    spared = {"one layer out of its 4 bits", "dense copy for sampling, where it fits"}
    spared |= {"work space of the GPU's libraries"}
    spared |= {"dense copy of the base to train on, where it fits"}
    for part in {row["part"] for row in plan.facts["parts"]} - spared:
        assert plan._remedy(part), part


@pytest.fixture
def asked(monkeypatch):
    """Jobs run here, by way of what a job's files hold."""
    seen = []

    def run_job(kind, request):
        seen.append(json.loads(json.dumps(request)))
        return json.loads(json.dumps(child.do_job(kind, seen[-1], lambda *told: None)))

    monkeypatch.setattr(plan_memory, "run_job", run_job)
    return seen


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


def test_settings_by_object_by_name_and_by_preset(asked, model):
    plan = wb.plan(model, RewardSettings(members=2), lora_rank=4)
    assert (plan.settings.kind, asked[0]["settings"]["lora_rank"]) == ("reward", 4)
    assert 0 < plan.peak_gb < 1 and plan.fits
    plan = wb.plan(model, preset="24gb-7b", card_gb=24, max_length=128)
    assert asked[1]["card"] == 24 * 10**9 and plan.free_gb == 24.0
    assert asked[1]["settings"]["micro_batch_tokens"] == 2560
    assert asked[1]["settings"]["max_length"] == 128
    assert {"generate", "score", "optimise"} == set(plan.phases)


def test_contradictions_are_refused(asked, model):
    with pytest.raises(ConfigError, match="a preset and settings"):
        wb.plan(model, PPOSettings(), preset="24gb-7b")
    with pytest.raises(ConfigError, match="holds nothing"):
        wb.plan(model, card_gb=0)
    with pytest.raises(ConfigError, match="no setting called lora_rnk"):
        wb.plan(model, lora_rnk=3)
    assert not asked
