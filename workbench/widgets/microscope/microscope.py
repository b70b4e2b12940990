"""The microscope: one recorded answer of one update, token by token, with sliders."""

import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.errors import ConfigError, DataError
from workbench.html_table import table
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.why_score import shown_why
from workbench.widgets.kit.wire import outgoing
from workbench.widgets.microscope.formulas import (
    PPO_ROWS,
    SFT_ROWS,
    Compute,
    TokenRow,
    plain,
    sft_steps,
    verdict_ppo,
    verdict_sft,
    worked_ppo,
    worked_sft,
)

if TYPE_CHECKING:
    from pandas import DataFrame


class Slider(NamedTuple):
    """One number that a person moves.

    Attributes:
        name: of the setting.
        sign: as the formulas write it.
        words: what it is.
        low, high, step: where the slider can stand.
    """

    name: str
    sign: str
    words: str
    low: float
    high: float
    step: float


SLIDERS = (
    Slider("kl_coef", "β", "charge a nat", 0.0, 1.0, 0.005),
    Slider("gamma", "γ", "discount a token", 0.8, 1.0, 0.005),
    Slider("lam", "λ", "how far a surprise reaches back", 0.0, 1.0, 0.01),
    Slider("clip_range", "ε", "how far the ratio may go to profit", 0.01, 0.5, 0.01),
    Slider("paid", "score", "paid at the end", -5.0, 5.0, 0.05),
)
RANKS = {"best": 0, "middle": 1, "worst": 2}


