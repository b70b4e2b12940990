"""Our side of the reward-model comparison, and the floor: what the bare model would take.

``python reward_own.py FIXTURES fixed|dialogue`` prints one JSON line.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import ppo_made as made

made.alone()

import reward_made  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModel  # noqa: E402

from workbench.events import Place, Progress  # noqa: E402
from workbench.models.fast.packing import span_of  # noqa: E402
from workbench.settings import RewardSettings  # noqa: E402
from workbench.training.reward.encoded_pairs import encode_comparisons  # noqa: E402
from workbench.training.reward.reward import RewardTrainer  # noqa: E402

SETTINGS = RewardSettings(
    quantization="none",
    dtype="float32",
    lora_rank=reward_made.RANK,
    lora_alpha=float(reward_made.ALPHA),
    target_modules=tuple(made.TARGETS),
    batch_size=reward_made.BATCH,
    learning_rate=reward_made.RATE,
    centering=reward_made.CENTRING,
    warmup_steps=0,
    warmup_share=0.0,
    micro_batch_tokens=1024,  # what stays in a CPU's cache: 3 % faster than 2,048 here
    max_length=reward_made.MOST,
    holdout=0.0,
    evaluate_every=0,
    threads=1,
)
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def rows_of(pairs: list[dict[str, str]]) -> list[dict]:
    """Pairs of texts as the trainer takes them."""

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    return [
        {
            "prompt": said("user", row["prompt"]),
            "chosen": said("assistant", row["chosen"]),
            "rejected": said("assistant", row["rejected"]),
        }
        for row in pairs
    ]


def main(fixtures: str, kind: str) -> dict:
    """Train on every pair once; what it took, and what the floor takes for the same tokens."""
    torch.set_num_threads(1)
    model = Path(fixtures) / "fixed"
    train, heldout = reward_made.read(fixtures, kind)
    with tempfile.TemporaryDirectory() as out:
        trainer = RewardTrainer(str(model), rows_of(train), SETTINGS, Place(Path(out)))
        start = time.process_time()
        for event in trainer.run():
            if isinstance(event, Progress):  # the peer's time, too, ends with its last step
                spent, steps = time.process_time() - start, event.step
        peak = made.peak_mb()
    assert steps == reward_made.STEPS[kind]
    member = trainer.members[0]
    kept, _ = encode_comparisons(trainer.base, rows_of(heldout), SETTINGS)
    member.heldout = kept
    spans = [span_of(c.sequences).size for c in member.train]
    del trainer
    return {
        "torch": torch.__version__,
        "pairs": len(member.train),
        "given": len(train),
        "cpu_seconds": spent,
        "tokens": sum(spans),
        "micro_batch_tokens": SETTINGS.micro_batch_tokens,
        "peak_mb": peak,
        "heldout_loss": member.evaluate()["heldout/loss"],
        "floor_cpu_seconds": floor(str(model), spans),
    }


def floor(model: str, spans: list[int]) -> float:
    """CPU seconds of bare forward and backward passes over as many tokens, in dense batches."""
    torch.manual_seed(0)
    lora = LoraConfig(r=reward_made.RANK, lora_alpha=reward_made.ALPHA, target_modules=made.TARGETS)
    bare = get_peft_model(AutoModel.from_pretrained(model, dtype=torch.float32), lora)
    start = time.process_time()
    for at in range(0, len(spans), reward_made.BATCH):
        group = spans[at : at + reward_made.BATCH]
        ids = torch.randint(4, made.WORDS, (len(group), round(sum(group) / len(group))))
        bare(input_ids=ids, use_cache=False).last_hidden_state[:, -1].sum().backward()
    return time.process_time() - start


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
