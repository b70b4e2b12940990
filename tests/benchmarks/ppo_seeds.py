"""PPO by seeds and by β: none may collapse, and the frontier stands beside best-of-n's.

``python tests/benchmarks/ppo_seeds.py`` trains four reward models and a policy for each of eight
seeds, three more policies at other prices of a nat, and draws best-of-64, all measured on 200
held-out prompts (about an hour); it writes results.json and its table in RESULTS.md.
``--rewards FOLDER …`` takes reward models that were trained before, in turn; ``--out FOLDER``
keeps the runs, and goes on with what is there; ``--table`` only writes the table from results.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from record import RESULTS, machine, record, tell

import workbench as wb
from workbench.demo import MODEL, REWARD
from workbench.runs import Run
from workbench.verbs.batch import before_and_after
from workbench.verbs.train import finished

SEEDS = range(8)
REWARDS = 4  # reward models, each for two of the policies
STEPS = 130  # updates: nearly twice the default, to see whether more of them lead astray
BETAS = (0.2, 0.4, 0.8)  # beside the default, with seed 0
PROMPTS = 200
SMOOTH = 5  # updates that a point of a training curve is the mean of
COLLAPSED, TOO_FAR = 0.9, 10.0  # share of its own maximum; nats
GOLD, NEAR = 0.90, 5.0
FRONTIER, SHARE = (1.0, 3.2), 0.7  # nats; of best-of-n's gain


def measure(run: Run, reward: str | Run, seed: int) -> dict[str, float]:
    """A policy on the held-out prompts, one answer each, and what its training curve says."""
    prompts = wb.load_prompts("sample:prompts_heldout")[:PROMPTS]
    rows = before_and_after([MODEL, run], prompts, reward=reward, with_kl=True, seed=seed + 1)
    curve = run.metrics()["objective/gold"].rolling(SMOOTH).mean().dropna()
    before, after = ([row["answers"][i] for row in rows] for i in (0, 1))

    def mean(answers: list[dict], name: str) -> float:
        return round(sum(answer[name] for answer in answers) / len(answers), 4)

    return {
        "gold_sft": mean(before, "gold"),
        "gold": mean(after, "gold"),
        "kl": mean(after, "kl"),
        "score": mean(after, "score"),
        "of_maximum": round(float(curve.iloc[-1] / curve.max()), 4),
        "seconds": round(float(run.metrics()["time/step"].sum()), 1),
    }


def best(reward: str | Run) -> list[dict[str, float]]:
    """Best-of-n on the same prompts: n, its KL bound and its gold score."""
    prompts = wb.load_prompts("sample:prompts_heldout")[:PROMPTS]
    found = wb.best_of_n(MODEL, reward, prompts, batch_size=256)
    return found.frame[["n", "kl_bound", "gold"]].round(4).to_dict("records")


def share_of_best(row: dict[str, float], frontier: list[dict[str, float]]) -> float | None:
    """A policy's gold gain by best-of-n's at the same KL (its bound); None outside FRONTIER."""
    if not FRONTIER[0] <= row["kl"] <= FRONTIER[1]:
        return None
    d = np.sqrt([point["kl_bound"] for point in frontier])
    start = frontier[0]["gold"]
    there = float(np.interp(row["kl"] ** 0.5, d, [point["gold"] for point in frontier]))
    return (row["gold"] - start) / (there - start)


def shares(results: dict) -> list[float]:
    """Of all policies within FRONTIER."""
    rows = [*results["seeds"], *results["betas"]]
    found = (share_of_best(row, results["best_of_n"]) for row in rows)
    return [share for share in found if share is not None]


def failures(results: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    found = []
    for row in results["seeds"]:
        if row["of_maximum"] < COLLAPSED or row["kl"] > TOO_FAR:
            found.append(f"seed {row['seed']} collapsed")
    seeds = results["seeds"]
    gold = sum(row["gold"] for row in seeds) / len(seeds)
    if gold < GOLD:
        found.append(f"mean gold is {gold:.3f}, below {GOLD:.2f}")
    if any(row["kl"] > NEAR for row in seeds):
        found.append(f"a KL is above {NEAR:g} nats")
    measured = shares(results)
    if not measured:
        found.append("no policy is between 1 and 3.2 nats")
    elif min(measured) < SHARE:
        found.append(f"best-of-n's gain is reached to {min(measured):.0%}, below {SHARE:.0%}")
    return found


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    seeds, frontier = results["seeds"], results["best_of_n"]
    gold, kls = [row["gold"] for row in seeds], [row["kl"] for row in seeds]
    sunk = sum(row["of_maximum"] < COLLAPSED or row["kl"] > TOO_FAR for row in seeds)
    lowest = min(row["of_maximum"] for row in seeds)
    of_best, top = shares(results), frontier[-1]
    seconds = sorted(row["seconds"] for row in seeds)
    betas = ", ".join(
        f"{row['kl_coef']:g}: {row['gold']:.3f} at {row['kl']:.2f}" for row in results["betas"]
    )
    lines = [
        f"| PPO, {len(seeds)} seeds, {seeds[0]['steps']} updates, {PROMPTS} held-out prompts "
        "| measured | promised |",
        "|---|---|---|",
        f"| gold score, mean (lowest to highest); before: {seeds[0]['gold_sft']:.3f} | "
        f"{sum(gold) / len(gold):.3f} ({min(gold):.3f} to {max(gold):.3f}) | ≥ {GOLD:.2f} |",
        f"| KL, mean (highest), nats | {sum(kls) / len(kls):.2f} ({max(kls):.2f}) | ≤ {NEAR:g} |",
        f"| collapsed; lowest end of its own maximum | {sunk} of {len(seeds)}; {lowest:.2f} | "
        f"0; ≥ {COLLAPSED:g} |",
        f"| of best-of-n's gain in gold score at its KL bound, {len(of_best)} policies between "
        f"{FRONTIER[0]:g} and {FRONTIER[1]:g} nats, lowest | "
        f"{min(of_best, default=float('nan')):.0%} | ≥ {SHARE:.0%} |",
        f"| gold score by β ({betas}); best of {top['n']:.0f} at ≤ {top['kl_bound']:.2f} | "
        f"{top['gold']:.3f} | |",
        f"| seconds of training, median | {seconds[len(seconds) // 2]:.0f} | |",
    ]
    about = results["about"]
    rewards = results["rewards"]
    lines += [
        "",
        f"{rewards} reward model{'s' if rewards > 1 else ''}, the policy is paid by the reward "
        f"score alone. Machine: {about['machine']}, Python {about['python']}; commit "
        f"{about['commit']}, {about['date']}. Written by `tests/benchmarks/ppo_seeds.py`.",
    ]
    return "\n".join(lines)


def train(out: Path, given: list[str]) -> dict:
    """Train and measure everything; runs that are there already are only measured."""
    rewards: list[str | Run] = [*given]
    for seed in () if given else range(REWARDS):
        name = str(out / f"reward-{seed}")
        made = wb.train_reward(MODEL, "sample:pairs_train", name=name, seed=seed, **REWARD)
        rewards.append(finished(made))

    def policy(seed: int, **settings: float) -> dict[str, float]:
        reward = rewards[seed % len(rewards)]
        settings = {"steps": STEPS, **settings}
        called = "-".join(["ppo", str(seed), *(f"{v:g}" for v in settings.values())])
        name = str(out / called)
        run = wb.train_ppo(MODEL, reward, "sample:prompts_ppo", name=name, seed=seed, **settings)
        row = {"seed": seed, **settings, **measure(finished(run), reward, seed)}
        print(json.dumps(row), flush=True)
        return row

    return {
        "about": machine(),
        "rewards": len(rewards),
        "best_of_n": best(rewards[0]),
        "seeds": [policy(seed) for seed in SEEDS],
        "betas": [policy(0, kl_coef=beta) for beta in BETAS],
    }


def main() -> int:
    """Run, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--rewards", nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if not asked.table:
        with tempfile.TemporaryDirectory() as folder:
            out = (asked.out or Path(folder)).absolute()
            record({"ppo_seeds": train(out, asked.rewards)})
    results = json.loads(RESULTS.read_text())["ppo_seeds"]
    tell("ppo_seeds", table(results))
    found = failures(results)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
