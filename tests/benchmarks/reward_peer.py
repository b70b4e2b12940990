"""The reward model beside TRL's RewardTrainer, in turn, per CPU-second: ``make bench``.

``python tests/benchmarks/reward_peer.py`` makes the peer's environment and the data by itself,
prints a table and writes results.json; ``--times N`` alternates so often (default 3).
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import reward_made
from peers import child, median, peer_python
from record import machine, record, tell

PEER = "trl==1.16.0"
KINDS = {"fixed": "even lengths", "dialogue": "lengths as in dialogue"}
ASKED = {"fixed": 2.2, "dialogue": 3.5}
FLOOR = 0.95


def measure(times: int) -> dict:
    """Both sides on both kinds of pairs, in turn: a slow minute of the machine hits both."""
    python = peer_python(PEER)
    figures: dict = {"times": times}
    with tempfile.TemporaryDirectory() as folder:
        reward_made.make(Path(folder))
        for kind in reward_made.KINDS:
            ours: list[dict] = []
            peer: list[dict] = []
            for _ in range(times):
                ours.append(child(sys.executable, "reward_own.py", folder, kind))
                peer.append(child(python, "reward_trl.py", folder, kind))
            figures[kind] = compared(ours, peer)
            print(kind, figures[kind], flush=True)
    return figures


def compared(ours: list[dict], peer: list[dict]) -> dict:
    """The figures of one kind of pairs; ratios are of runs that followed each other."""

    def rate(row: dict) -> float:
        return row["pairs"] / row["cpu_seconds"]

    ratios = [{"ratio": rate(a) / rate(b)} for a, b in zip(ours, peer, strict=True)]
    return {
        "pairs_per_cpu_second": median(ours, rate),
        "peer_pairs_per_cpu_second": median(peer, rate),
        "ratio": median(ratios, lambda row: row["ratio"]),
        "ratios": [row["ratio"] for row in ratios],
        "micro_batch_tokens": ours[0]["micro_batch_tokens"],
        "token_ratio": peer[0]["tokens"] / ours[0]["tokens"],
        "of_floor": median(ours, lambda row: row["floor_cpu_seconds"] / row["cpu_seconds"]),
        "peak_mb": median(ours, lambda row: row["peak_mb"]),
        "peer_peak_mb": median(peer, lambda row: row["peak_mb"]),
        "heldout_loss": ours[0]["heldout_loss"],
        "peer_heldout_loss": peer[0]["heldout_loss"],
        "dropped": ours[0]["given"] - ours[0]["pairs"],
        "peer_dropped": peer[0]["given"] - peer[0]["pairs"],
    }


def compared_rows(what: str, figures: dict, kinds: dict[str, str], asked: dict) -> list[str]:
    """The head and the rows of a table of both sides: a row each kind of pairs, by its words."""
    peer = PEER.upper().replace("==", " ")
    lines = [
        f"| {what} beside {peer} | pairs a CPU-second | TRL's | ratio (asked) "
        "| TRL's tokens to ours | of the bare model's speed | most memory, MB | TRL's "
        "| held-out loss | TRL's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, about in kinds.items():
        row, least = figures[kind], asked.get(kind)
        lines.append(
            f"| {about} | {row['pairs_per_cpu_second']:.1f} "
            f"| {row['peer_pairs_per_cpu_second']:.1f} "
            f"| {row['ratio']:.2f}{f' ({least})' if least else ''} | {row['token_ratio']:.2f} "
            f"| {row['of_floor']:.0%} | {row['peak_mb']:.0f} | {row['peer_peak_mb']:.0f} "
            f"| {row['heldout_loss']:.3f} | {row['peer_heldout_loss']:.3f} |"
        )
    return lines


def unmet(figures: dict, kinds: Iterable[str], asked: dict, *, loss_slack: float) -> list[str]:
    """What was asked of each kind of pairs and does not hold."""
    lines: list[str] = []
    for kind in kinds:
        row, least = figures[kind], asked.get(kind, 0)
        for what, holds in {
            f"ratio at least {least}": row["ratio"] >= least,
            f"of the floor at least {FLOOR}": row["of_floor"] >= FLOOR,
            "memory no more than the peer's": row["peak_mb"] <= row["peer_peak_mb"],
            "no pair dropped": row["dropped"] == 0,
            "held-out loss no worse": row["heldout_loss"] <= row["peer_heldout_loss"] + loss_slack,
        }.items():
            lines += [] if holds else [f"{kind}: {what} does not hold"]
    return lines


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    lines = compared_rows("reward model", figures, KINDS, ASKED)
    about = figures["about"]
    lines += [
        "",
        "A Llama of 6.8 M weights in fp32, LoRA of rank 16 on all linear layers, 8 pairs a step, "
        f"each pair once (ours in micro-batches of {figures['fixed']['micro_batch_tokens']:,} "
        f"tokens), one thread, in turn, medians of {figures['times']}; no pair dropped on "
        f"either side. Machine: {about['machine']}, Python {about['python']}; commit "
        f"{about['commit']}, {about['date']}. Written by `tests/benchmarks/reward_peer.py`.",
    ]
    return "\n".join(lines)


def failures(figures: dict) -> list[str]:
    """What was asked and does not hold."""
    return unmet(figures, KINDS, ASKED, loss_slack=0.0)


def main() -> int:
    """Measure, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3)
    figures = {**measure(parser.parse_args().times), "about": machine()}
    record({"reward_peer": figures})
    print(table(figures))
    tell("reward-peer", table(figures))
    found = failures(figures)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
