"""The import form: a person says which column is which, sees three pairs, and has the pairs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from workbench.data.messages import plain_text
from workbench.data.pairs import Pair, Pairs
from workbench.data.reading.column_proposal import as_code, propose_columns
from workbench.data.reading.formats import first_rows, load_pairs
from workbench.data.reading.intake import import_records
from workbench.data.reading.own_columns import (
    OUTCOMES,
    explained,
    own_format,
    read_mapping,
    values_in,
)
from workbench.errors import ConfigError, WorkbenchError
from workbench.html_table import table
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.wire import fault, outgoing

if TYPE_CHECKING:
    from workbench.data.import_report import Report

PAIRS_SHOWN = 3  # pairs in the preview
TEXT_SHOWN = 700  # characters of a text in the preview
EXAMPLE_SHOWN = 90  # characters of a column's example
MOST_VALUES = 24  # different values of a label that are explained one by one


class ImportForm(LoadedWidget):
    """Leads from a file with unknown columns to pairs.

    Args:
        source: what :func:`workbench.load_pairs` reads.

    Attributes:
        columns: the mapping as it stands in the form; None while it is none, or where a known
            format fits and nothing was chosen.
        pairs: what was read, once it was.

    Raises:
        DataError: there is nothing to read.
        ConfigError: the source holds pairs already.
    """

    _script = "widgets/importer/import_form.js"
    _styles = ("widgets/importer/import_form.css",)

    def __init__(self, source: Any) -> None:
        super().__init__()
        if isinstance(source, Iterator):  # which can be read once alone
            source = list(cast("Iterator[Any]", source))
        self._source = source
        self._first = first_rows(source)
        self._rows = [record.fields for record in self._first.records if not record.bad]
        self._names = list(dict.fromkeys(str(name) for row in self._rows for name in row))
        known = self._first.format is not None
        self.columns: dict[str, Any] | None = None if known else propose_columns(self._rows)
        self.pairs: Pairs | None = None

    @property
    def code(self) -> str:
        """The line that reads the same pairs without the form."""
        if self.columns is None and self._first.format is None:
            return ""
        return as_code(self._source, self.columns)

    @property
    def report(self) -> "Report | None":
        """What became of every row; None before the import."""
        return None if self.pairs is None else self.pairs.report

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any] | None:
        kind = content.get("type")
        if kind == "ready":
            return {"type": "begin", **self._begin(), **self._state()}
        if kind == "choose":
            self.columns = self._mapping(content)
            return {"type": "state", **self._state()}
        if kind == "import":
            self.columns = self._mapping(content)
            return {"type": "state", **self._state(), **self._import()}
        return None

    def _begin(self) -> dict[str, Any]:
        """Return what does not change: the columns with an example each, and the proposal."""
        return {
            "name": outgoing(self._first.name),
            "format": None if self._first.format is None else self._first.format.name,
            "columns": [
                {"name": outgoing(name), "example": outgoing(_example(self._rows, name))}
                for name in self._names
            ],
            "choice": self._choice(),
        }

    def _choice(self) -> dict[str, Any]:
        """Return the mapping as the page holds it: columns by their places."""
        columns = self.columns or {}
        both = [columns[name] for name in ("chosen", "rejected") if name in columns]
        answers = both or columns.get("responses", [])
        return {
            "prompt": self._place(columns.get("prompt")),
            "answers": [self._place(name) for name in answers],
            "better": 0 if both else "column" if "label" in columns else "nobody",
            "label": self._place(columns.get("label")),
            "values": columns.get("values", {}),
            "system": self._place(columns.get("system")),
            "annotator": self._place(columns.get("annotator")),
        }

    def _place(self, name: str | None) -> int | None:
        return self._names.index(name) if name in self._names else None

    def _mapping(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the mapping that the page holds; None where it is not whole."""

        def named(place: Any) -> str | None:
            fits = isinstance(place, int) and 0 <= place < len(self._names)
            return self._names[place] if fits else None

        answers = [name for name in map(named, content.get("answers") or []) if name is not None]
        better, label = content.get("better"), named(content.get("label"))
        if len(answers) < 2 or len(set(answers)) < len(answers):
            return None
        columns: dict[str, Any] = {}
        if (prompt := named(content.get("prompt"))) is not None:
            columns["prompt"] = prompt
        if better in (0, 1) and len(answers) == 2:
            columns["chosen"], columns["rejected"] = answers[better], answers[1 - better]
        else:
            columns["responses"] = answers
        if better == "column" and label is None:
            return None
        if better == "column":
            columns["label"] = label
            values = _explained_by_hand(content.get("values"), answers)
            if values:
                columns["values"] = values
        for part in ("system", "annotator"):
            if (name := named(content.get(part))) is not None:
                columns[part] = name
        return columns

    def _state(self) -> dict[str, Any]:
        """Return what the mapping leads to: the label's values, three pairs, the line of code."""
        fmt, values = self._first.format, self._values()
        if self.columns is None and fmt is None:
            return {"values": [], "pairs": [], "left": [], "code": "", "problem": None}
        try:
            if self.columns is not None or fmt is None:
                fmt = own_format(self.columns or {}, self._rows, self._first.name)
            read = import_records(iter(self._first.records), fmt, self._first.name)
        except WorkbenchError as error:
            return {
                "values": values,
                "pairs": [],
                "left": [],
                "code": "",
                "problem": fault(error),
            }
        aside = [
            {"reason": outgoing(reason), "rows": rows}
            for reason, rows in read.report.quarantined.items()
        ]
        return {
            "values": values,
            "pairs": [_shown(pair) for pair in read[:PAIRS_SHOWN]],
            "left": aside,
            "looked": len(self._first.records),
            "code": outgoing(self.code),
            "problem": None,
        }

    def _values(self) -> list[dict[str, Any]]:
        """Return the values of the label's column, each with what it says so far."""
        columns = self.columns or {}
        if "label" not in columns:
            return []
        counts = values_in(self._rows, columns["label"])
        if len(counts) > MOST_VALUES:
            return []
        plain = read_mapping({name: part for name, part in columns.items() if name != "values"})
        outcomes = {**explained(plain, self._rows), **columns.get("values", {})}
        choices = [*columns["responses"], *OUTCOMES]
        return [
            {
                "value": outgoing(value),
                "rows": rows,
                "means": choices.index(outcomes[value]) if outcomes.get(value) in choices else None,
            }
            for value, rows in counts.items()
        ]

    def _import(self) -> dict[str, Any]:
        """Read the whole source; what goes wrong is told where the person looks."""
        if self.columns is None and self._first.format is None:
            raise ConfigError(
                "the columns are not all named yet",
                where="the import form",
                fix="choose two different columns for the answers, and say which is better",
            )
        self.pairs = load_pairs(self._source, columns=self.columns)
        report = self.pairs.report
        labelled = sum(label is not None for label in self.pairs.labels())
        return {
            "done": {
                "items": len(self.pairs),
                "labelled": labelled,
                "report": outgoing(str(report).split("\n\n")[0]),
            }
        }

    def picture(self) -> str:
        """The columns with an example each, and the line of code, for a place without a kernel."""
        rows = ([name, _example(self._rows, name)] for name in self._names)
        code = table([[self.code]]) if self.code else ""
        return f"{table(rows, heads=('column', 'for example'))}{code}"


