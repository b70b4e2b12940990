"""PPO beside TRL's PPOTrainer, the last there was (1.12): episodes a CPU-second, in ``make bench``.

``python tests/benchmarks/ppo_peer.py`` makes the peer's environment in a cache folder (once, some
minutes), the model and prompts of ``ppo_made.py``, and runs both sides in turns, one thread, in
processes of their own. It prints a table and writes results.json; ``--rounds N`` and
``--updates N`` set how long it takes, ``--lengths NAME`` takes one half and writes nothing.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import ppo_made as made
from peers import CACHE, child, peer_python
from record import machine, record, tell

PEER = "trl==1.12.0"
SIDES = ("full", "lora", "adapter", "shared")  # the peer's critics; our values
#: What is promised: times the peer with its full critic, by lengths and our value.
PROMISED = {
    ("fixed", "adapter"): 1.25,
    ("fixed", "shared"): 2.0,
    ("natural", "adapter"): 1.25,
    ("natural", "shared"): 5.0,
}
FLOOR = 0.75
PHASES = ("generate", "score", "optimise")


# --- what runs


def measure(lengths: str, *, rounds: int, updates: int, folder: Path) -> list[dict]:
    """Each round every side once, one after the other; the floor after ours, on its tokens."""
    fixtures, python = CACHE / "ppo", peer_python(PEER)
    made.make(fixtures)
    found: list[dict] = []
    for _ in range(rounds):
        runs: dict[str, dict] = {}
        for value in ("full", "lora"):
            runs[value] = child(python, "ppo_trl.py", fixtures, lengths, value, updates)
        for value in ("adapter", "shared"):
            own = child(sys.executable, "ppo_own.py", fixtures, lengths, value, updates)
            sizes = folder / "sizes.json"
            sizes.write_text(json.dumps(own))
            bare = child(sys.executable, "ppo_own.py", fixtures, lengths, value, sizes)
            runs[value] = {**own, "floor": bare["cpu_seconds"], "floor_seconds": bare["seconds"]}
        found.append(runs)
        print(lengths, {side: round(rate(run), 2) for side, run in runs.items()}, flush=True)
    return found


# --- what it comes to


def rate(run: dict) -> float:
    """Episodes a CPU-second."""
    return run["episodes"] / run["cpu_seconds"]


def flops(run: dict, side: str) -> float:
    """Multiplications and additions of the matrix products, by tokens and weights. [FLOP]

    Twice a weight and token forward; backward as much for the inputs (of frozen weights nothing
    else) and, in the peer's full critic, as much again for the weights. Attention, adapters and
    what is small are left out, on both sides.
    """
    trunk, head = weights()
    rows = run["prompt_tokens"] + run["response_tokens"]
    answers = run["response_tokens"]
    decoded = 2 * (trunk * rows + head * answers)
    if side in ("full", "lora"):  # its policy and reference see logits at every token
        scored = 2 * (3 * trunk + head) * rows
        critic = (6 if side == "full" else 4) * trunk
        trained = made.EPOCHS * rows * (4 * (trunk + head) + critic)
    else:
        looks = 4 if side == "adapter" else 3  # policy, reference, reward; and value
        scored = 2 * looks * trunk * rows + 2 * 2 * head * answers
        passes = 2 if side == "adapter" else 1
        trained = made.EPOCHS * 4 * (passes * trunk * rows + head * answers)
    return float(decoded + scored + trained)


def weights() -> tuple[int, int]:
    """Of the layers' matrices, and of the language-model head."""
    width, inner = made.SIZES["hidden_size"], made.SIZES["intermediate_size"]
    layer = 4 * width * width + 3 * width * inner
    return made.SIZES["num_hidden_layers"] * layer, made.SIZES["vocab_size"] * width


def summary(found: list[dict]) -> dict:
    """The median of each figure over the rounds; ratios are taken within a round."""

    def middle(values) -> float:
        return round(statistics.median(values), 3)

    sides: dict[str, dict] = {}
    for side in SIDES:
        runs = [one[side] for one in found]
        sides[side] = {
            "episodes_per_cpu_second": middle(map(rate, runs)),
            "peak_mb": middle(run["peak_mb"] for run in runs),
            "seconds_an_update": {
                name: middle(run["seconds"][name] / run["updates"] for run in runs)
                for name in PHASES
            },
            "tokens_an_update": middle(
                (run["prompt_tokens"] + run["response_tokens"]) / run["updates"] for run in runs
            ),
        }
    for side in ("adapter", "shared"):
        for peer in ("full", "lora"):
            pairs = [(one[side], one[peer]) for one in found]
            sides[side][f"times_{peer}"] = middle(rate(a) / rate(b) for a, b in pairs)
            sides[side][f"flops_{peer}"] = middle(
                flops(b, peer) / b["episodes"] / (flops(a, side) / a["episodes"]) for a, b in pairs
            )
        own = [one[side] for one in found]
        sides[side]["floor"] = middle(run["floor"] / run["cpu_seconds"] for run in own)
    return sides


