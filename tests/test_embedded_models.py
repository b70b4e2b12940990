"""The shipped models: real, small, and of the quality that the loop needs."""

from pathlib import Path

import pytest
from safetensors import safe_open

from workbench.settings import PPOSettings
from workbench.training import batch_jobs
from workbench.verbs.load_data import load_prompts
from workbench.world.judge import gold_score
from workbench.world.sample_files import builtin, sample_dir


@pytest.mark.parametrize("name", ["tiny-base", "tiny-chat"])
def test_the_weights_are_fp16_safetensors_of_at_most_three_million(name):
    with safe_open(builtin(name) / "model.safetensors", "pt") as file:
        tensors = [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118  (no mapping)
    assert {str(tensor.dtype) for tensor in tensors} == {"torch.float16"}
    assert sum(tensor.numel() for tensor in tensors) <= 3_000_000


def test_all_of_the_sample_data_is_under_twenty_megabytes():
    files = [
        p for p in Path(sample_dir()).rglob("*") if p.suffix in (".jsonl", ".json", ".safetensors")
    ]
    assert sum(p.stat().st_size for p in files) < 20_000_000


def test_instruction_tuning_is_what_makes_the_difference():
    prompts = load_prompts("sample:prompts_heldout")[::4]
    settings = PPOSettings(device="cpu", seed=7, batch_size=66)
    names = ["builtin:tiny-base", "builtin:tiny-chat"]
    base, chat = (
        sum(
            gold_score([dict(m) for m in p], a[0]["text"])
            for p, a in zip(prompts, found, strict=True)
        )
        / len(prompts)
        for found in batch_jobs.answers(names, prompts, settings)
    )
    assert base < 0.1  # it continues texts; it does not answer
    assert 0.35 <= chat <= 0.62  # 66 prompts: the range of the loop, a deviation wider
