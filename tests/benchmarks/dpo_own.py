"""Our side of the DPO comparison, the floor, and what TRL's own trainer is checked against.

``python dpo_own.py FIXTURES dialogue`` prints one JSON line; with ``check`` it writes a batch, a
policy, and what we make of them for ``dpo_trl.py``.
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
from reward_own import rows_of  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from workbench.events import Place, Progress  # noqa: E402
from workbench.settings import DPOSettings  # noqa: E402
from workbench.training.dpo import DPOTrainer  # noqa: E402
from workbench.training.reward.encoded_pairs import encode_comparisons  # noqa: E402

BETA, SMOOTHING = 0.1, 0.2
SETTINGS = DPOSettings(
    quantization="none",
    dtype="float32",
    lora_rank=reward_made.RANK,
    lora_alpha=float(reward_made.ALPHA),
    target_modules=tuple(made.TARGETS),
    batch_size=reward_made.BATCH,
    beta=BETA,
    learning_rate=reward_made.RATE,
    warmup_share=0.0,
    micro_batch_tokens=1024,
    max_length=reward_made.MOST,
    holdout=0.0,
    evaluate_every=0,
    watch_every=0,
    watch_prompts=0,
    threads=1,
)


def trainer_of(fixtures: str, rows: list[dict], out: str, **changes: object) -> DPOTrainer:
    """Our trainer on the fixtures' model."""
    model = str(Path(fixtures) / "fixed")
    return DPOTrainer(model, rows_of(rows), SETTINGS.changed(**changes), Place(Path(out)))


def timed(fixtures: str, kind: str) -> dict:
    """Train on every pair once; what it took, and what the floor takes for the same tokens."""
    torch.set_num_threads(1)
    train, heldout = reward_made.read(fixtures, kind)
    with tempfile.TemporaryDirectory() as out:
        trainer = trainer_of(fixtures, train, out)
        start = time.process_time()
        for event in trainer.run():
            if isinstance(event, Progress):  # the peer's time, too, ends with its last step
                spent, steps = time.process_time() - start, event.step
        peak = made.peak_mb()
    assert steps == reward_made.STEPS[kind]
    sizes = list(trainer.sizes)
    answers = [sum(len(a.response) for a in c.answers) for c in trainer.comparisons]
    kept, _ = encode_comparisons(trainer.base, rows_of(heldout), SETTINGS)
    trainer.hold(trainer.comparisons, kept)
    loss = trainer._evaluate()["heldout/loss"]
    del trainer
    return {
        "torch": torch.__version__,
        "pairs": len(sizes),
        "given": len(train),
        "cpu_seconds": spent,
        "tokens": sum(sizes),
        "micro_batch_tokens": SETTINGS.micro_batch_tokens,
        "peak_mb": peak,
        "heldout_loss": loss,
        "floor_cpu_seconds": floor(str(Path(fixtures) / "fixed"), sizes, answers),
    }


def floor(model: str, sizes: list[int], answers: list[int]) -> float:
    """CPU seconds of the bare model over as many tokens, in dense batches.

    Policy: forward, the head's surprise at as many answer tokens, backward. Reference: the same
    forward with adapters off.
    """
    torch.manual_seed(0)
    lora = LoraConfig(r=reward_made.RANK, lora_alpha=reward_made.ALPHA, target_modules=made.TARGETS)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    bare, head = get_peft_model(plain, lora), plain.get_output_embeddings()

    def surprise(ids: torch.Tensor, count: int) -> torch.Tensor:
        hidden = plain.model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
        return cross_entropy(head(hidden[:count]), ids.flatten()[:count])

    start = time.process_time()
    for at in range(0, len(sizes), reward_made.BATCH):
        group = sizes[at : at + reward_made.BATCH]
        ids = torch.randint(4, made.WORDS, (len(group), round(sum(group) / len(group))))
        count = sum(answers[at : at + reward_made.BATCH])
        with torch.no_grad(), bare.disable_adapter():
            surprise(ids, count)
        surprise(ids, count).backward()
    return time.process_time() - start


LOSSES = {
    "sigmoid": {"loss_type": "sigmoid"},
    "cdpo": {"loss_type": "sigmoid", "label_smoothing": SMOOTHING},
    "sigmoid_norm": {"loss_type": "sigmoid_norm"},
    "ipo": {"loss_type": "ipo"},
}


def check(fixtures: str, kind: str) -> dict:
    """Write a batch, a policy away from its reference, and our losses, logps and gradients."""
    torch.set_num_threads(1)
    train, _ = reward_made.read(fixtures, kind)
    found: dict = {"losses": {}, "gradients": {}}
    with tempfile.TemporaryDirectory() as out:
        for name, changes in LOSSES.items():
            trainer = trainer_of(fixtures, train[: reward_made.BATCH], out, **changes)
            dice = torch.Generator().manual_seed(3)
            with torch.no_grad():
                for weight in trainer.roles.parameters("policy"):
                    weight.copy_(0.02 * torch.randn(weight.shape, generator=dice))
            batch = list(range(reward_made.BATCH))
            found["policy"] = {k: v.clone() for k, v in trainer.roles.state("policy").items()}
            metrics = trainer._gradients(batch)
            found["losses"][name] = metrics.pop("loss")
            found["metrics"] = metrics
            with torch.no_grad():
                for weight in trainer.roles.parameters("policy"):
                    weight.copy_(weight.grad)
            found["gradients"][name] = {
                k: v.clone() for k, v in trainer.roles.state("policy").items()
            }
    found["batch"] = [
        {"prompt_ids": c.answers[0].prompt}
        | {
            f"{side}_ids": c.answers[getattr(c.judgements[0], side)].response
            for side in ("chosen", "rejected")
        }
        for c in trainer.comparisons
    ]
    torch.save(found, Path(fixtures) / "dpo_check.pt")
    return {"checked": list(LOSSES)}


if __name__ == "__main__":
    work = check if sys.argv[3:] == ["check"] else timed
    print(json.dumps(work(*sys.argv[1:3])))
