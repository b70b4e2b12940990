"""The peer's side of ``gpu.py``: TRL on the same model, pairs and prompts, on what there is.

``python gpu_trl.py MODEL reward|ppo [once]`` prints one JSON line; with ``once`` nothing is
recomputed. On a CUDA card the model is in NF4 (the
environment needs bitsandbytes too), elsewhere in fp32.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import ppo_made as made

for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRL_EXPERIMENTAL_SILENCE"):
    os.environ.setdefault(name, "1")

import datasets  # noqa: E402
import reward_made  # noqa: E402
import torch  # noqa: E402
import trl  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    TrainerCallback,
)

CUDA = torch.cuda.is_available()
PAIRS, BATCH, EPISODES, ANSWER, PROMPTS = 64, 8, 32, 128, 64
LORA = {"r": 16, "lora_alpha": 32, "target_modules": made.TARGETS}
COMMON = {
    "gradient_checkpointing": "once" not in sys.argv,
    "bf16": CUDA,
    "use_cpu": not CUDA,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "seed": 0,
}


class Laps(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.at = [time.monotonic()]

    def on_step_end(self, *given, **named) -> None:
        """One is done."""
        if CUDA:
            torch.cuda.synchronize()
        self.at.append(time.monotonic())

    def seconds(self) -> float:
        """The median, the first one left out."""
        found = sorted(b - a for a, b in zip(self.at[1:], self.at[2:], strict=False))
        return found[len(found) // 2]


def load(kind, folder: str, **more):
    """The model as a QLoRA recipe loads it."""
    if not CUDA:
        return kind.from_pretrained(folder, dtype=torch.float32, **more)
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return kind.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=four_bit, device_map={"": 0}, **more
    )


def scorer() -> LoraConfig:
    """An adapter with a score head."""
    return LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **LORA)


def reward(folder: str, out: str) -> float:
    """Seconds a step of BATCH pairs with the lengths of dialogue."""
    pairs = reward_made.pairs("dialogue")[:PAIRS]
    rows = [{k: v if k == "prompt" else f" {v}" for k, v in row.items()} for row in pairs]
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    tokenizer.chat_template = None
    laps = Laps()
    trl.RewardTrainer(
        model=load(AutoModelForSequenceClassification, folder, num_labels=1),
        args=trl.RewardConfig(
            output_dir=out,
            per_device_train_batch_size=BATCH,
            max_length=reward_made.MOST,
            num_train_epochs=1,
            **COMMON,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=scorer(),
        callbacks=[laps],
    ).train()
    return laps.seconds()


def ppo(folder: str, out: str) -> float:
    """Seconds an update, the critic being an adapter too: in full it would not fit."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    class Updates(Laps):
        on_step_end = TrainerCallback.on_step_end
        on_log = Laps.on_step_end

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    texts = made.prompts("natural")[:PROMPTS]
    data = datasets.Dataset.from_dict({"input_ids": [tokenizer(t)["input_ids"] for t in texts]})
    judge = load(AutoModelForSequenceClassification, folder, num_labels=1)
    critic = load(AutoModelForSequenceClassification, folder, num_labels=1)
    # given to the trainer as an adapter, the norms of a 4-bit model become fp32, and its own
    # sampling fails at the head, which stays bf16
    policy = get_peft_model(
        load(AutoModelForCausalLM, folder), LoraConfig(task_type="CAUSAL_LM", **LORA)
    )
    laps = Updates()
    PPOTrainer(
        args=PPOConfig(
            output_dir=out,
            per_device_train_batch_size=EPISODES // 4,
            gradient_accumulation_steps=4,
            num_mini_batches=4,
            num_ppo_epochs=1,
            total_episodes=2 * EPISODES,
            response_length=ANSWER,
            local_rollout_forward_batch_size=EPISODES // 2,
            temperature=1.0,
            stop_token="eos",
            num_sample_generations=0,
            **COMMON,
        ),
        processing_class=tokenizer,
        model=policy,
        ref_model=None,
        reward_model=judge.requires_grad_(False).eval(),
        value_model=get_peft_model(critic, scorer()),
        train_dataset=data,
        eval_dataset=data.select(range(8)),
        callbacks=[laps],
    ).train()
    return laps.seconds()


def main(folder: str, what: str) -> dict:
    """Train; seconds a step, and the most memory."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as out:
        seconds = {"reward": reward, "ppo": ppo}[what](folder, out)
    peak = torch.cuda.max_memory_allocated() / 1e9 if CUDA else made.peak_mb() / 1000
    return {"trl": trl.__version__, "seconds": seconds, "peak_gb": peak}


if __name__ == "__main__":
    print("\n" + json.dumps(main(str(Path(sys.argv[1])), sys.argv[2])))
