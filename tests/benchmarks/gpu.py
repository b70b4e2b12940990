"""The real shapes on a GPU, in NF4, with random weights: ``make bench-gpu``.

``python tests/benchmarks/gpu.py`` needs a CUDA card and nothing from a hub. It makes models of the
shapes of Qwen2.5's 0.5B, 7B and 1.5B (as Llamas: without the biases of queries, keys and values),
trains a reward model and takes two PPO updates on each, and writes results.json and its table in
RESULTS.md with the card's name. TRL does the same beside it, in environments that are made where
there is a network, or that are given: ``--reward-peer PYTHON`` (TRL 1.16), ``--ppo-peer PYTHON``
(TRL 1.12, both with bitsandbytes). It goes piece by piece, what decides most first, and writes
each as soon as it is there: within ``--minutes`` (a lease), and another call goes on with what is
missing at this commit. What was not measured keeps its older figure and says since when.
``--shape tiny`` runs on whatever there is (a CPU, too), to see that everything is in place; it
writes into ``--results`` where that is given, and into no page.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import ppo_made
import reward_made
import torch
from peers import child, peer_python
from record import RESULTS, machine, record, tell
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.events import Place, Progress
from workbench.model_shapes import QWEN_05B, QWEN_7B, Shape
from workbench.models.fast.packing import pack, packed_places
from workbench.models.forward import head_values
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
    "1.5B": Shape(
        "Qwen2.5-1.5B",
        {
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
    ),
    "7B": QWEN_7B,
}
#: What a card can read from its memory. [bytes a second]
BANDWIDTH = {"T4": 320e9, "A100": 2039e9, "H100": 3350e9, "H200": 4800e9}
PAIRS, UPDATES = 64, 2
CAPS = (14.7, 9.5)
"""What a T4 has, and what TRL's reward model took at 7B: so much and no more is then given. [GB]"""
LONGEST, ANSWER = 640, 128
"""Tokens of a whole row and of an answer, where memory is measured."""
PEERS = {"reward": "trl==1.16.0", "ppo": "trl==1.12.0"}
SHARED = {"lora_rank": 16, "micro_batch_tokens": 2560}


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


def reward_trainer(model: Path, device: str, out: str, **changes) -> RewardTrainer:
    """A reward model on pairs with the lengths of dialogue."""
    from reward_own import rows_of

    few = {**SHARED, "batch_size": 8, "steps": PAIRS // 8, **changes}
    settings = RewardSettings(**few, holdout=0.0, evaluate_every=0, device=device)
    pairs = reward_made.pairs("dialogue")[:PAIRS]
    return RewardTrainer(str(model), rows_of(pairs), settings, Place(Path(out)))


def launch_figures(model: Path, device: str) -> dict:
    """A reward step's kernels, the share of it that the card is busy, and times that it waits."""
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with tempfile.TemporaryDirectory() as out:
        trainer = reward_trainer(model, device, out)
        seconds = [_step(trainer, device) for _ in range(4)][-1]
        with profile(activities=kinds) as seen:
            _step(trainer, device)
    events = seen.key_averages()
    count = {name: sum(e.count for e in events if name in e.key) for name in ("Launch", "Synchro")}
    busy = sum(getattr(e, "self_device_time_total", 0) for e in events) / 1e6
    found = {"launches": count["Launch"], "waits": count["Synchro"], "seconds": seconds}
    return {**found, "busy": busy / seconds if device == "cuda" else None}


def graph_figures(model: Path, device: str) -> dict:
    """What graphs could bring: seconds of a micro-batch, kernel by kernel and replayed.

    Its forward and backward are captured as one CUDA graph, which does the same sums. Off a card,
    or where that fails, there is no second figure.
    """
    with tempfile.TemporaryDirectory() as out:
        trainer = reward_trainer(model, device, out, gradient_checkpointing=False)
    member, base = trainer.members[0], trainer.base
    group = member.groups(member.batch(0))[0]
    packed = pack([comparison.sequences for comparison in group], base.device)

    def once() -> None:
        for weight in trainer.optimiser.parameters:
            weight.grad = None
        with trainer.roles.acting(member.role):
            head_values(member.head, packed_places(base, packed, packed.ends)).sum().backward()

    found = {"tokens": len(packed.ids), "seconds": _pace(once, device), "replayed": None}
    if device == "cuda":
        known = [weight.grad for weight in trainer.optimiser.parameters]
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                once()
            found["replayed"] = _pace(graph.replay, device)
        except RuntimeError as error:
            print(f"no graph could be captured: {error}", file=sys.stderr)
        else:
            for weight, grad in zip(trainer.optimiser.parameters, known, strict=True):
                torch.testing.assert_close(weight.grad, grad, rtol=1e-2, atol=1e-4)
    return found


def _pace(work: Callable[[], None], device: str) -> float:
    """Median seconds of five calls, after two; all of each done."""
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[2:])[2]


