"""The canonical record of a comparison, and the table of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, permutations
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from workbench.data import arrow_table
from workbench.data.comparisons import NO_PREFERENCE, comparisons, is_tie
from workbench.data.import_report import Report
from workbench.data.manifest import write_rows
from workbench.data.messages import Message, dump_messages, item_id, plain_text
from workbench.errors import ConfigError, DataError
from workbench.json_lines import dumps
from workbench.shown_results import FIRST_SHOWN, rows_as_html

if TYPE_CHECKING:
    from workbench.data.arrow_table import Frame

COLUMNS = ("id", "prompt", "responses", "label", "source", "meta")
_TIES = ("drop", "half")

Label = dict[str, Any]
Cells = tuple[Any, ...]  # a row of the table: id, then JSON text; the label's may be None


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison: a prompt and two or more responses, with the label that came with it.

    ``label`` is None or ``{"kind": "choice", "winner": i, "strength": n|None}``,
    ``{"kind": "tie"}``, ``{"kind": "both_bad"}``, ``{"kind": "rank", "ranks": [...]}`` or
    ``{"kind": "scores", "scores": [...]}``, with ``margin``, ``scores`` and ``annotator`` where
    known. ``winner`` is an index into ``responses``; ``ranks`` and ``scores`` have one value a
    response, None for one that has none: rank 1 is best and equal ranks tie; more score is better.
    """

    id: str
    prompt: list[Message]
    responses: list[list[Message]]
    label: Label | None
    source: dict[str, Any]
    meta: dict[str, Any]

    @classmethod
    def make(
        cls,
        prompt: list[Message],
        responses: list[list[Message]],
        *,
        label: Label | None = None,
        source: dict[str, Any] | None = None,
        meta: dict[str, Any] | None = None,
    ) -> "Pair":
        """Return a pair whose id is worked out from its texts."""
        return cls(item_id(prompt, responses), prompt, responses, label, source or {}, meta or {})

    def as_dict(self) -> dict[str, Any]:
        """Return the pair as plain JSON values."""
        return {name: getattr(self, name) for name in COLUMNS}


def cells_of(pair: Pair) -> Cells:
    """Return a pair as a row of the table: its six cells, nested values as JSON text."""
    return (
        pair.id,
        dump_messages(pair.prompt),
        dump_responses(pair.responses),
        None if pair.label is None else dumps(pair.label),
        dumps(pair.source),
        dumps(pair.meta),
    )


def dump_responses(responses: list[list[Message]]) -> str:
    """Return responses as JSON text."""
    return f"[{','.join(map(dump_messages, responses))}]"


def pair_of(cells: Cells) -> Pair:
    """Return the pair that :func:`cells_of` made a row of."""
    ident, prompt, responses, label, source, meta = cells
    return Pair(
        id=ident,
        prompt=loads(prompt),
        responses=loads(responses),
        label=None if label is None else loads(label),
        source=loads(source),
        meta=loads(meta),
    )


class Pairs:
    """A table of comparisons and the report of how it was read.

    ``frame`` has the columns ``id, prompt, responses, label, source, meta``; nested values are JSON
    text in Arrow memory, and ``label`` is missing where there is none. Iterating yields
    :class:`Pair`.

    Raises:
        DataError: the frame lacks one of the columns.
    """

    def __init__(self, frame: "Frame", report: Report | None = None) -> None:
        columns = arrow_table.column_names(frame)
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise DataError(
                f"the frame has no column {', '.join(missing)}",
                where=f"columns found: {', '.join(columns)}",
                fix="read it with load_pairs, which finds the format by the columns",
            )
        self.frame = frame
        self.report = report if report is not None else _plain_report(self)

    @classmethod
    def from_items(cls, items: Iterable[Pair], report: Report | None = None) -> "Pairs":
        """Return a table of the pairs as given, in that order."""
        return cls.from_cells(map(cells_of, items), report)

    @classmethod
    def from_cells(cls, rows: Iterable[Cells], report: Report | None = None) -> "Pairs":
        """Return a table of rows that :func:`cells_of` made."""
        grown = arrow_table.TextTable(COLUMNS)
        for cells in rows:
            grown.add(*cells)
        return cls(grown.frame(), report)

    def __len__(self) -> int:
        return len(self.frame)

    def __iter__(self) -> Iterator[Pair]:
        for start in range(0, len(self), arrow_table.ROWS_A_CHUNK):
            part = [
                arrow_table.texts(self.frame, name, start, start + arrow_table.ROWS_A_CHUNK)
                for name in COLUMNS
            ]
            for cells in zip(*part, strict=True):
                yield pair_of(cells)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...
    def __getitem__(self, index: int | slice) -> "Pair | Pairs":
        if isinstance(index, slice):
            return Pairs(arrow_table.rows_at(self.frame, index))
        position = range(len(self))[index]
        columns = [arrow_table.texts(self.frame, name, position, position + 1) for name in COLUMNS]
        return pair_of(tuple(column[0] for column in columns))

    def ids(self) -> list[str]:
        """Return the id of every item, in order."""
        return cast("list[str]", arrow_table.texts(self.frame, "id", 0, len(self)))

    def labels(self) -> list[Label | None]:
        """Return the label of every item, in order."""
        cells = arrow_table.texts(self.frame, "label", 0, len(self))
        return [None if cell is None else loads(cell) for cell in cells]

    def unlabelled(self) -> "Pairs":
        """Return the items without a label."""
        return Pairs(arrow_table.rows_without(self.frame, "label"))

    def training_rows(self, k_way: str = "all", *, ties: str = "drop") -> list[dict[str, Any]]:
        """Return the rows to train on: each item's comparisons, as :func:`choice_rows` gives them.

        Args:
            k_way: which pairs a ranking or scores of several responses give: "all", "best-worst"
                or "adjacent".
            ties: "drop" leaves a tie out; "half" takes it for each order of its responses.

        Raises:
            ConfigError: there is no such ``k_way`` or no such ``ties``.
            DataError: a label does not fit its item.
        """
        return [row for pair in self for row in choice_rows(pair, k_way, ties=ties)]

    def save(self, path: str | Path) -> Path:
        """Write the canonical JSONL, one item a line, which load_pairs reads back whole.

        A path that ends in ``.arrow`` gets the table as it stands in memory, with its report: a
        million items are open again at once, since nothing is read before it is looked at.
        """
        if Path(path).suffix == ".arrow":
            return arrow_table.save_table(self.frame, self.report, Path(path))
        source = {"name": self.report.source, "format": self.report.format}
        return write_rows(
            self, Path(path), lambda pair: [pair.as_dict()], format="canonical", source=source
        )

    def __repr__(self) -> str:
        labelled = arrow_table.filled(self.frame, "label")
        return f"Pairs({len(self):,} items, {labelled:,} labelled)"

    def _repr_html_(self) -> str:
        """How many there are, and the first of them; ``wb.browse`` shows all."""
        labelled = arrow_table.filled(self.frame, "label")
        first = [
            {
                "prompt": plain_text(pair.prompt),
                "first answer": plain_text(pair.responses[0]),
                "second answer": plain_text(pair.responses[1]),
                "label": _label_words(pair),
            }
            for pair in islice(self, FIRST_SHOWN)
        ]
        words = f"{len(self):,} items, {labelled:,} labelled (wb.browse shows all)"
        return rows_as_html(words, first, len(self))


