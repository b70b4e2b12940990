"""What must hold before a long run, looked at on the model and machine it will have."""

import html
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.presets import preset_settings
from workbench.runs import run_job
from workbench.settings import PPOSettings
from workbench.verbs.load_data import load_prompts
from workbench.verbs.model_names import Model, model_name
from workbench.verbs.plain_prompts import PROMPTS
from workbench.verbs.reward_specs import reward_given

if TYPE_CHECKING:
    from pandas import DataFrame


class Preflight:
    """What was checked, and what to do where it does not hold; in a notebook a table.

    Attributes:
        checks: ``name``, ``passed``, ``found`` and ``fix`` of each.
    """

    def __init__(self, checks: list[dict[str, Any]]) -> None:
        self.checks = checks

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

    def _repr_html_(self) -> str:
        rows: list[str] = []
        for check in self.checks:
            mark = "✓" if check["passed"] else "✗"
            colour = "#1a7f37" if check["passed"] else "#cf222e"
            cells = [check["name"], check["found"], "" if check["passed"] else check["fix"]]
            told = "".join(f"<td style='text-align:left'>{html.escape(c)}</td>" for c in cells)
            rows.append(f"<tr><td style='color:{colour}'><b>{mark}</b></td>{told}</tr>")
        return f"<table>{''.join(rows)}</table><p><b>{html.escape(self.verdict)}</b></p>"


def preflight(
    model: Model,
    reward: Any,
    settings: PPOSettings | None = None,
    *,
    prompts: Any = None,
    preset: str | None = None,
    **changes: Any,
) -> Preflight:
    """Check on one short update, in a process of its own, what must hold in a long PPO run.

    Args:
        model: the policy.
        reward: what :func:`train_ppo` takes.
        settings: of the run; PPO's defaults where it is None.
        prompts: what :func:`load_prompts` reads; a few plain ones where it is None.
        preset: settings for a card, by name (:func:`presets`).
        changes: settings by name, over those.

    Raises:
        WorkbenchError: what the run itself would raise at its start.
    """
    base = settings.to_dict() if settings is not None else {}
    checked = PPOSettings.from_dict(preset_settings(preset, {**base, **changes}))
    given = reward_given(reward)
    asked = list(PROMPTS) if prompts is None else prompts
    with tempfile.TemporaryDirectory(prefix="workbench-preflight-") as made:
        for name, content in given.files.items():
            (Path(made) / name).write_bytes(content)
        request = {
            "model": model_name(model),
            "reward": given.spec,
            "prompts": list(load_prompts(asked)),
            "settings": checked.to_dict(),
            "folder": made,
        }
        return Preflight(run_job("preflight", request)["checks"])
