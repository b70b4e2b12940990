"""What both sides of the reward-model comparison get: pairs of two kinds of lengths.

The same on every machine; model and tokenizer are those of the PPO comparison.
"""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import ppo_made

KINDS = ("fixed", "dialogue")
BATCH, RANK, ALPHA, RATE, CENTRING = 8, 16, 32, 1e-3, 0.01
STEPS = {"fixed": 32, "dialogue": 24}
HELDOUT = 128
MOST = 1024  # tokens of a sequence
GOOD = 500  # words of which a chosen answer has more
SHARE = {"chosen": 0.4, "rejected": 0.1}


def sizes(kind: str, dice: random.Random) -> tuple[Callable[[], int], Callable[[], int]]:
    """How many tokens a prompt has, and an answer: even, or as in recorded dialogue."""
    if kind == "fixed":
        return lambda: dice.randint(80, 112), lambda: dice.randint(16, 64)

    def lognormal(median: float, mean: float, low: int, high: int) -> Callable[[], int]:
        spread = math.sqrt(2 * math.log(mean / median))
        return lambda: min(high, max(low, round(median * math.exp(spread * dice.gauss(0, 1)))))

    return lognormal(87, 114, 8, 600), lognormal(33, 41, 4, 200)


def pairs(kind: str) -> list[dict[str, str]]:
    """Training pairs, then held-out ones: what was learned from the first shows on the others."""
    dice = random.Random(11)
    prompt, answer = sizes(kind, dice)

    def text(side: str) -> str:
        words = (
            dice.randrange(GOOD)
            if dice.random() < SHARE[side]
            else dice.randrange(GOOD, ppo_made.WORDS)
            for _ in range(answer())
        )
        return " ".join(f"w{word}" for word in words)

    return [
        {
            "prompt": " ".join(f"w{dice.randrange(ppo_made.WORDS)}" for _ in range(prompt())),
            "chosen": text("chosen"),
            "rejected": text("rejected"),
        }
        for _ in range(STEPS[kind] * BATCH + HELDOUT)
    ]


def make(folder: Path) -> None:
    """Write the model, and the pairs of each kind."""
    ppo_made.make(folder)
    for kind in KINDS:
        (folder / f"{kind}.json").write_text(json.dumps(pairs(kind)))


def read(folder: str, kind: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Training and held-out pairs."""
    rows = json.loads(Path(folder, f"{kind}.json").read_text())
    return rows[:-HELDOUT], rows[-HELDOUT:]
