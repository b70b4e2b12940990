"""Answers of two or more models to the same prompts, beside each other."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import traitlets

from workbench.analysis.blind_comparison import item_of
from workbench.errors import ConfigError, DataError
from workbench.html_table import table
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.texts import as_text
from workbench.widgets.kit.wire import fault, outgoing

if TYPE_CHECKING:
    from workbench.data.store.labels import LabelStore

_NAMES = {"gold": "gold score", "score": "reward score"}
_MEASURES = tuple(_NAMES)
_MOST = 2_000  # rows that travel
_CUT = 20_000  # characters of one answer that travel
STILL = 5  # rows of the still table
SAME = 1e-6  # a gain below this is none


class CompareView(LoadedWidget):
    """Before and after: the same prompts, each model's answer, what changed and what it gained.

    The gain is the last model's measure minus the first's. ``selected`` is the row that is open,
    as numbered in ``rows``.

    Args:
        rows: ``{"prompt": text or messages, "answers": [{"model", "text", "score", "gold"}, …]}``;
            an answer for each label, in their order; score and gold may be absent.
        labels: what the models are called; None takes the names in the first row.
        queue: the store to whose queue a key sends the row that is open; None: there is none.
        annotator: who sends it.

    Raises:
        DataError: there are no rows, or a row has not one answer for each label.
    """

    _script = "widgets/compare/compare.js"
    _styles = ("widgets/compare/compare.css",)

    selected = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        labels: Sequence[str] | None = None,
        *,
        queue: "LabelStore | None" = None,
        annotator: str = "me",
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
        self._prompts = [_messages(row) for row in rows]
        self.queue, self.annotator = queue, annotator
        super().__init__()

    @property
    def measures(self) -> list[str]:
        """Which of gold and score every answer has."""
        return [
            name
            for name in _MEASURES
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

    def send_to_labeller(self, index: int) -> bool:
        """Send a row's answers to the labeller's queue, to be judged blind.

        Returns:
            False where they wait already, or have a label.

        Raises:
            ConfigError: the view knows no label store.
            DataError: all answers are the same text.
        """
        if self.queue is None:
            raise ConfigError(
                "this comparison knows no label store to send the answers to",
                where="wb.compare",
                fix="give queue=wb.LabelStore('labels.sqlite')",
            )
        row = {**self.rows[index], "messages": self._prompts[index]}
        item, _ = item_of(row, self.labels)
        if item is None:
            raise DataError(
                "all answers are the same text: there is nothing to judge",
                where=f"row {index}",
                fix="send a row on which they differ",
            )
        return self.queue.send(item, self.annotator, "comparison")

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any] | None:
        if content.get("type") == "ready":
            return self.message()
        return self.queued(content) if content.get("type") == "queue" else None

    def queued(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send the row that the page names; what became of it, for the page."""
        index = int(message["index"])
        try:
            sent = self.send_to_labeller(index)
        except Exception as error:  # shown where the person looks
            return {"type": "queued", "index": index, "fault": fault(error)}
        return {"type": "queued", "index": index, "sent": sent}

    def message(self) -> dict[str, Any]:
        """What the page shows."""
        return {
            "type": "rows",
            "labels": [outgoing(label) for label in self.labels],
            "count": len(self.rows),
            "rows": [_travelling(row) for row in self.rows[:_MOST]],
            "measures": self.measures,
            "queues": self.queue is not None,
            "means": self.summary(),
            "verdicts": {name: self.verdicts(name) for name in self.measures},
        }

    def picture(self) -> str:
        """The means and the first rows as an HTML table."""
        means = [
            ", ".join(f"{_NAMES[name]} {row[name]:.3f}" for name in self.measures)
            for row in self.summary()
        ]
        lines = [["mean", *means]] + [
            [row["prompt"][:500], *(answer["text"][:500] for answer in row["answers"])]
            for row in self.rows[:STILL]
        ]
        cells = "style='text-align:left;vertical-align:top;white-space:pre-wrap'"
        return table(lines, cells, heads=("prompt", *self.labels))


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
            {"text": as_text(answer.get("text")), **{n: answer.get(n) for n in _MEASURES}}
            for answer in answers
        ],
    }


def _messages(row: Mapping[str, Any]) -> list[Any]:
    """A row's prompt as messages."""
    prompt = row.get("messages") or row.get("prompt")
    return prompt if isinstance(prompt, list) else [{"role": "user", "content": as_text(prompt)}]


def _travelling(row: dict[str, Any]) -> dict[str, Any]:
    answers = [{**answer, "text": outgoing(answer["text"][:_CUT])} for answer in row["answers"]]
    return {"prompt": outgoing(row["prompt"][:_CUT]), "answers": answers}
