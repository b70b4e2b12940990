"""The peer's side of the reward-model comparison: TRL's RewardTrainer in its own environment.

``python reward_trl.py FIXTURES fixed|dialogue`` prints one JSON line.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import ppo_made as made

made.alone()

import datasets  # noqa: E402
import reward_made  # noqa: E402
import torch  # noqa: E402
import trl  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from trl import RewardConfig, RewardTrainer  # noqa: E402


def main(fixtures: str, kind: str) -> dict:
    """Train on every pair once; what it took."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    folder = str(Path(fixtures) / "fixed")
    train, heldout = reward_made.read(fixtures, kind)
    rows = [{k: v if k == "prompt" else f" {v}" for k, v in row.items()} for row in train]
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    tokenizer.chat_template = None  # plain texts: what it does with pairs of strings
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=reward_made.RANK,
        lora_alpha=reward_made.ALPHA,
        target_modules=made.TARGETS,
        modules_to_save=["score"],
    )
    with tempfile.TemporaryDirectory() as out:
        settings = RewardConfig(
            output_dir=out,
            per_device_train_batch_size=reward_made.BATCH,
            max_length=reward_made.MOST,
            num_train_epochs=1,
            learning_rate=reward_made.RATE,
            center_rewards_coefficient=reward_made.CENTRING,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        )
        trainer = RewardTrainer(
            model=model,
            args=settings,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora,
        )
        batches = list(trainer.get_train_dataloader())
        tokens = sum(batch["attention_mask"].numel() for batch in batches)
        start = time.process_time()
        trainer.train()
        spent = time.process_time() - start
        kept = len(trainer.train_dataset)
        peak = made.peak_mb()
        loss = heldout_loss(trainer.model.eval(), tokenizer, heldout)
    return {
        "trl": trl.__version__,
        "torch": torch.__version__,
        "pairs": kept,
        "given": len(rows),
        "cpu_seconds": spent,
        "tokens": tokens,
        "peak_mb": peak,
        "heldout_loss": loss,
    }


@torch.no_grad()
def heldout_loss(model, tokenizer, rows: list[dict[str, str]]) -> float:
    """Mean -log sigmoid(chosen - rejected)."""
    total = 0.0
    for row in rows:
        scores = []
        for side in ("chosen", "rejected"):
            ids = tokenizer(f"{row['prompt']} {row[side]}", add_special_tokens=False)["input_ids"]
            given = torch.tensor([[*ids, made.EOS]])
            scores.append(model(input_ids=given).logits[0, 0])
        total -= float(torch.nn.functional.logsigmoid(scores[0] - scores[1]))
    return total / len(rows)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