def capped_figures(model: Path, device: str) -> list[dict]:
    """A reward model and PPO's four roles where a card has no more than so much memory."""
    found = []
    for cap in CAPS:
        with capped(device, cap):
            own: dict[str, Any] = {"cap_gb": cap, "reward": reward_figures(model, device)}
            if cap == CAPS[0]:
                own["ppo"] = ppo_figures(model, device)
        found.append(own)
    return found


@contextmanager
def capped(device: str, gb: float) -> Iterator[None]:
    """Within the block a card gives no more; a CPU gives what it has."""
    if device == "cpu":
        yield
        return
    peak_gb(device)
    torch.cuda.set_per_process_memory_fraction(gb * 1e9 / torch.cuda.mem_get_info()[1])
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _step(trainer: RewardTrainer, device: str) -> float:
    """Seconds of one step, all of it done."""
    start = time.perf_counter()
    trainer.train_step()
    trainer.step += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def grid_figures(model: Path, device: str) -> list[dict]:
    """What recomputing, 4 bits and a larger batch cost: pairs a second and most memory of each."""
    found = []
    for recompute, form, pairs in product((False, True), ("nf4", "none"), (8, 32)):
        how = {"gradient_checkpointing": recompute, "quantization": form, "batch_size": pairs}
        how |= {"steps": 99, "micro_batch_tokens": 8192 if pairs > 8 else 2560}
        with tempfile.TemporaryDirectory() as out:
            peak_gb(device)
            trainer = reward_trainer(model, device, out, **how)
            pace = pairs / sorted(_step(trainer, device) for _ in range(5))[2]
            del trainer
        found.append({**how, "pairs_per_second": pace, "peak_gb": peak_gb(device)})
    return found