class Microscope(LoadedWidget):
    """One answer of one update of a run, taken apart; moving a slider computes it again.

    ``step``, ``rank``, ``token`` and ``settings`` say what is shown; :attr:`frame` has its
    numbers, as the sliders stand.
    """

    _script = "widgets/microscope/microscope.js"
    _styles = ("widgets/microscope/microscope.css",)

    def __init__(
        self,
        records: Callable[[], Sequence[dict[str, Any]]],
        compute: Compute,
        *,
        name: str,
        kind: str,
        explain: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        """Show the last update's best answer first.

        Args:
            records: reads the recorded answers, oldest first; asked again as the run goes on.
            compute: PPO's steps of a record under given settings.
            name: of the run, for the heading.
            kind: ``ppo`` or ``sft``.
            explain: says why a record's answer has its score, in a while; None: nobody can.

        Raises:
            DataError: nothing was recorded.
        """
        self._read, self._compute, self.name, self.kind = records, compute, name, kind
        self._explain, self._whys = explain, dict[tuple[int, str], dict[str, Any]]()
        self.explaining: threading.Thread | None = None
        self._rows: list[dict[str, Any]] = []
        self._changed: dict[str, float] = {}
        self.token = 0
        self._load()
        if not self._rows:
            raise DataError(
                "this run has recorded no answer token by token",
                where=f"tokens.jsonl of {name}",
                fix="runs before version 0.2, and ones with watch_every=0, record none; "
                "train again, or look at wb.microscope() of the embedded model",
            )
        self._show(self._rows[-1]["step"], "best")
        super().__init__()

    # --- what is shown

    @property
    def step(self) -> int:
        """The update whose answer is shown."""
        return int(self._record["step"])

    @property
    def rank(self) -> str:
        """Which answer of the update: ``best``, ``middle`` or ``worst`` by score."""
        return str(self._record.get("rank", ""))

    @property
    def steps(self) -> list[int]:
        """The updates that were recorded."""
        return sorted({int(row["step"]) for row in self._rows})

    @property
    def record(self) -> dict[str, Any]:
        """The answer as the run recorded it."""
        return dict(self._record)

    @property
    def settings(self) -> dict[str, float]:
        """Where the sliders stand; at first where the run stood. Empty for fine-tuning."""
        if self.kind != "ppo":
            return {}
        return {s.name: self._changed.get(s.name, float(self._record[s.name])) for s in SLIDERS}

    @property
    def frame(self) -> "DataFrame":
        """One row a token: its text and the number of every row, as the sliders stand."""
        import pandas as pd

        columns = {"token": list(self._record["tokens"]), **self._numbers()}
        return pd.DataFrame(columns)

    def show(self, step: int, rank: str = "best") -> "Microscope":
        """Go to an update's answer; the sliders go back to where that update stood.

        Raises:
            ConfigError: that update recorded nothing, or there is no such answer.
        """
        self._load()
        self._show(step, rank)
        self._tell_pages()
        return self

    def set(self, **settings: float) -> "Microscope":
        """Move sliders, by the settings' names: ``microscope.set(kl_coef=0.3, lam=0.9)``.

        Raises:
            ConfigError: there is no such slider, or the number is outside of what makes sense.
        """
        bounds = {s.name: s for s in SLIDERS} if self.kind == "ppo" else {}
        for name, value in settings.items():
            if name not in bounds:
                raise ConfigError(
                    f"the microscope has no slider {name}",
                    where=f"microscope of a {self.kind} run",
                    fix=f"these can be moved: {', '.join(bounds) or 'none'}",
                )
            number = float(value)
            top = math.inf if name in ("kl_coef", "paid") else bounds[name].high
            low = -math.inf if name == "paid" else 0.0
            if not (math.isfinite(number) and low <= number <= top):
                raise ConfigError(
                    f"{name} = {value} makes no sense here",
                    where="microscope.set",
                    fix=f"give a number from {low:g} to {top:g}",
                )
            self._changed[name] = number
        self._tell_pages()
        return self

    def reset(self) -> "Microscope":
        """Put every slider back to where the run stood."""
        self._changed.clear()
        self._tell_pages()
        return self

    def picture(self) -> str:
        """The rows as an HTML table, one column a token."""
        numbers = self._numbers()
        rows = [[row.title, *map(plain, numbers[row.key])] for row in self._shown_rows()]
        return table(rows, heads=["", *map(str, self._record["tokens"])], row_head=0)

    # --- how it comes about

    def _load(self) -> None:
        self._rows = list(self._read()) or self._rows

    def _show(self, step: int, rank: str) -> None:
        of_step = [row for row in self._rows if row["step"] == step]
        if not of_step:
            known = self.steps
            raise ConfigError(
                f"nothing was recorded of update {step}",
                where=f"microscope of {self.name}",
                fix=f"these were: {', '.join(map(str, known[:12]))}"
                + (f", … to {known[-1]}" * (len(known) > 12)),
            )
        named = [row for row in of_step if row.get("rank", "") == rank]
        if not named and rank not in RANKS:
            raise ConfigError(
                f"there is no answer called {rank!r}",
                where=f"update {step} of {self.name}",
                fix=f"these are: {', '.join(str(row.get('rank', '')) for row in of_step)}",
            )
        self._record = (named or of_step)[0]
        self._changed.clear()
        self.token = min(self.token, len(self._record["tokens"]) - 1)

    def _numbers(self) -> dict[str, list[float]]:
        if self.kind != "ppo":
            return sft_steps(self._record)
        rows = self._compute(self._record, **self.settings)
        return {name: list(row) for name, row in rows.items() if row is not None}

    def _shown_rows(self) -> list[TokenRow]:
        if self.kind != "ppo":
            return list(SFT_ROWS)
        without = () if "values" in self._record else ("value", "delta")
        rows = [row for row in PPO_ROWS if row.key not in without]
        if without:
            formula = {
                "rloo": "A = R − mean R of the other answers",
                "group": "A = (R − mean) ÷ deviation of the group",
            }[str(self._record["advantage"])]
            rows = [r._replace(formula=formula) if r.key == "advantage" else r for r in rows]
        return rows

    def _state(self) -> dict[str, Any]:
        """Everything that a page shows."""
        record, numbers = self._record, self._numbers()
        at, tokens = self.token, [str(token) for token in record["tokens"]]
        rows = [{**row._asdict(), "numbers": numbers[row.key]} for row in self._shown_rows()]
        of_step = [row for row in self._rows if row["step"] == record["step"]]
        state: dict[str, Any] = {
            "type": "state",
            "kind": self.kind,
            "name": outgoing(self.name),
            "steps": self.steps,
            "step": self.step,
            "rank": self.rank,
            "ranks": [
                {"rank": row["rank"], "score": row["score"]} for row in of_step if "rank" in row
            ],
            "prompt": outgoing(str(record.get("prompt", ""))),
            "tokens": [outgoing(token) for token in tokens],
            "token": at,
            "rows": rows,
            "explains": self._explain is not None,
            "why": self._whys.get((self.step, self.rank)),
        }
        if self.kind == "ppo":
            used = self.settings
            lines = worked_ppo(numbers, record, used, at)
            verdict = verdict_ppo(numbers, tokens, at)
            ratio, eps = numbers["ratio"], used["clip_range"]
            state |= {
                "sliders": [
                    {**s._asdict(), "value": used[s.name], "recorded": float(record[s.name])}
                    for s in SLIDERS
                ],
                "clipped": [
                    high < low
                    for low, high in zip(numbers["unclipped"], numbers["clipped"], strict=True)
                ],
                "sums": {
                    "score": float(record["score"]),
                    "kl": float(record["kl"]),
                    "charge": sum(numbers["charge"]),
                    "reward": sum(numbers["reward"]),
                    "clipped": sum(abs(r - 1) > eps for r in ratio) / len(ratio),
                },
            }
        else:
            lines, verdict = worked_sft(record, at), verdict_sft(record, at)
            learned = [
                n for n, flag in zip(numbers["loss"], numbers["learned"], strict=True) if flag
            ]
            state |= {
                "before": [outgoing(str(token)) for token in record["prompt_tokens"]],
                "expected": [
                    [outgoing(str(text)), float(share)] for text, share in record["expected"][at]
                ],
                "sums": {
                    "loss": sum(learned) / max(1, len(learned)),
                    "learned": len(learned),
                },
            }
        shown = {row["key"] for row in rows}
        return state | {
            "worked": {key: outgoing(line) for key, line in lines.items() if key in shown},
            "verdict": outgoing(verdict),
        }

    def _begin_to_explain(self) -> None:
        """Have the shown answer taken apart in a thread, one at a time and each once."""
        place = self.step, self.rank
        busy = self.explaining is not None and self.explaining.is_alive()
        if self._explain is None or busy or "parts" in self._whys.get(place, {}):
            return
        ask, record = self._explain, self.record

        def work() -> None:
            self._whys[place] = shown_why(ask, record)
            self._tell_pages()

        self._whys[place] = {"phase": "taking the answer apart"}
        self._tell_pages()
        self.explaining = threading.Thread(target=work, name="why", daemon=True)
        self.explaining.start()

    def _tell_pages(self) -> None:
        self._say(self._state())

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any] | None:
        kind = content.get("type")
        if kind == "set":
            self.set(**{str(content["name"]): float(content["value"])})
        elif kind == "choose":
            self.show(int(content["step"]), str(content["rank"]))
        elif kind == "token":
            self.token = max(0, min(int(content["token"]), len(self._record["tokens"]) - 1))
            self._tell_pages()
        elif kind == "reset":
            self.reset()
        elif kind == "why":
            self._begin_to_explain()
        elif kind == "ready":
            self._load()
            return self._state()
        return None
