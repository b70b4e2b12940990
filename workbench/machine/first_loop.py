"""The smallest loop from end to end: pairs, a reward model, PPO, answers, on the embedded model."""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.machine.findings import MachineFact
from workbench.progress import tell
from workbench.runs import Run
from workbench.verbs.train import finished

MODEL = "builtin:tiny-chat"
PAIRS, PROMPTS, ASKED = 64, 16, 2
REWARD: dict[str, Any] = {"steps": 4, "batch_size": 8}
PPO: dict[str, Any] = {"steps": 2, "batch_size": 8, "watch_prompts": 2}
_RATIO = 1e-3
"""How far from 1 the first ratio may be."""


def first_loop() -> list[MachineFact]:
    """Go through it in a temporary folder, which is gone afterwards.

    Returns:
        A fact a part; the first that fails is the last.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-self-test-") as folder:
        loop = _Loop(Path(folder))
        findings: list[MachineFact] = []
        for name, part in loop.parts():
            tell(f"self-test: {name}")
            findings.append(_tried(f"self-test, {name}", part))
            if findings[-1].state == "failed":
                break
        return findings


def _tried(name: str, part: Callable[[], str]) -> MachineFact:
    began = time.monotonic()
    try:
        outcome = part()
    except WorkbenchError as error:
        where = f" ({error.where})" if error.where else ""
        return MachineFact(name, "failed", f"{error.what}{where}", error.fix)
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        return MachineFact(name, "failed", words, "please report it, with all that is above")
    return MachineFact(name, "ok", f"{outcome}, {time.monotonic() - began:.0f} s")


class _Loop:
    """The parts of the loop; what one of them makes, the next ones find as attributes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.prompts: Any = None
        self.reward: Run | None = None
        self.ppo: Run | None = None

    def parts(self) -> list[tuple[str, Callable[[], str]]]:
        """Each part's name and function, in their order."""
        return [
            ("reading", self._read),
            ("reward model", self._train_reward),
            ("PPO", self._train_ppo),
            ("answers", self._answers),
        ]

    def _read(self) -> str:
        pairs = wb.load_pairs("sample:pairs_train")
        self.rows = pairs.training_rows()[:PAIRS]
        self.prompts = list(wb.load_prompts("sample:prompts_ppo"))[:PROMPTS]
        return f"{len(pairs)} pairs"

    def _train_reward(self) -> str:
        self.reward = wb.train_reward(MODEL, self.rows, name=str(self.folder / "reward"), **REWARD)
        last = _last(finished(self.reward), "loss")
        return f"{REWARD['steps']} steps, loss {last['loss']:.2f}"

    def _train_ppo(self) -> str:
        name = str(self.folder / "ppo")
        self.ppo = wb.train_ppo(MODEL, self.reward, self.prompts, name=name, **PPO)
        last = _last(finished(self.ppo), "objective/kl", "objective/scores", "policy/first_ratio")
        ratio = last["policy/first_ratio"]
        if abs(ratio - 1) > _RATIO:
            raise ValueError(f"the ratio before an update is {ratio:.6f} and must be 1")
        return (
            f"{PPO['steps']} updates, first ratio {ratio:.6f}, KL {last['objective/kl']:.3f} nats"
        )

    def _answers(self) -> str:
        assert self.ppo is not None
        answered = wb.sample_pairs(self.ppo, self.prompts[:ASKED])
        return f"{len(answered)} of {ASKED} prompts with two different answers"


def _last(run: Run, *names: str) -> dict[str, float]:
    """A finished run's last numbers.

    Raises:
        ValueError: it did not finish, or one of them is none.
    """
    if run.status != "finished":
        raise ValueError(f"the run is {run.status}: {run.folder.status()['error']}")
    row = run.metrics().iloc[-1].to_dict()
    for name in names:
        value = row.get(name)
        if value is None or not math.isfinite(value):
            raise ValueError(f"{name} is {value} in the last step")
    return {name: float(row[name]) for name in names}
