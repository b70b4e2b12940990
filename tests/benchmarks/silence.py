"""How long a verb says nothing in a terminal: each once, on the embedded model (``make soak``).

``python tests/benchmarks/silence.py`` calls every verb but ``wb.push`` (it needs a hub), in a
process of its own behind a terminal, and notes the longest time in which nothing was written. It
prints a table and writes it into RESULTS.md, its figures into results.json; ``--only VERB …`` takes
some anew and leaves the rows of the others.
"""

import argparse
import json
import os
import pty
import select
import sys
import tempfile
import time
from pathlib import Path

from record import RESULTS, machine, record, tell

LIMIT = 1.5  # seconds
BEGIN, END = b"<<begin>>", b"<<end>>"
FEW = "device='cpu', response_length=24, max_length=128, batch_size=8"
SET_UP = f"""
import pathlib, sys, workbench as wb
from workbench.runs import find_run
chat, prompts = "builtin:tiny-chat", wb.load_prompts("sample:prompts_heldout")[:24]
train, held = wb.load_pairs("sample:pairs_train")[:64], wb.load_pairs("sample:pairs_heldout")[:64]
few = dict({FEW})
store = wb.LabelStore("labels.sqlite")
"""
REWARD = "wb.train_reward(chat, train, name='reward', steps=4, batch_size=8, device='cpu').wait()"
PPO = "wb.train_ppo(chat, 'reward', prompts, name='ppo', steps=2, watch_prompts=2, **few).wait()"
VERBS = {  # in this order: later ones stand on what earlier ones made
    "train_sft": "wb.train_sft(chat, 'sample:instructions', name='sft', steps=2, batch_size=8, "
    "device='cpu').wait()",
    "train_reward": REWARD,
    "train_ppo": PPO,
    "train_dpo": "wb.train_dpo(chat, train, name='dpo', steps=4, batch_size=8, watch_prompts=2, "
    "device='cpu').wait()",
    "train_online_dpo": "wb.train_online_dpo(chat, 'reward', prompts, name='online', steps=2, "
    "batch_size=8, response_length=16, device='cpu').wait()",
    "open_run": "wb.open_run('ppo')",
    "runs": "wb.runs()",
    "presets": "wb.presets()",
    "doctor": "wb.doctor()",
    "load_pairs": "wb.load_pairs('sample:pairs_train')",
    "load_prompts": "wb.load_prompts('sample:prompts_ppo')",
    "load_examples": "wb.load_examples('sample:instructions')",
    "import_pairs": "wb.import_pairs('sample:pairs_train')",
    "sample_pairs": "wb.sample_pairs(chat, prompts, **few)",
    "score": "wb.score('reward', prompts, ['a crow'] * len(prompts), device='cpu')",
    "compare": "wb.compare(chat, 'ppo', prompts=prompts, reward='reward', **few)",
    "label": "wb.label(held, store, order='uncertain', reward='reward')",
    "browse": "wb.browse(train)",
    "playground": "wb.playground(chat, 'ppo', reward='reward')",
    "release": "wb.release()",
    "gold_labels": "wb.gold_labels(held, store)",
    "gold_score": "wb.gold_score('Please explain what a crow is.', 'A crow is a bird.')",
    "quality": "wb.quality(train, held)",
    "evaluate_reward": "wb.evaluate_reward('reward', held, device='cpu')",
    "why": "wb.why('reward', 'Please explain what a crow is.', 'A crow is a bird.', device='cpu')",
    "why_rose": "wb.why_rose('ppo')",
    "influence": "wb.influence('reward')",
    "relabel_and_retrain": "wb.relabel_and_retrain('reward', "
    "leave_out=wb.influence('reward').blamed(4), heldout=held)",
    "learning_curve": "wb.learning_curve(chat, train, [16, 32], heldout=held, steps=2, "
    "batch_size=8, device='cpu')",
    "best_of_n": "wb.best_of_n(chat, 'reward', prompts, [1, 2, 4], **few)",
    "frontier": "wb.frontier(chat, train, prompts * 4, ['dpo', 'best_of_n'], seeds=1, "
    "prices=[0.1], budget=32, reward='reward', heldout_reward='reward', device='cpu')",
    "overoptimisation": "wb.overoptimisation('ppo')",
    "analytic_check": "wb.analytic_check()",
    "plan": "wb.plan(chat)",
    "preflight": "wb.preflight(chat, 'reward', prompts=prompts, **few)",
    "verify": "wb.verify(chat, minutes=0.5, device='cpu')",
    "next_round": "wb.next_round('ppo', store, pairs=4)",
    "export_model": "wb.export_model('sft', 'plain')",
    "report": "wb.report('ppo')",
    "share": "wb.share('ppo')",
    "microscope": "wb.microscope('ppo')",
    "loss_explorer": "wb.loss_explorer('reward')",
    "sample_dir": "wb.sample_dir()",
}
NEEDED = ("train_sft", "train_reward", "train_ppo")  # what the others ask about


