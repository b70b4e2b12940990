"""DPO beside TRL's DPOTrainer, in turn, per CPU-second; and equal to it on the same batch.

``python tests/benchmarks/dpo_peer.py`` makes the peer's environment and the data by itself,
prints a table and writes results.json; ``--times N`` alternates so often (default 3).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import reward_made
from peers import child, peer_python
from record import machine, record, tell
from reward_peer import KINDS, PEER, compared, compared_rows, unmet

ASKED = {"dialogue": 3.0}
APART = 1e-5
"""How far losses, log-probabilities and gradients may be from TRL's, in fp32 (nats a token)."""


def measure(times: int) -> dict:
    """Both sides in turn: a slow minute of the machine hits both."""
    python = peer_python(PEER)
    figures: dict = {"times": times}
    with tempfile.TemporaryDirectory() as folder:
        reward_made.make(Path(folder))
        child(sys.executable, "dpo_own.py", folder, "dialogue", "check")
        figures["apart"] = child(python, "dpo_trl.py", folder, "dialogue", "check")["apart"]
        print(figures["apart"], flush=True)
        for kind in KINDS:
            ours: list[dict] = []
            peer: list[dict] = []
            for _ in range(times):
                ours.append(child(sys.executable, "dpo_own.py", folder, kind))
                peer.append(child(python, "dpo_trl.py", folder, kind))
            figures[kind] = compared(ours, peer)
            print(kind, figures[kind], flush=True)
    return figures


def differences(apart: dict[str, float]) -> dict[str, float]:
    """The largest difference of losses, rewards and gradients.

    Log-probabilities of whole answers are sums of some forty terms, with as many roundings.
    """
    kinds = {
        "losses": ": loss",
        "gradients": ": gradients",
        "rewards": "rewards/",
        "logps": "logps/",
    }
    return {
        kind: max(value for name, value in apart.items() if part in name)
        for kind, part in kinds.items()
    }


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    lines = compared_rows("DPO", figures, KINDS, ASKED)
    about = figures["about"]
    apart = ", ".join(f"{k} {v:.0e}" for k, v in differences(figures["apart"]).items())
    lines += [
        "",
        f"On one batch with one policy the largest differences to TRL's are: {apart} (sigmoid, "
        "cDPO, sigmoid_norm and IPO; logps are sums over an answer). A Llama of 6.8 M weights in "
        "fp32, LoRA of rank 16 on all linear layers, 8 pairs a step, each pair once (ours in "
        f"micro-batches of {figures['fixed']['micro_batch_tokens']:,} tokens), one thread, in "
        f"turn, medians of {figures['times']}. The bare model: a forward for the reference, "
        "forward and backward for the policy, the head at answer tokens. Machine: "
        f"{about['machine']}, Python {about['python']}; commit {about['commit']}, {about['date']}. "
        "Written by `tests/benchmarks/dpo_peer.py`.",
    ]
    return "\n".join(lines)


def failures(figures: dict) -> list[str]:
    """What was asked and does not hold."""
    found = [
        f"{name} differ from TRL's by {value:.1e}"
        for name, value in differences(figures["apart"]).items()
        if value > (10 * APART if name == "logps" else APART)
    ]
    return [*found, *unmet(figures, KINDS, ASKED, loss_slack=0.01)]


def main() -> int:
    """Measure, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3)
    figures = {**measure(parser.parse_args().times), "about": machine()}
    record({"dpo_peer": figures})
    print(table(figures))
    tell("dpo-peer", table(figures))
    found = failures(figures)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
