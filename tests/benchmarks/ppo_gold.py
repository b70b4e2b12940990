"""PPO beside TRL's by what it is for: the true score after as many episodes, same reward and β.

``python tests/benchmarks/ppo_gold.py`` trains a reward model on the sample data, our policy, and
the peer's at three learning rates, and measures all on 200 held-out prompts (about half an hour);
it writes results.json and the README's table. ``--reward FOLDER`` takes a reward model that was
trained before.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from peers import child, peer_python
from ppo_peer import PEER
from ppo_seeds import PROMPTS, measure
from record import machine, record, tell
from safetensors.torch import load_file, save_file

import workbench as wb
from workbench.demo import MODEL, REWARD
from workbench.models.source import resolve
from workbench.runs import Run
from workbench.settings import PPOSettings
from workbench.verbs import before_and_after, finished

RATES = (1e-4, 3e-4, 1e-3)
EPOCHS, MINI_BATCHES = 4, 1  # the peer's defaults
SEED = 0


def fixtures(folder: Path, reward: str | Run, settings: PPOSettings) -> None:
    """The policy, the reward model as plain weights, and what is asked of the peer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = resolve(MODEL).base
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).save_pretrained(
        folder / "policy"
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(folder / "policy")
    wb.export_model(reward, folder / "reward", dtype="float32")
    weights = load_file(folder / "reward" / "model.safetensors")
    stats = json.loads((folder / "reward" / "reward.json").read_text())
    # as our PPO reads scores: deviation 1; the mean is no matter to a policy that has a value
    weights["score.weight"] = weights["score.weight"] / stats["std"]
    save_file(weights, folder / "reward" / "model.safetensors", {"format": "pt"})
    prompts = [
        tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        for prompt in wb.load_prompts("sample:prompts_ppo")
    ]
    asked = {
        "prompts": prompts,
        "batch": settings.batch_size,
        "episodes": settings.batch_size * settings.steps,
        "epochs": EPOCHS,
        "mini_batches": MINI_BATCHES,
        "answer": settings.response_length,
        "kl_coef": settings.kl_coef,
        "missing_eos_penalty": settings.missing_eos_penalty,
        "rank": settings.lora_rank,
        "alpha": settings.lora_alpha,
        "seed": SEED,
    }
    (folder / "asked.json").write_text(json.dumps(asked))


def judged(policy: Path, reward: str | Run) -> dict[str, float]:
    """The peer's policy on the held-out prompts, one answer each, as ours is measured."""
    prompts = wb.load_prompts("sample:prompts_heldout")[:PROMPTS]
    rows = before_and_after(
        [MODEL, str(policy)], prompts, reward=reward, with_kl=True, seed=SEED + 1
    )
    answers = [row["answers"][1] for row in rows]
    return {
        name: round(sum(answer[name] for answer in answers) / len(answers), 4)
        for name in ("gold", "kl", "score")
    }


def table(figures: dict) -> str:
    """The figures in Markdown."""
    lines = [
        f"| PPO after {figures['episodes']:,} episodes, β = {figures['kl_coef']:g} "
        "| true score | KL, nats | learned score | CPU-seconds |",
        "|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        lines.append(
            f"| {row['name']} | {row['gold']:.3f} | {row['kl']:.2f} | {row['score']:.2f} "
            f"| {row['cpu_seconds']:.0f} |"
        )
    about = figures["about"]
    return "\n".join(
        [
            *lines,
            "",
            f"{PROMPTS} held-out prompts of the sample data, one answer each; the same reward "
            "model, LoRA on every layer, batches of 64. TRL: its full critic, started from the "
            f"reward model, its defaults of {EPOCHS} epochs; fp32, where ours is in 4 bits. "
            f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
            f"{about['date']}. Written by `tests/benchmarks/ppo_gold.py`.",
        ]
    )


def run(folder: Path, given: str | None, python: Path) -> dict:
    """Train both sides and measure."""
    settings = PPOSettings()
    reward: str | Run = given or finished(
        wb.train_reward(MODEL, "sample:pairs_train", name=str(folder / "r"), seed=SEED, **REWARD)
    )
    fixtures(folder, reward, settings)
    ours = finished(
        wb.train_ppo(MODEL, reward, "sample:prompts_ppo", name=str(folder / "p"), seed=SEED)
    )
    seen = measure(ours, reward, SEED)
    spent = {"cpu_seconds": seen["seconds"]}
    rows = [{"name": "workbench, its defaults", **seen, **spent}]
    print(json.dumps(rows[-1]), flush=True)
    for rate in RATES:
        out = folder / f"peer-{rate:g}"
        took = child(python, "ppo_gold_trl.py", folder, rate, out)
        name = f"TRL {took['version']}, learning rate {rate:g}"
        rows.append({**took, "name": name, **judged(out, reward)})
        print(json.dumps(rows[-1]), flush=True)
    episodes = settings.batch_size * settings.steps
    facts = {"episodes": episodes, "kl_coef": settings.kl_coef, "about": machine()}
    return {"rows": rows, **facts}


def main() -> int:
    """Run, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reward", metavar="FOLDER")
    asked = parser.parse_args()
    python = peer_python(PEER)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), asked.reward, python)
    record({"ppo_gold": figures})
    tell("ppo_gold", table(figures))
    own, *peer = figures["rows"]
    best = max(row["gold"] for row in peer)
    if own["gold"] < best:
        print(f"true score {own['gold']}, the peer's best {best}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
