"""Every way of aligning on one picture: six methods, four seeds, on the sample data.

``python tests/benchmarks/frontier.py`` draws the frontier with ``wb.frontier`` (about 45 minutes on
two idle cores), and writes results.json and its table in RESULTS.md. ``--out FOLDER`` keeps the
runs and the page, and goes on with what is there; ``--table`` only writes the table.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from record import RESULTS, machine, record, tell

import workbench as wb

METHODS = ("ppo", "rloo", "group", "online_dpo", "dpo", "best_of_n")
SEEDS, PRICES, BUDGET = 4, (0.05, 0.2), 2048
RATES = (1.0, 3.0)  # trials of each method's learning rate, in multiples of its auto
MOST = 45.0  # minutes
PLACES = ("1 nat", "2 nats", "3 nats", "seconds")


def measure(out: Path) -> dict:
    """The frontier and what it says; its minutes are of all calls that went on with the folder."""
    begun, kept = time.monotonic(), out.with_name(f"{out.name}-minutes.txt")
    found = wb.frontier(
        "builtin:tiny-chat",
        "sample:pairs_train",
        "sample:prompts_ppo",
        METHODS,
        seeds=SEEDS,
        prices=PRICES,
        rates=RATES,
        budget=BUDGET,
        heldout="sample:prompts_heldout",
        name=str(out),
    )
    print(found, flush=True)
    minutes = (time.monotonic() - begun) / 60
    minutes += float(kept.read_text()) if kept.exists() else 0.0
    kept.write_text(f"{minutes:.2f}")
    runs = found.frame.groupby("method", sort=False)
    return {
        "minutes": round(minutes, 1),
        "sentence": found.sentence,
        "limits": found.limits,
        "common_seconds": round(found.common, 1),
        "at": json.loads(found.at.round(4).to_json(orient="records")),
        "rates": {name: sorted(set(own["rate"])) for name, own in runs},
        "seconds": {name: round(float(own["seconds"].mean()), 1) for name, own in runs},
        "gold_start": round(float(found.best_of_n["gold"].iloc[0]), 4),
    }


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    seconds = f"{figures['common_seconds']:g} s of learning"
    lines = [
        f"| gold score, from {figures['gold_start']:.3f} | at 1 nat | 2 nats | 3 nats | after "
        f"{seconds} | seconds a run | learning rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["at"]:
        cells = [_cell(row, place) for place in PLACES]
        name = row["method"]
        took = figures["seconds"].get(name)
        rates = ", ".join(f"{rate:.3g}" for rate in figures["rates"].get(name, ()))
        lines.append(f"| {name} | {' | '.join(cells)} | {took or '–'} | {rates or '–'} |")
    about = figures["about"]
    lines += [
        "",
        f"{figures['sentence']} {figures['limits']} {SEEDS} seeds, prices of a nat "
        f"{', '.join(f'{price:g}' for price in PRICES)}; of "
        f"{' and '.join(f'{rate:g}' for rate in RATES)} times each method's auto rate the better "
        "is taken, by watched score less the price of its "
        "nats at the first seed; 95 % intervals by Student's t; best of n "
        f"at an upper bound of its KL. {figures['minutes']:g} minutes in all (promised: {MOST:g}). "
        f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
        f"{about['date']}. Written by `tests/benchmarks/frontier.py`.",
    ]
    return "\n".join(lines)


def _cell(row: dict, place: str) -> str:
    mean, low = row[place], row[f"{place}, low"]
    if mean is None:
        return "–"
    return f"{mean:.3f}" if low is None else f"{mean:.3f} ± {mean - low:.3f}"


def main() -> int:
    """Draw, write, and say whether it took too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a folder to keep the runs in")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if not asked.table:
        with tempfile.TemporaryDirectory() as folder:
            out = (asked.out or Path(folder) / "frontier").absolute()
            record({"frontier": {**measure(out), "about": machine()}})
    figures = json.loads(RESULTS.read_text())["frontier"]
    tell("frontier", table(figures))
    if figures["minutes"] > MOST:
        print(f"{figures['minutes']} minutes, and {MOST} were promised")
    return int(figures["minutes"] > MOST)


if __name__ == "__main__":
    sys.exit(main())
