"""PPO beside TRL's by what it is for: the gold score after as many episodes, same reward and β.

``python tests/benchmarks/ppo_gold.py`` trains reward models on the sample data, our policies, and
the peer's at three learning rates (on the first seed; the best of them on the others), and measures
all on 200 held-out prompts (about an hour); it writes results.json and its table in RESULTS.md.
``--rewards FOLDER …`` takes reward models that were trained before, one a seed; ``--keep`` the
peer's rows of the first seed as results.json has them.
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
from record import RESULTS, machine, record, tell
from safetensors.torch import load_file, save_file

import workbench as wb
from workbench.demo import MODEL, REWARD
from workbench.models.source import resolve
from workbench.runs import Run
from workbench.settings import PPOSettings
from workbench.verbs.batch import before_and_after
from workbench.verbs.train import finished

RATES = (1e-4, 3e-4, 1e-3)
EPOCHS, MINI_BATCHES = 4, 1  # the peer's defaults
SEEDS = (0, 1, 2)
LEAST, MOST = 0.90, 3.2  # our defaults: gold score, nats
OURS = {"its defaults": {}, "AdamW's epsilon 1e-5": {"adam_epsilon": 1e-5}}


def fixtures(folder: Path, reward: str | Run, settings: PPOSettings, seed: int) -> None:
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
        "seed": seed,
    }
    (folder / "asked.json").write_text(json.dumps(asked))


def judged(policy: Path, reward: str | Run, seed: int) -> dict[str, float]:
    """The peer's policy on the held-out prompts, one answer each, as ours is measured."""
    prompts = wb.load_prompts("sample:prompts_heldout")[:PROMPTS]
    models = [MODEL, str(policy)]
    rows = before_and_after(models, prompts, reward=reward, with_kl=True, seed=seed + 1)
    answers = [row["answers"][1] for row in rows]
    return {
        name: round(sum(answer[name] for answer in answers) / len(answers), 4)
        for name in ("gold", "kl", "score")
    }


def means(figures: dict) -> dict[str, dict[str, float]]:
    """By name the mean of each figure over the seeds."""
    named: dict[str, list[dict]] = {}
    for row in figures["rows"]:
        named.setdefault(row["name"], []).append(row)
    parts = ("gold", "kl", "score", "seconds")
    return {
        name: {part: sum(row[part] for row in rows) / len(rows) for part in parts}
        for name, rows in named.items()
    }


def failures(figures: dict) -> list[str]:
    """Whether our best is below the peer's best, over the seeds that both have."""
    found = means(figures)
    whole = [name for name in found if _golds(figures, name).count(",") == len(SEEDS) - 1]
    ours, theirs = (
        max(found[name]["gold"] for name in whole if name.startswith("TRL") is peer)
        for peer in (False, True)
    )
    own = found["workbench, its defaults"]
    short = [f"gold score {ours:.3f}, the peer's best {theirs:.3f}"] if ours < theirs else []
    if own["gold"] < LEAST or own["kl"] > MOST:
        short.append(f"our defaults: {own['gold']:.3f} at {own['kl']:.2f} nats")
    return short


def _golds(figures: dict, name: str) -> str:
    return ", ".join(f"{row['gold']:.3f}" for row in figures["rows"] if row["name"] == name)


def table(figures: dict) -> str:
    """The figures in Markdown."""
    lines = [
        f"| PPO after {figures['episodes']:,} episodes, β = {figures['kl_coef']:g} "
        "| gold score | by seed | KL, nats | reward score | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in means(figures).items():
        lines.append(
            f"| {name} | {row['gold']:.3f} | {_golds(figures, name)} | {row['kl']:.2f} "
            f"| {row['score']:.2f} | {row['seconds']:.0f} |"
        )
    about = figures["about"]
    return "\n".join(
        [
            *lines,
            "",
            f"{PROMPTS} held-out prompts of the sample data, one answer each; for each seed a "
            "reward model, the same for both; LoRA on every layer, batches of 64. TRL: its full "
            f"critic, started from the reward model, its defaults of {EPOCHS} epochs; fp32, where "
            "ours is in 4 bits; at the rate that was best on the first seed also on the others. "
            "Seconds of training: ours by the clock, TRL's of the CPU. "
            f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
            f"{about['date']}{figures.get('kept', '')}. Written by `tests/benchmarks/ppo_gold.py`.",
        ]
    )


def run(folder: Path, given: list[str], kept: list[dict], python: Path) -> dict:
    """Train both sides and measure."""
    settings = PPOSettings()
    rows: list[dict] = [*kept]

    def put(row: dict) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)

    for seed in SEEDS:
        here = folder / str(seed)
        here.mkdir()
        reward: str | Run = given[seed] if given else _reward(here, seed)
        for name, changes in OURS.items():
            out = str(here / f"ours-{len(rows)}")
            made = wb.train_ppo(MODEL, reward, "sample:prompts_ppo", name=out, seed=seed, **changes)
            put(
                {
                    "name": f"workbench, {name}",
                    "seed": seed,
                    **measure(finished(made), reward, seed),
                }
            )
        fixtures(here, reward, settings, seed)
        for rate in _rates(rows, seed):
            took = child(python, "ppo_gold_trl.py", here, rate, here / f"peer-{rate:g}")
            seen = judged(here / f"peer-{rate:g}", reward, seed)
            name = f"TRL {took['version']}, learning rate {rate:g}"
            put({"name": name, "seed": seed, "rate": rate, "seconds": took["cpu_seconds"], **seen})
    episodes = settings.batch_size * settings.steps
    facts = {"episodes": episodes, "kl_coef": settings.kl_coef, "about": machine()}
    return {"rows": sorted(rows, key=lambda row: "rate" in row), **facts}


def _reward(folder: Path, seed: int) -> Run:
    name = str(folder / "r")
    made = wb.train_reward(MODEL, "sample:pairs_train", name=name, seed=seed, **REWARD)
    return finished(made)


def _rates(rows: list[dict], seed: int) -> list[float]:
    """The peer's learning rates: each on the first seed, then the best of them."""
    first = [row for row in rows if "rate" in row and row["seed"] == SEEDS[0]]
    if seed == SEEDS[0]:
        return [] if first else list(RATES)
    return [max(first, key=lambda row: row["gold"])["rate"]]


def main() -> int:
    """Run, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rewards", nargs=len(SEEDS), default=[], metavar="FOLDER")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    python, kept, note = peer_python(PEER), list[dict](), {}
    if asked.keep:
        known = json.loads(RESULTS.read_text())["ppo_gold"]
        kept = [row for row in known["rows"] if row.get("rate") and row["seed"] == SEEDS[0]]
        note = {"kept": f" (TRL's rows of the first seed: {known['about']['commit']})"}
    with tempfile.TemporaryDirectory() as folder:
        figures = {**run(Path(folder), asked.rewards, kept, python), **note}
    record({"ppo_gold": figures})
    tell("ppo_gold", table(figures))
    found = failures(figures)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