def reward_figures(model: Path, device: str) -> dict:
    """A reward model's training: pairs a second, most memory."""
    with tempfile.TemporaryDirectory() as out:
        trainer = reward_trainer(model, device, out)
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
        start = time.perf_counter()
        trainer.state()
        undo = time.perf_counter() - start
    last = rows[-1]
    seconds = {name: last[f"time/{name}"] for name in ("generate", "score", "optimise")}
    return {
        "first_ratio": rows[0]["policy/first_ratio"],
        "first_kl": rows[0]["objective/kl"],
        "seconds": seconds,
        "undo_seconds": undo,
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


def peer_figures(
    model: Path, what: str, given: str | None, *, recompute: bool = True
) -> dict | None:
    """TRL's seconds a step and most memory on the same; None, said aloud, where it cannot run."""
    try:
        python = given or peer_python(PEERS[what])
        return child(python, "gpu_trl.py", model, what, "twice" if recompute else "once")
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
    shapes, about = figures["shapes"], figures["about"]
    heads = [head for shape in shapes for head in (f"{shape}", f"{shape}, TRL")]
    lines = [f"| one {figures['card']}, NF4, random weights | {' | '.join(heads)} |"]
    lines.append("|---" * (1 + len(heads)) + "|")
    columns = [_columns(row, about["commit"]) for row in shapes.values()]
    for name in columns[0]:
        cells = [cell for column in columns for cell in column[name]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Pairs with the lengths of dialogue, 8 a step; PPO with 32 answers of 128 tokens; our "
        "layers are recomputed where the plan needs it (before 2026-12: always), TRL's as each row "
        "says. Our most memory is on dense copies of the weights that are made only where there is "
        f"room for them. The longest micro-batches are 4 rows of {LONGEST} tokens. TRL: its reward "
        "model at 1.16; its PPO at 1.12 with an adapter as the critic, sampling 16 answers at a "
        f"time. {_of_when(shapes, about)} Written by `tests/benchmarks/gpu.py`.",
    ]
    return "\n".join(lines)


def _of_when(shapes: dict, about: dict) -> str:
    since = [piece for row in shapes.values() for piece in row["since"].values()]
    if not any(piece["commit"] == about["commit"] for piece in since):
        return f"No figure is of the code as it was at commit {about['commit']}, {about['date']}."
    return (
        f"Figures without a day: Python {about['python']}, torch {about['torch']}, commit "
        f"{about['commit']}, {about['date']}."
    )


NOT_YET = "not measured yet"


def _columns(row: dict, commit: str) -> dict[str, tuple[str, str]]:
    """By name each figure of a shape: ours, and TRL's; an older one with its day."""

    def cell(piece: str, show: Callable[[Any], str]) -> str:
        found, since = row.get(piece), row["since"].get(piece)
        if found is None:
            return NOT_YET
        old = "" if since["commit"] == commit else f" (not measured since {since['date']})"
        shown = show(found)
        return shown if shown == NOT_YET else shown + old

    def pace(found: dict) -> str:
        return _figure(8 / found["seconds"])

    def peak(found: dict) -> str:
        return _figure(found["peak_gb"])

    def sampled(found: dict) -> str:
        share = found.get("of_bandwidth")
        told = "?" if share is None else f"{share:.0%}"
        return f"{found['tokens_per_second']:,.0f}; {told}"

    def launched(found: dict) -> str:
        busy = "?" if found["busy"] is None else f"{found['busy']:.0%}"
        return f"{found['launches']:,}; {busy}; {found['waits']}"

    def replayed(found: dict) -> str:
        graph = found["replayed"]
        times = "?" if graph is None else f"{1000 * graph:.1f} ({found['seconds'] / graph:.1f}×)"
        return f"{1000 * found['seconds']:.1f}; {times}"

    def within(found: list[dict]) -> str:
        wide, narrow = found
        both = [cap["reward"] for cap in (wide, narrow)]
        paces = " / ".join(f"{own['pairs_per_second']:.1f}" for own in both)
        peaks = " / ".join(_figure(own["peak_gb"]) for own in (*both, wide["ppo"]))
        return f"{paces}; {sum(wide['ppo']['seconds'].values()):.1f}; {peaks} GB"

    def best(found: list[dict]) -> str:
        one = max(found, key=lambda cell: cell["pairs_per_second"])
        twice = "twice" if one["gradient_checkpointing"] else "once"
        what = f"{one['batch_size']} a step, {one['quantization']}, layers {twice}"
        return f"{one['pairs_per_second']:.1f} ({what}; {one['peak_gb']:.1f} GB)"

    told = {
        "reward model: pairs a second": (
            cell("reward", lambda found: _figure(found["pairs_per_second"])),
            f"{cell('peer reward', pace)}; {cell('peer reward once', pace)} without recomputing",
        ),
        "most memory, GB": (
            cell("reward", peak),
            f"{cell('peer reward', peak)}; {cell('peer reward once', peak)} without recomputing",
        ),
        "kernels a reward step; share of it the card is busy; waits": (
            cell("launches", launched),
            "",
        ),
        "a micro-batch forward and backward, ms: kernel by kernel; as one CUDA graph": (
            cell("graph", replayed),
            "",
        ),
        f"within {CAPS[0]} / {CAPS[1]} GB: pairs a second; PPO, seconds an update (the first "
        "alone); most memory of each": (cell("capped", within), ""),
        "the quickest of recomputing, form and batch": (cell("grid", best), ""),
        "PPO: seconds an update": (
            cell("ppo", lambda found: _figure(sum(found["seconds"].values()))),
            cell("peer ppo", lambda found: _figure(found["seconds"])),
        ),
        "most memory of it, GB": (cell("ppo", peak), cell("peer ppo", peak)),
        "of these generate / score / optimise": (
            cell("ppo", lambda found: _phases(found["seconds"])),
            "",
        ),
        "tokens sampled a second; of what the memory's bandwidth allows": (
            cell("ppo", sampled),
            "",
        ),
    }
    for kind in ("planned", "taken"):
        name = f"memory of the longest micro-batches, generate / score / optimise, {kind}, GB"
        told[name] = cell("memory", lambda found, kind=kind: _phases(found[kind])), ""
    return told


def _figure(value: float | None) -> str:
    return NOT_YET if value is None else f"{value:.1f}"


def _phases(found: dict[str, float]) -> str:
    return " / ".join(f"{found[name]:.1f}" for name in ("generate", "score", "optimise"))


def pieces(
    shape: str, model: Path, device: str, card: str, peers: dict[str, str | None]
) -> dict[str, Callable[[], Any]]:
    """What is measured of a shape, by name; what decides most comes first."""

    def sampling() -> dict:
        found = ppo_figures(model, device)
        return {**found, "of_bandwidth": share_of_bandwidth(shape, found, card)}

    return {
        "launches": lambda: launch_figures(model, device),
        "graph": lambda: graph_figures(model, device),
        "reward": lambda: reward_figures(model, device),
        "ppo": sampling,
        "grid": lambda: grid_figures(model, device),
        "capped": lambda: capped_figures(model, device),
        "peer reward": lambda: peer_figures(model, "reward", peers["reward"]),
        "peer reward once": lambda: peer_figures(model, "reward", peers["reward"], recompute=False),
        "memory": lambda: memory_figures(model, device),
        "peer ppo": lambda: peer_figures(model, "ppo", peers["ppo"]),
    }


def main() -> int:
    """Measure the shapes, and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["0.5B", "7B", "1.5B"])
    parser.add_argument("--minutes", type=float, default=28.0, help="no piece begins after that")
    parser.add_argument("--results", type=Path, help="a file of figures in results.json's place")
    for what, peer in PEERS.items():
        parser.add_argument(f"--{what}-peer", metavar="PYTHON", help=f"of an environment of {peer}")
    asked = parser.parse_args()
    shapes, start = asked.shape, time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and shapes != ["tiny"]:
        print("there is no CUDA card here; --shape tiny shows that everything is in place")
        return 1
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    about = machine() | {"machine": card, "torch": torch.__version__}
    shown = asked.results is None and device == "cuda" and "tiny" not in shapes
    results = RESULTS if shown else asked.results
    known = json.loads(results.read_text())["gpu"] if results and results.exists() else {}
    figures: dict = {"card": card, "shapes": {}, **known, "about": about}
    left = []
    for shape in shapes:
        row = figures["shapes"].setdefault(shape, {"since": {}})
        with tempfile.TemporaryDirectory() as folder:
            model = make(shape, Path(folder) / "model", device)
            peers = {"reward": asked.reward_peer, "ppo": asked.ppo_peer}
            for name, measure in pieces(shape, model, device, card, peers).items():
                if row["since"].get(name, {}).get("commit") == about["commit"]:
                    continue
                if time.monotonic() - start > 60 * asked.minutes:
                    left.append(f"{shape}: {name}")
                    continue
                peak_gb(device)
                found = measure()
                print(shape, name, json.dumps(found), flush=True)
                if found is None:
                    continue
                row[name] = found
                row["since"][name] = {key: about[key] for key in ("commit", "date", "torch")}
                if results:
                    record({"gpu": figures}, results)
                if shown:
                    tell("gpu", table(figures))
    print(table(figures))
    if left:
        print(f"no time was left for {', '.join(left)}: the same command goes on with them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
