"""The peer's side of the DPO comparison: TRL's DPOTrainer in its own environment.

``python dpo_trl.py FIXTURES dialogue`` prints one JSON line; with ``check`` how far its losses,
log-probabilities and gradients are from those that ``dpo_own.py`` wrote.
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
from peft import (  # noqa: E402
    LoraConfig,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import DPOConfig, DPOTrainer  # noqa: E402

BETA, SMOOTHING = 0.1, 0.2


def trainer_of(fixtures: str, rows: list[dict], out: str, **changes: object) -> DPOTrainer:
    """TRL's trainer on the fixtures' model; a fresh adapter, whose reference is the base."""
    folder = str(Path(fixtures) / "fixed")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    tokenizer.chat_template = None  # plain texts: what it does with pairs of strings
    torch.manual_seed(0)
    settings = DPOConfig(
        output_dir=out,
        per_device_train_batch_size=reward_made.BATCH,
        per_device_eval_batch_size=reward_made.BATCH,
        max_length=reward_made.MOST,
        num_train_epochs=1,
        learning_rate=reward_made.RATE,
        beta=BETA,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        **changes,
    )
    return DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=settings,
        train_dataset=texts(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=reward_made.RANK,
            lora_alpha=reward_made.ALPHA,
            target_modules=made.TARGETS,
        ),
    )


def texts(rows: list[dict]) -> datasets.Dataset:
    """Pairs of plain texts, the answers with a space before them."""
    kept = [{k: v if k == "prompt" else f" {v}" for k, v in row.items()} for row in rows]
    return datasets.Dataset.from_list(kept)


def timed(fixtures: str, kind: str) -> dict:
    """Train on every pair once; what it took."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    train, heldout = reward_made.read(fixtures, kind)
    with tempfile.TemporaryDirectory() as out:
        trainer = trainer_of(fixtures, train, out)
        tokens = sum(b["attention_mask"].numel() for b in trainer.get_train_dataloader())
        start = time.process_time()
        trainer.train()
        spent = time.process_time() - start
        peak = made.peak_mb()
        loss = trainer.evaluate(texts(heldout))["eval_loss"]
        kept = len(trainer.train_dataset)
    return {
        "trl": trl.__version__,
        "torch": torch.__version__,
        "pairs": kept,
        "given": len(train),
        "cpu_seconds": spent,
        "tokens": tokens,
        "peak_mb": peak,
        "heldout_loss": loss,
    }


def check(fixtures: str, kind: str) -> dict:
    """The largest differences to ours, on the same ids with the same weights."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    ours = torch.load(Path(fixtures) / "dpo_check.pt", weights_only=True)
    train, _ = reward_made.read(fixtures, kind)
    apart: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as out:
        trainer = trainer_of(fixtures, train[: reward_made.BATCH], out)
        model = trainer.model.eval()
        set_peft_model_state_dict(model, ours["policy"])
        whole = trainer.data_collator(ours["batch"])
        for name, expected in ours["losses"].items():
            # cDPO is TRL's aot of one pair: sorting one number changes nothing
            trainer.loss_types = ["aot" if name == "cdpo" else name]
            trainer.label_smoothing = SMOOTHING if name == "cdpo" else 0.0
            pairs = [trainer.data_collator([row]) for row in ours["batch"]]
            batches = pairs if name == "cdpo" else [whole]
            trainer._metrics["eval"].clear()
            model.zero_grad()
            total = 0.0
            for batch in batches:
                loss = trainer._compute_loss(model, batch, False) / len(batches)
                loss.backward()
                total += float(loss.detach())
            apart[f"{name}: loss"] = abs(total - expected)
            with torch.no_grad():
                grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
                weights = {n: p.detach().clone() for n, p in model.named_parameters() if n in grads}
                for n, p in model.named_parameters():
                    if n in grads:
                        p.copy_(grads[n])
                its = {k: v.clone() for k, v in get_peft_model_state_dict(model).items()}
                for n, p in model.named_parameters():
                    if n in weights:
                        p.copy_(weights[n])
            mine = ours["gradients"][name]
            assert set(its) == set(mine)
            apart[f"{name}: gradients"] = max(float((its[k] - mine[k]).abs().max()) for k in its)
            apart[f"{name}: largest gradient"] = max(float(v.abs().max()) for v in its.values())
            if name == "sigmoid":
                logged = {k: sum(v) / len(v) for k, v in trainer._metrics["eval"].items()}
                for metric, value in ours["metrics"].items():
                    apart[metric] = abs(logged[metric] - value)
    return {"trl": trl.__version__, "apart": apart}


if __name__ == "__main__":
    work = check if sys.argv[3:] == ["check"] else timed
    print(json.dumps(work(*sys.argv[1:3])))
