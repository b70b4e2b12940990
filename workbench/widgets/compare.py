"""Answers of two or more models to the same prompts, beside each other."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any

import anywidget
import traitlets

from workbench.errors import DataError
from workbench.widgets import theme
from workbench.widgets.shells import answer_from_any_thread
from workbench.widgets.texts import as_text
from workbench.widgets.wire import outgoing

MEASURES = ("gold", "score")
MOST = 2_000  # rows that travel
CUT = 20_000  # characters of one answer that travel
STILL = 5  # rows of the still table
SAME = 1e-6  # a gain below this is none


class CompareView(anywidget.AnyWidget):
    """Before and after: the same prompts, each model's answer, what changed and what it gained.

    The gain is the last model's measure minus the first's. ``selected`` is the row that is open,
    as numbered in ``rows``.

    Args:
        rows: ``{"prompt": text or messages, "answers": [{"model", "text", "score", "gold"}, …]}``;
            an answer for each label, in their order; score and gold may be absent.
        labels: what the models are called; None takes the names in the first row.

    Raises:
        DataError: there are no rows, or a row has not one answer for each label.
    """

    _esm = theme.module("compare.js")
    _css = theme.style("compare.css")

    selected = traitlets.Int(0).tag(sync=True)

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], labels: Sequence[str] | None = None
    ) -> None:
        if not rows:
            raise DataError(
                "there is nothing to compare",
                where="rows is empty",
                fix="give at least one prompt with an answer of each model",
            )
        if labels is None:
            labels = [str(answer.get("model", "")) for answer in rows[0].get("answers", ())]
        self.labels = [str(label) for label in labels]
        self.rows = [_checked(row, i, self.labels) for i, row in enumerate(rows)]
        super().__init__()
        self.on_msg(self._on_message)
        answer_from_any_thread(self)

    @property
    def measures(self) -> list[str]:
        """Which of gold and score every answer has."""
        return [
            name
            for name in MEASURES
            if all(answer[name] is not None for row in self.rows for answer in row["answers"])
        ]

    def summary(self) -> list[dict[str, Any]]:
        """One row a model: its label, and its mean of each measure."""
        return [
            {
                "model": label,
                **{
                    name: fmean(row["answers"][i][name] for row in self.rows)
                    for name in self.measures
                },
            }
            for i, label in enumerate(self.labels)
        ]

    def gains(self, measure: str) -> list[float]:
        """Last model minus first, one value a row."""
        return [row["answers"][-1][measure] - row["answers"][0][measure] for row in self.rows]

    def verdicts(self, measure: str) -> dict[str, int]:
        """On how many rows the last model is better, the same and worse than the first."""
        gains = self.gains(measure)
        better, worse = sum(g > SAME for g in gains), sum(g < -SAME for g in gains)
        return {"better": better, "same": len(gains) - better - worse, "worse": worse}

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: list[bytes]) -> None:
        if message.get("type") == "ready":
            self.send({**self.message(), "to": message.get("view")})

    def message(self) -> dict[str, Any]:
        """What the page shows."""
        return {
            "type": "rows",
            "labels": [outgoing(label) for label in self.labels],
            "count": len(self.rows),
            "rows": [_travelling(row) for row in self.rows[:MOST]],
            "measures": self.measures,
            "means": self.summary(),
            "verdicts": {name: self.verdicts(name) for name in self.measures},
        }

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live view, and a table for places that cannot run one."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/html": self.still()}, metadata

    def still(self) -> str:
        """The table as HTML, without a live view."""
        head = "".join(f"<th>{escape(label)}</th>" for label in ("prompt", *self.labels))
        means = [
            ", ".join(f"{name} {row[name]:.3f}" for name in self.measures) for row in self.summary()
        ]
        lines = [["mean", *means]] + [
            [row["prompt"][:500], *(answer["text"][:500] for answer in row["answers"])]
            for row in self.rows[:STILL]
        ]
        cell = "<td style='text-align:left;vertical-align:top;white-space:pre-wrap'>{}</td>"
        body = "".join(
            f"<tr>{''.join(cell.format(escape(text)) for text in line)}</tr>" for line in lines
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _checked(row: Mapping[str, Any], index: int, labels: list[str]) -> dict[str, Any]:
    answers = row.get("answers") or ()
    if len(answers) != len(labels) or not labels:
        raise DataError(
            f"a row has {len(answers)} answers for {len(labels)} models",
            where=f"row {index}, models {', '.join(labels) or '(none)'}",
            fix="give one answer for each model, in the same order in every row",
        )
    return {
        "prompt": as_text(row.get("prompt")),
        "answers": [
            {"text": as_text(answer.get("text")), **{n: answer.get(n) for n in MEASURES}}
            for answer in answers
        ],
    }


def _travelling(row: dict[str, Any]) -> dict[str, Any]:
    answers = [{**answer, "text": outgoing(answer["text"][:CUT])} for answer in row["answers"]]
    return {"prompt": outgoing(row["prompt"][:CUT]), "answers": answers}
