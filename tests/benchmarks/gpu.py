"""The real shapes on a GPU, in NF4, with random weights: ``make bench-gpu``.

``python tests/benchmarks/gpu.py`` needs a CUDA card and nothing from a hub. It makes models of the
shapes of Qwen2.5's 0.5B and 7B (as Llamas: without the biases of queries, keys and values), trains
a reward model and takes two PPO updates on each, and writes results.json and its table in
RESULTS.md with the card's name. TRL does the same beside it, in environments that are made where
there is a network, or that are given: ``--reward-peer PYTHON`` (TRL 1.16), ``--ppo-peer PYTHON``
(TRL 1.12, both with bitsandbytes). ``--shape tiny`` runs on whatever there is (a CPU, too), to see
that everything is in place, and writes nothing.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import ppo_made
import reward_made
import torch
from peers import child, peer_python
from record import machine, record, tell
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.events import Place, Progress
from workbench.model_shapes import QWEN_05B, QWEN_7B, Shape
from workbench.settings import PPOSettings, RewardSettings
from workbench.training.checks.memory_plan import plan
from workbench.training.clock import Clock
from workbench.training.ppo import ppo
from workbench.training.reward.reward import RewardTrainer

SHAPES = {
    "tiny": Shape(
        "tiny",
        {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 5000,
            "tie_word_embeddings": True,
        },
    ),
    "0.5B": QWEN_05B,
    "7B": QWEN_7B,
}
#: What a card can read from its memory. [bytes a second]
BANDWIDTH = {"T4": 320e9, "A100": 2039e9, "H100": 3350e9, "H200": 4800e9}
PAIRS, UPDATES = 64, 2
LONGEST, ANSWER = 640, 128
"""Tokens of a whole row and of an answer, where memory is measured."""
PEERS = {"reward": "trl==1.16.0", "ppo": "trl==1.12.0"}
SHARED = {"lora_rank": 16, "gradient_checkpointing": True, "micro_batch_tokens": 2560}


def make(shape: str, folder: Path, device: str) -> Path:
    """A model of a shape with random weights, and a tokenizer of words."""
    sizes = SHAPES[shape].config
    config = LlamaConfig(
        **{name: sizes[name] for name in sizes if name not in ("model_type", "architectures")},
        max_position_embeddings=4096,
        pad_token_id=ppo_made.PAD,
        bos_token_id=ppo_made.BEGIN,
        eos_token_id=ppo_made.EOS,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(str(folder))
    ppo_made.tokenizer().save_pretrained(str(folder))
    return folder


def peak_gb(device: str) -> float:
    """The most memory on the card since the last call; of a CPU, of the process."""
    gc.collect()  # a trainer that is done with goes only then
    if device == "cpu":
        return ppo_made.peak_mb() / 1000
    most = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return most


def reward_figures(model: Path, device: str) -> dict:
    """A reward model on pairs with the lengths of dialogue: pairs a second, most memory."""
    from reward_own import rows_of

    settings = RewardSettings(
        **SHARED, batch_size=8, holdout=0.0, evaluate_every=0, steps=PAIRS // 8, device=device
    )
    pairs = reward_made.pairs("dialogue")[:PAIRS]
    with tempfile.TemporaryDirectory() as out:
        trainer = RewardTrainer(str(model), rows_of(pairs), settings, Place(Path(out)))
        rows = [event.metrics for event in trainer.run() if isinstance(event, Progress)]
    rates = sorted(float(row["pairs_per_second"] or 0.0) for row in rows[1:])
    return {"pairs_per_second": rates[len(rates) // 2], "peak_gb": peak_gb(device)}


def ppo_figures(model: Path, device: str) -> dict:
    """Two PPO updates: the second one's seconds by phase, tokens a second, most memory."""
    from ppo_own import reward as untrained

    settings = PPOSettings(
        **SHARED, steps=UPDATES, batch_size=32, response_length=128, device=device, watch_every=0
    )
    prompts = [[{"role": "user", "content": text}] for text in ppo_made.prompts("natural")[:64]]
    with tempfile.TemporaryDirectory() as out:
        reward = untrained(model, Path(out) / "reward", settings)
        peak_gb(device)
        trainer = ppo.PPOTrainer(str(model), str(reward), prompts, settings, Place(Path(out)), None)
        rows = [event.metrics for event in trainer.run() if isinstance(event, Progress)]
    last = rows[-1]
    seconds = {name: last[f"time/{name}"] for name in ("generate", "score", "optimise")}
    return {
        "first_ratio": rows[0]["policy/first_ratio"],
        "first_kl": rows[0]["objective/kl"],
        "seconds": seconds,
        "tokens_per_second": last["tokens_per_second"],
        "rows": settings.batch_size,
        "peak_gb": peak_gb(device),
    }


def memory_figures(model: Path, device: str) -> dict:
    """One PPO update of the longest prompts and answers: GB by phase, planned and taken."""
    from ppo_own import reward as untrained

    settings = PPOSettings(
        **SHARED, steps=1, batch_size=32, response_length=ANSWER, max_length=LONGEST, device=device
    )
    planned: dict[str, float] = {}
    taken: dict[str, float] = {}
    for part in plan(str(model), settings)["parts"]:
        planned[part["phase"]] = planned.get(part["phase"], 0.0) + part["bytes"] / 1e9

    class Weighed(Clock):
        @contextmanager
        def phase(self, name):
            peak_gb(device)
            with super().phase(name):
                yield
            taken[name] = peak_gb(device)

    words = [f"w{n}" for n in range(ppo_made.WORDS)]
    prompts = [[{"role": "user", "content": " ".join(words[i : i + LONGEST])}] for i in range(32)]
    real, ppo.Clock = ppo.Clock, Weighed
    try:
        with tempfile.TemporaryDirectory() as out:
            reward = untrained(model, Path(out) / "reward", settings)
            peak_gb(device)
            place = Place(Path(out))
            trainer = ppo.PPOTrainer(str(model), str(reward), prompts, settings, place, None)
            loading = peak_gb(device)
            trainer.train_step()
    finally:
        ppo.Clock = real
    return {
        "loading": loading,
        "planned": planned,
        "taken": {phase: taken[phase] for phase in planned},
    }


