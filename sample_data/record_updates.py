"""Records the PPO updates that ``wb.microscope()`` shows where no run is given.

    python sample_data/record_updates.py

Trains a reward model on the sample pairs and PPO against it, on the embedded model, and keeps a
few answers of every tenth update, token by token, in ``microscope.jsonl.gz``. Minutes on a CPU.
"""

import gzip
import os
import tempfile
from pathlib import Path

import workbench as wb

MODEL = "builtin:tiny-chat"
KEPT = Path(__file__).parent / "microscope.jsonl.gz"


def main() -> None:
    """Train in a folder of its own, and keep what was recorded."""
    with tempfile.TemporaryDirectory(prefix="workbench-record-") as folder:
        os.environ["WORKBENCH_RUNS"] = f"{folder}/runs"
        os.environ["WORKBENCH_LOCKS"] = f"{folder}/locks"
        reward = wb.train_reward(MODEL, "sample:pairs_train", name="reward").wait()
        steps = {"steps": 100, "watch_every": 10, "watch_prompts": 1}
        run = wb.train_ppo(MODEL, reward, "sample:prompts_ppo", name="ppo", **steps).wait()
        recorded = (run.folder.path / "tokens.jsonl").read_bytes()
        KEPT.write_bytes(gzip.compress(recorded, mtime=0))
    print(f"{KEPT.name}: {KEPT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
