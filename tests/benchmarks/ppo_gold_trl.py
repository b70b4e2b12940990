"""The peer's side of the comparison by the gold score: TRL's PPOTrainer on the sample data.

``python ppo_gold_trl.py FOLDER RATE OUT`` takes ``FOLDER/policy``, ``FOLDER/reward`` and
``FOLDER/asked.json`` (settings, encoded prompts), writes the policy's adapter to OUT and prints
one JSON line.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import ppo_made as made

made.alone()

import datasets  # noqa: E402
import torch  # noqa: E402
import trl  # noqa: E402
from peft import LoraConfig  # noqa: E402
from ppo_trl import config  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from trl.experimental.ppo import PPOTrainer  # noqa: E402


def main(folder: Path, rate: float, out: Path) -> dict:
    """Train, save; what it took."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    asked = json.loads((folder / "asked.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    data = datasets.Dataset.from_dict({"input_ids": asked["prompts"]})
    policy = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32)
    reward, critic = (
        AutoModelForSequenceClassification.from_pretrained(
            folder / "reward", num_labels=1, dtype=torch.float32
        )
        for _ in range(2)
    )
    reward.requires_grad_(False).eval()
    with tempfile.TemporaryDirectory() as aside:
        same = ("batch", "mini_batches", "epochs", "episodes", "answer", "kl_coef", "seed")
        settings = config(
            aside,
            rate=rate,
            missing_eos_penalty=asked["missing_eos_penalty"],
            stop_token="eos",
            **{name: asked[name] for name in same},
        )
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=asked["rank"],
            lora_alpha=asked["alpha"],
            target_modules="all-linear",
        )
        trainer = PPOTrainer(
            args=settings,
            processing_class=tokenizer,
            model=policy,
            ref_model=None,
            reward_model=reward,
            value_model=critic,
            train_dataset=data,
            eval_dataset=data.select(range(8)),
            peft_config=lora,
        )
        start = time.process_time()
        trainer.train()
        spent = time.process_time() - start
    trained = trainer.accelerator.unwrap_model(trainer.model).policy
    trained.save_pretrained(str(out))
    last = [row for row in trainer.state.log_history if "objective/scores" in row][-1]
    return {
        "version": trl.__version__,
        "cpu_seconds": spent,
        "score": last["objective/scores"],
        "train_kl": last["objective/kl"],
    }


if __name__ == "__main__":
    print("\n" + json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))))