def peer_figures(model: Path, what: str, given: str | None) -> dict | None:
    """TRL's seconds a step and most memory on the same; None, said aloud, where it cannot run."""
    try:
        python = given or peer_python(PEERS[what])
        return child(python, "gpu_trl.py", model, what)
    except (subprocess.CalledProcessError, OSError, SystemExit) as error:
        print(f"{PEERS[what]} did not run: {error}", file=sys.stderr)
        return None


def share_of_bandwidth(shape: str, figures: dict, card: str) -> float | None:
    """Tokens a second against what reading the 16-bit weights once a step would allow."""
    known = next((rate for name, rate in BANDWIDTH.items() if name in card), None)
    if known is None:
        return None
    weights = SHAPES[shape].linear + SHAPES[shape].head
    return figures["tokens_per_second"] / (figures["rows"] * known / (2 * weights))


def table(figures: dict) -> str:
    """The table in RESULTS.md; what was not measured says so."""
    shapes = figures["shapes"]
    heads = [head for shape in shapes for head in (f"{shape}", f"{shape}, TRL")]
    lines = [f"| one {figures['card']}, NF4, random weights | {' | '.join(heads)} |"]
    lines.append("|---" * (1 + len(heads)) + "|")
    columns = [_columns(row) for row in shapes.values()]
    for name in columns[0]:
        cells = [cell for column in columns for cell in column[name]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    about = figures["about"]
    lines += [
        "",
        "Pairs with the lengths of dialogue, 8 a step; PPO with 32 answers of 128 tokens; layers "
        "recomputed. Our most memory is while answers are sampled, on a dense copy of the weights "
        "that is made only where there is room for it. The longest micro-batches are 4 rows of "
        f"{LONGEST} tokens. TRL: its reward model at 1.16; its PPO at 1.12 with an adapter as the "
        f"critic, sampling 16 answers at a time. Python {about['python']}, torch {about['torch']}; "
        f"commit {about['commit']}, {about['date']}. Written by `tests/benchmarks/gpu.py`.",
    ]
    return "\n".join(lines)


NOT_YET = "not measured yet"


def _columns(row: dict) -> dict[str, tuple[str, str]]:
    """By name each figure of a shape: ours, and TRL's."""
    ours, ppo, peer, memory = row["reward"], row["ppo"], row["peer"], row["memory"]
    theirs = {what: peer[what] or {"seconds": None, "peak_gb": None} for what in PEERS}
    pace = theirs["reward"]["seconds"]
    found = {
        "reward model: pairs a second": (ours["pairs_per_second"], pace and 8 / pace),
        "most memory, GB": (ours["peak_gb"], theirs["reward"]["peak_gb"]),
        "PPO: seconds an update": (sum(ppo["seconds"].values()), theirs["ppo"]["seconds"]),
        "most memory of it, GB": (ppo["peak_gb"], theirs["ppo"]["peak_gb"]),
    }
    told = {name: (_figure(own), _figure(other)) for name, (own, other) in found.items()}
    told["of these generate / score / optimise"] = _phases(ppo["seconds"]), ""
    share = "?" if row["of_bandwidth"] is None else f"{row['of_bandwidth']:.0%}"
    sampled = f"{ppo['tokens_per_second']:,.0f}; {share}"
    told["tokens sampled a second; of what the memory's bandwidth allows"] = sampled, ""
    for kind in ("planned", "taken"):
        name = f"memory of the longest micro-batches, generate / score / optimise, {kind}, GB"
        told[name] = (NOT_YET if memory is None else _phases(memory[kind])), ""
    return told


def _figure(value: float | None) -> str:
    return NOT_YET if value is None else f"{value:.1f}"


def _phases(found: dict[str, float]) -> str:
    return " / ".join(f"{found[name]:.1f}" for name in ("generate", "score", "optimise"))


def main() -> int:
    """Measure the shapes, and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["0.5B", "7B"])
    for what, peer in PEERS.items():
        parser.add_argument(f"--{what}-peer", metavar="PYTHON", help=f"of an environment of {peer}")
    asked = parser.parse_args()
    shapes = asked.shape
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and shapes != ["tiny"]:
        print("there is no CUDA card here; --shape tiny shows that everything is in place")
        return 1
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    figures: dict = {"card": card, "shapes": {}}
    for shape in shapes:
        with tempfile.TemporaryDirectory() as folder:
            model = make(shape, Path(folder) / "model", device)
            peak_gb(device)
            row = {"memory": memory_figures(model, device)}
            row |= {"reward": reward_figures(model, device), "ppo": ppo_figures(model, device)}
            given = {"reward": asked.reward_peer, "ppo": asked.ppo_peer}
            row["peer"] = {what: peer_figures(model, what, given[what]) for what in PEERS}
        row["of_bandwidth"] = share_of_bandwidth(shape, row["ppo"], card)
        figures["shapes"][shape] = row
        print(shape, json.dumps(row), flush=True)
    figures["about"] = machine() | {"machine": card, "torch": torch.__version__}
    print(table(figures))
    if device == "cuda" and "tiny" not in shapes:
        record({"gpu": figures})
        tell("gpu", table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
