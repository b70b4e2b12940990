"""The peer's side of the PPO comparison: TRL's PPOTrainer, run in an environment of its own.

``python ppo_trl.py FIXTURES fixed|natural full|lora UPDATES`` prints one JSON line.
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
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer  # noqa: E402


class Phases(TrainerCallback):
    """CPU seconds by phase, from the outside: sampling, scoring, optimising; and tokens seen."""

    def __init__(self) -> None:
        self.seconds = {"generate": 0.0, "score": 0.0, "optimise": 0.0}
        self.prompt_tokens = self.response_tokens = self.width = 0
        self._at, self._sampling = 0.0, True
        self._generation, self._forward = ppo_trainer.batch_generation, ppo_trainer.forward
        ppo_trainer.batch_generation, ppo_trainer.forward = self._sampled, self._seen

    def _lap(self, phase: str | None) -> None:
        now = time.process_time()
        if phase:
            self.seconds[phase] += now - self._at
        self._at = now

    def _sampled(self, model, queries, *rest):
        self._lap(None)
        found = self._generation(model, queries, *rest)
        self._lap("generate")
        self._sampling = True
        width = found[0].shape[1] - queries.shape[1]
        self.prompt_tokens += queries.numel()
        self.response_tokens += len(queries) * width
        return found

    def _seen(self, *given, **named):
        if torch.is_grad_enabled() and self._sampling:
            self._lap("score")
            self._sampling = False
        return self._forward(*given, **named)

    def on_log(self, *given, **named) -> None:
        """One update is done."""
        self._lap("optimise")


def config(
    out: str,
    *,
    batch: int,
    mini_batches: int,
    epochs: int,
    episodes: int,
    answer: int,
    rate: float,
    **more,
) -> PPOConfig:
    """The peer's settings by our names: on a CPU in fp32, nothing reported or saved."""
    return PPOConfig(
        output_dir=out,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=1,
        num_mini_batches=mini_batches,
        num_ppo_epochs=epochs,
        total_episodes=episodes,
        response_length=answer,
        local_rollout_forward_batch_size=batch,
        temperature=1.0,
        learning_rate=rate,
        num_sample_generations=0,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **{"seed": 0, **more},
    )


def main(fixtures: str, lengths: str, value: str, updates: int) -> dict:
    """Train; what it took."""
    folder = str(Path(fixtures) / lengths)
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    texts = json.loads(Path(folder, "prompts.json").read_text())
    data = datasets.Dataset.from_dict({"input_ids": [tokenizer(t)["input_ids"] for t in texts]})
    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    judges = [
        AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=torch.float32
        )
        for _ in range(2)
    ]
    reward, critic = judges
    reward.requires_grad_(False).eval()
    lora = {"r": made.RANK, "lora_alpha": made.ALPHA, "target_modules": made.TARGETS}
    if value == "lora":
        scorer = LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora)
        critic = get_peft_model(critic, scorer)
    phases = Phases()
    with tempfile.TemporaryDirectory() as out:
        settings = config(
            out,
            batch=made.BATCH,
            mini_batches=made.MINI_BATCHES,
            epochs=made.EPOCHS,
            episodes=updates * made.BATCH,
            answer=made.ANSWER,
            rate=made.RATE,
            kl_coef=made.KL,
            stop_token="eos" if lengths == "natural" else None,
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
            peft_config=LoraConfig(task_type="CAUSAL_LM", **lora),
            callbacks=[phases],
        )
        start = time.process_time()
        trainer.train()
        spent = time.process_time() - start
    return {
        "version": trl.__version__,
        "torch": torch.__version__,
        "episodes": updates * made.BATCH,
        "updates": updates,
        "cpu_seconds": spent,
        "seconds": phases.seconds,
        "prompt_tokens": phases.prompt_tokens,
        "response_tokens": phases.response_tokens,
        "peak_mb": made.peak_mb(),
    }


if __name__ == "__main__":
    print("\n" + json.dumps(main(*sys.argv[1:4], int(sys.argv[4]))))