def longest_silence(code: str, folder: Path) -> tuple[float, float]:
    """The longest time without a byte, and the whole time, of code after the set-up. [s]"""
    lines = [SET_UP, f"print({BEGIN.decode()!r}, flush=True)", code]
    script = folder / "verb.py"
    script.write_text("\n".join([*lines, f"print({END.decode()!r}, flush=True)"]))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        own = {f"WORKBENCH_{name.upper()}": str(folder / name) for name in ("runs", "locks")}
        os.environ |= {"TERM": "xterm", **own}
        os.execv(sys.executable, [sys.executable, str(script)])
    seen, silence, begun, last = b"", 0.0, 0.0, 0.0
    while True:
        ready, _, _ = select.select([terminal], [], [], 0.05)
        now = time.monotonic()
        try:
            part = os.read(terminal, 65536) if ready else b""
        except OSError:  # the terminal's other end is closed
            part, ready = b"", []
            if os.waitpid(pid, os.WNOHANG)[0]:
                break
        if not part:
            continue
        before = BEGIN in seen
        seen += part
        if before:
            silence = max(silence, now - last)
        elif BEGIN in seen:
            begun = now
        last = now
        if END in seen:
            os.waitpid(pid, 0)
            return silence, now - begun
    raise RuntimeError(seen.decode(errors="replace")[-3000:])


def table(results: dict) -> str:
    """The table in RESULTS.md."""
    rows = [
        f"| `{verb}` | {figures['seconds']:.1f} | {figures['silence']:.2f} |"
        for verb, figures in results["verbs"].items()
    ]
    about = results["about"]
    of = {name: {row[name] for row in results["verbs"].values()} for name in ("commit", "load")}
    commits = ", ".join(sorted(of["commit"]))
    return "\n".join(
        [
            "| verb | seconds in all | longest silence, s (promised: at most 1.5) |",
            "|---|---|---|",
            *rows,
            "",
            f"Load average {min(of['load'])} to {max(of['load'])}. Machine: {about['machine']}, "
            f"Python {about['python']}; commit {commits}, {about['date']}. Written by "
            "`tests/benchmarks/silence.py`.",
        ]
    )


def main() -> int:
    """Measure, write, and say whether what is promised holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(VERBS))
    args = parser.parse_args()
    about = machine()
    measured: dict = {}
    with tempfile.TemporaryDirectory(prefix="silence-") as folder:
        for verb, code in VERBS.items():
            if args.only and verb not in args.only and verb not in NEEDED:
                continue
            silence, seconds = longest_silence(code, Path(folder))
            load = round(os.getloadavg()[0], 1)
            figures = {"silence": round(silence, 2), "seconds": round(seconds, 1), "load": load}
            measured[verb] = {**figures, "commit": about["commit"]}
            print(f"{verb}: {silence:.2f} s silent of {seconds:.1f} s", flush=True)
    known = json.loads(RESULTS.read_text())["silence"]["verbs"] | measured
    results = {"about": about, "verbs": {verb: known[verb] for verb in VERBS if verb in known}}
    print(table(results))
    record({"silence": results})
    tell("silence", table(results))
    return int(any(figures["silence"] > LIMIT for figures in measured.values()))


if __name__ == "__main__":
    sys.exit(main())