def _label_words(pair: Pair) -> str:
    label = pair.label or {}
    if label.get("kind") == "choice":
        return f"answer {label['winner'] + 1} is better"
    return str(label.get("kind") or "none").replace("_", " ")


def choice_rows(pair: Pair, k_way: str = "all", *, ties: str = "drop") -> list[dict[str, Any]]:
    """Return a pair's rows for training: one for each comparison that its label gives.

    Args:
        pair: the item; without a label it gives no row.
        k_way: as in :func:`workbench.data.comparisons.comparisons`.
        ties: what a tie gives: "drop" no row; "half" a row for each order of two of its responses,
            so that each answer is half preferred.

    Returns:
        ``{"prompt", "chosen", "rejected"}``, all message lists, ``"margin"`` (the label's margin,
        else its strength, else None; None for a tie; a gap of scores is on the scale of whoever
        scored, so it is not taken for one [reward points]) and ``"weight"``, 1 / the rows of this
        item.

    Raises:
        ConfigError: there is no such ``k_way`` or no such ``ties``.
        DataError: the label does not fit the item.
    """
    if ties not in _TIES:
        raise ConfigError(
            f"ties cannot be {ties!r}", where="ties=...", fix=f"use one of: {', '.join(_TIES)}"
        )
    label, count = pair.label or {}, len(pair.responses)
    compared: list[tuple[int, int]] = [*comparisons(pair.label, count, k_way)]
    margin = label.get("margin", label.get("strength"))
    if ties == "half" and is_tie(pair.label, count):
        compared, margin = list(permutations(range(count), 2)), None
    return [
        {
            "prompt": pair.prompt,
            "chosen": pair.responses[winner],
            "rejected": pair.responses[loser],
            "margin": None if margin is None else float(margin),
            "weight": 1 / len(compared),
        }
        for winner, loser in compared
    ]


def render(pair: Pair) -> dict[str, str]:
    """Return a pair as texts to read, each under the part it plays."""
    names = _parts(pair.label or {}, len(pair.responses))
    shown = {"prompt": plain_text(pair.prompt)}
    for name, response in zip(names, pair.responses, strict=True):
        key = name if name not in shown else f"{name} {len(shown)}"
        shown[key] = plain_text(response)
    return shown


def _parts(label: Label, responses: int) -> list[str]:
    """Return what a label makes of each response, in words."""
    if label.get("kind") == "choice":
        return ["chosen" if n == label["winner"] else "rejected" for n in range(responses)]
    if label.get("kind") == "rank":
        return ["unranked" if rank is None else f"rank {rank}" for rank in label["ranks"]]
    if label.get("kind") == "scores":
        return ["no score" if score is None else f"score {score:g}" for score in label["scores"]]
    return [f"answer {n + 1}" for n in range(responses)]


def _plain_report(pairs: Pairs) -> Report:
    """Report on a table that was not read from anywhere: all of it is in."""
    cells = Counter(arrow_table.texts(pairs.frame, "label", 0, len(pairs)))  # many say the same
    kinds = [(loads(cell).get("kind"), count) for cell, count in cells.items() if cell is not None]
    ties = sum(count for kind, count in kinds if kind in NO_PREFERENCE)
    total = len(pairs)
    report = Report(input=total, imported=total - ties, ties=ties, items=total, format="memory")
    report.examples = [render(pairs[n]) for n in range(min(3, total))]
    return report
