"""The peer's side on a real model: TRL's RewardTrainer in its own environment.

``python real_trl.py GIVEN.json MODEL [RATE]`` learns the tokens in GIVEN, which are ours in our
order, and prints one JSON line; without a RATE at its own.
"""

import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import ppo_made as made

made.alone()

import datasets  # noqa: E402
import torch  # noqa: E402
import trl  # noqa: E402
from peft import LoraConfig  # noqa: E402
from torch.utils.data import SequentialSampler  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from trl import RewardConfig, RewardTrainer  # noqa: E402

AT_ONCE = 2  # pairs in one forward: more are padded to the longest, and take more memory


class InOrder(RewardTrainer):
    """It takes the pairs as they come."""

    def _get_train_sampler(self, dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)


def main(given: str, folder: str, rate: str | None = None) -> dict[str, Any]:
    """Train on every pair once; what it took, and the margins of held-out pairs."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    asked = json.loads(Path(given).read_text())
    torch.manual_seed(asked["seed"])
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )
    lora = LoraConfig(
        task_type="SEQ_CLS",
        r=asked["rank"],
        lora_alpha=asked["alpha"],
        target_modules="all-linear",
        modules_to_save=["score"],
    )
    with tempfile.TemporaryDirectory() as out:
        settings = RewardConfig(
            output_dir=out,
            per_device_train_batch_size=AT_ONCE,
            gradient_accumulation_steps=asked["batch"] // AT_ONCE,
            max_steps=asked["steps"],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
            seed=asked["seed"],
            **({} if rate is None else {"learning_rate": float(rate)}),
        )
        trainer = InOrder(
            model=model,
            args=settings,
            train_dataset=datasets.Dataset.from_list(asked["train"]),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=lora,
        )
        trainer.train()
    used = resource.getrusage(resource.RUSAGE_SELF)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    kept = len(trainer.train_dataset)
    return {
        "trl": trl.__version__,
        "pairs": kept,
        "steps": trainer.state.global_step,
        "rate": settings.learning_rate,
        "first_loss": losses[0],
        "pairs_per_cpu_second": kept / (used.ru_utime + used.ru_stime),
        "peak_mb": made.peak_mb(),
        "margins": margins(trainer.model.eval(), asked["heldout"]),
    }


@torch.no_grad()
def margins(model: Any, pairs: list[dict[str, list[int]]]) -> list[float]:
    """By how much the chosen answer's score is the higher, pair by pair."""

    def score(ids: list[int]) -> float:
        return float(model(input_ids=torch.tensor([ids])).logits[0, 0])

    return [score(pair["chosen_ids"]) - score(pair["rejected_ids"]) for pair in pairs]


if __name__ == "__main__":
    print("\n" + json.dumps(main(*sys.argv[1:])))