def table(figures: dict) -> str:
    """The figures in Markdown."""
    lines = [
        f"| PPO, updates of {made.BATCH} episodes | episodes a CPU-second "
        "| × TRL (full critic; LoRA critic) | fewer FLOP | generate, score, optimise (s) "
        "| peak memory | of the floor |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {
        "full": "TRL 1.12, full critic",
        "lora": "TRL 1.12, LoRA critic",
        "adapter": "workbench, value adapter",
        "shared": "workbench, shared trunk",
    }
    for lengths in figures["lengths"]:
        for side in SIDES:
            seen = figures["lengths"][lengths][side]
            spent = ", ".join(f"{seen['seconds_an_update'][name]:.2f}" for name in PHASES)
            ours = side in ("adapter", "shared")
            times = f"{seen['times_full']:.2f}; {seen['times_lora']:.2f}" if ours else "1"
            fewer = f"{seen['flops_full']:.2f}; {seen['flops_lora']:.2f}" if ours else "1"
            floor = f"{seen['floor']:.0%}" if ours else "–"
            lines.append(
                f"| {lengths} lengths: {names[side]} | {seen['episodes_per_cpu_second']:.2f} "
                f"| {times} | {fewer} | {spent} | {seen['peak_mb']:.0f} MB | {floor} |"
            )
    about = figures["about"]
    return "\n".join(
        [
            *lines,
            "",
            "The same random Llama of 6.8 million weights, LoRA of rank "
            f"{made.RANK} on every layer, fp32, one thread, {made.EPOCHS} epochs of "
            f"{made.MINI_BATCHES} mini-batches. Fixed: "
            f"prompts of {made.FIXED_PROMPT} tokens, answers of {made.ANSWER}. Natural: prompts of "
            f"{made.SHORTEST} to {made.LONGEST} tokens (lognormal), answers end by themselves, on "
            f"average after a third of {made.ANSWER}. The floor is bare forwards, backwards and "
            "decode steps of transformers and peft over the same tokens. Medians of "
            f"{figures['rounds']} rounds of {figures['updates']} updates, in turns. Machine: "
            f"{about['machine']}, Python {about['python']}; commit {about['commit']}, "
            f"{about['date']}. Written by `tests/benchmarks/ppo_peer.py`.",
        ]
    )


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    found: list[str] = []
    for lengths, sides in figures["lengths"].items():
        for value in ("adapter", "shared"):
            seen, promised = sides[value], PROMISED[lengths, value]
            about = f"{lengths} lengths, value {value}"
            if not seen["times_full"] >= promised:
                found.append(f"{about}: {seen['times_full']} times the peer, not {promised}")
            if not seen["floor"] >= FLOOR:
                found.append(f"{about}: {seen['floor']:.0%} of the floor, not {FLOOR:.0%}")
            least = min(sides[peer]["peak_mb"] for peer in ("full", "lora"))
            if not seen["peak_mb"] < least:
                found.append(f"{about}: {seen['peak_mb']} MB, the peer {least}")
    return found


def main() -> int:
    """Measure, print, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--lengths", choices=made.LENGTHS)
    asked = parser.parse_args()
    parts = (asked.lengths,) if asked.lengths else made.LENGTHS
    with tempfile.TemporaryDirectory() as folder:
        given = {"rounds": asked.rounds, "updates": asked.updates, "folder": Path(folder)}
        seen = {lengths: summary(measure(lengths, **given)) for lengths in parts}
    figures = {
        "lengths": seen,
        "rounds": asked.rounds,
        "updates": asked.updates,
        "about": machine(),
    }
    print(json.dumps(figures, indent=2), table(figures), sep="\n\n")
    if not asked.lengths:
        record({"ppo_peer": figures})
        tell("ppo", table(figures))
    found = failures(figures)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