def _explained_by_hand(values: Any, answers: Sequence[str]) -> dict[str, str]:
    """Return what a person said of a label's values; the page sends the places of choices."""
    choices = [*answers, *OUTCOMES]
    by_hand: dict[str, str] = {}
    for value, place in cast("dict[str, Any]", values if isinstance(values, dict) else {}).items():
        if isinstance(place, int) and 0 <= place < len(choices):
            by_hand[str(value)] = choices[place]
    return by_hand


def _example(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    value = next((row[name] for row in rows if row.get(name) is not None), "")
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= EXAMPLE_SHOWN else text[: EXAMPLE_SHOWN - 1] + "…"


def _shown(pair: Pair) -> dict[str, Any]:
    """Return a pair for the preview: texts that are cut, and what the label says of each answer."""
    label = pair.label or {}
    winner = label.get("winner") if label.get("kind") == "choice" else None
    words = {"tie": "a tie", "both_bad": "both bad", "scores": "scored"}
    return {
        "prompt": _cut(plain_text(pair.prompt)),
        "answers": [_cut(plain_text(response)) for response in pair.responses],
        "winner": winner,
        "label": "" if winner is not None else words.get(str(label.get("kind")), "no label"),
    }


def _cut(text: str) -> str:
    return outgoing(text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…")
