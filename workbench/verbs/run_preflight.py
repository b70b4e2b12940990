"""What must hold before a long run, looked at on the model and machine it will have."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.plain_prompts import PLAIN_PROMPTS
from workbench.html_table import Html, table
from workbench.progress import working
from workbench.reports.report import COMPACT, LEFT, ReportPage, state_cell
from workbench.runs import run_job
from workbench.settings import PPOSettings
from workbench.verbs.load_data import load_prompts
from workbench.verbs.model_names import Model, check_model, check_preset, model_name
from workbench.verbs.plan_memory import MemoryPlan
from workbench.verbs.reward_specs import check_reward, ship_reward

if TYPE_CHECKING:
    from pandas import DataFrame


class Preflight(ReportPage):
    """What was checked, and what to do where it does not hold; in a notebook a table.

    Attributes:
        checks: ``name``, ``passed``, ``found`` and ``fix`` of each.
        load: seconds from the start of its process to its first update.
        updates: answers of an update, and the seconds that it will take by the short update that
            was made; the settings' number first, then ever fewer.
    """

    def __init__(
        self,
        checks: list[dict[str, Any]],
        load: float = 0.0,
        updates: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.checks, self.load, self.updates = checks, load, list(updates)
        super().__init__(self.verdict)

    @property
    def passed(self) -> bool:
        """Whether all hold."""
        return all(check["passed"] for check in self.checks)

    @property
    def frame(self) -> "DataFrame":
        """A row a check."""
        import pandas as pd

        return pd.DataFrame(self.checks).set_index("name")

    @property
    def verdict(self) -> str:
        """One sentence."""
        red = sum(not check["passed"] for check in self.checks)
        return f"{red} of {len(self.checks)} checks failed" if red else "ready: all checks hold"

    def __repr__(self) -> str:
        lines: list[str] = []
        for check in self.checks:
            lines.append(
                f"{'ok  ' if check['passed'] else 'FAIL'}  {check['name']}: {check['found']}"
            )
            if not check["passed"]:
                lines.append(f"      to do: {check['fix']}")
        return "\n".join([*lines, self.verdict])

    def _table(self) -> Html:
        marks = {True: state_cell("ok"), False: state_cell("failed")}
        return table(self.rows(marks), LEFT, attributes=COMPACT)

    def rows(self, marks: Mapping[bool, str]) -> list[tuple[str, str, str, str]]:
        """A row a check: the mark of whether it holds, its name, what was found, what to do."""
        return [
            (marks[c["passed"]], c["name"], c["found"], "" if c["passed"] else c["fix"])
            for c in self.checks
        ]


@working("preflight")
def preflight(
    model: Model,
    reward: Any,
    settings: PPOSettings | None = None,
    *,
    prompts: Any = None,
    preset: str | None = None,
    timeout: float | None = None,
    planned: MemoryPlan | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    **changes: Any,
) -> Preflight:
    """Check on one short update, in a process of its own, what must hold in a long PPO run.

    Args:
        model: the policy.
        reward: what :func:`train_ppo` takes.
        settings: of the run; PPO's defaults where it is None.
        prompts: what :func:`load_prompts` reads; a few plain ones where it is None.
        preset: settings for a card, by name (:func:`presets`).
        timeout: it is ended after so long [s]; None lets it take its time.
        planned: what :func:`plan` said of this model and these settings, where that is known.
        on_progress: told how far it is: ``done``, ``total``, ``text``.
        changes: settings by name, over those.

    Raises:
        WorkbenchError: what the run itself would raise at its start.
        RunError: it took longer than ``timeout``.
    """
    base = settings.to_dict() if settings is not None else {}
    checked = check_preset(preset, {**base, **changes})
    check_model(model, "model", "answers")
    check_reward(reward)
    messages = list(load_prompts(PLAIN_PROMPTS if prompts is None else prompts))
    shipped = ship_reward(reward)
    with tempfile.TemporaryDirectory(prefix="workbench-preflight-") as folder:
        for name, content in shipped.files.items():
            (Path(folder) / name).write_bytes(content)
        request = {
            "model": model_name(model),
            "reward": shipped.spec,
            "prompts": messages,
            "settings": checked.to_dict(),
            "folder": folder,
            "planned": None if planned is None else planned.facts["parts"],
        }
        began, heard = time.monotonic(), list[float]()

        def hear(row: dict[str, Any]) -> None:
            heard.append(time.monotonic() - began)
            if on_progress is not None:
                on_progress(row)

        result = run_job("preflight", request, timeout=timeout, on_progress=hear)
        start = min(heard, default=0.0)  # of the process, until it begins to load
        return Preflight(result["checks"], start + result["load"], result["updates"])
