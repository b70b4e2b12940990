"""Import: any public format of preference data, with every row accounted for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from workbench.data.arrow_table import open_saved
from workbench.data.pairs import Pairs
from workbench.data.reading.column_proposal import as_code, one_line, propose_columns, shown_rows
from workbench.data.reading.intake import import_records, lowered
from workbench.data.reading.own_columns import own_format
from workbench.data.reading.parsed import Format
from workbench.data.reading.readers import FORMATS
from workbench.data.reading.sources import Record, ShareRead, open_source
from workbench.data.reading.votes import check_even_split
from workbench.errors import ConfigError, DataError, nearest

OnProgress = Callable[[int, float | None], None]
"""Called with the rows read so far, and the share of the source they are where it is known."""

TABLES = (".sqlite", ".db", ".arrow")  # files that hold pairs, and no rows to be read
LOOK_AHEAD = 100  # rows looked at to find the format
TELL_EVERY = 2_000  # rows between two words of progress


def load_pairs(
    source: Any,
    format: str = "auto",
    on_progress: OnProgress | None = None,
    *,
    columns: Mapping[str, Any] | None = None,
    even_split: str = "tie",
) -> Pairs:
    """Read preference pairs, or responses still to be labelled, from nearly anything.

    Args:
        source: a path (.jsonl, .json, .csv, .tsv, .parquet, .gz of the text ones, or .arrow as
            ``Pairs.save`` writes it), a label store's .sqlite file, a hub id, a DataFrame, a list
            of dicts, or a ``datasets`` object.
        format: one of the names in ``FORMATS``, or "auto" to find it by the columns.
        on_progress: told every now and then how far the reading is.
        columns: which column is which, where no format fits; see :func:`workbench.load_pairs`.
        even_split: rows that several annotators gave of one item become one, with the label of the
            majority; where that is evenly split, "tie" makes it a tie, "none" leaves no label.

    Returns:
        The table; its ``report`` says what became of every row.

    Raises:
        DataError: nothing is there to read, no format fits the columns, or they hold several
            labels of which one must be asked for.
        ConfigError: there is no format of that name, or none to ask for; or no such ``even_split``.
    """
    check_even_split(even_split)
    if columns is not None and format != "auto":
        raise ConfigError(
            "format and columns both say how to read",
            where="load_pairs(format=..., columns=...)",
            fix="leave one of them out",
        )
    wanted = format_by_name(format)
    is_table = isinstance(source, str | Path) and Path(source).suffix in TABLES
    if (wanted or columns) and (is_table or isinstance(source, Pairs)):
        name = "columns" if columns else "format"
        raise ConfigError(
            f"the {name} {columns or format!r} was asked for, and this holds pairs already",
            where=str(source) if is_table else repr(source),
            fix=f"leave the {name} out",
        )
    if isinstance(source, Pairs):
        return source
    if isinstance(source, str | Path) and Path(source).suffix in (".sqlite", ".db"):
        return _from_store(Path(source))
    if isinstance(source, str | Path) and Path(source).suffix == ".arrow":
        return Pairs(*open_saved(Path(source)))
    opened = open_source(source)
    with closing(opened.records) as records:
        first = list(islice(records, LOOK_AHEAD))
        if columns is not None:
            fmt = own_format(columns, _readable(first, opened.name), opened.name)
        else:
            fmt = wanted or _detect(first, opened.name, source)
        rows = _reported(chain(first, records), opened.share, on_progress)
        return import_records(rows, fmt, opened.name, even_split)


def _reported(
    records: Iterator[Record], share: ShareRead, on_progress: OnProgress | None
) -> Iterator[Record]:
    """Yield the records, and report every now and then how far the reading is."""
    if on_progress is None:
        yield from records
        return
    rows = 0
    for rows, record in enumerate(records, start=1):
        yield record
        if rows % TELL_EVERY == 0:
            on_progress(rows, share(rows))
    on_progress(rows, 1.0)


def format_by_name(name: str) -> Format | None:
    """The format of a name; None for "auto", which finds it by the columns.

    Raises:
        ConfigError: there is no format of that name.
    """
    if name == "auto":
        return None
    for fmt in FORMATS:
        if fmt.name == name and not fmt.asks:
            return fmt
        if fmt.name == name:
            raise ConfigError(
                f"the format {name!r} has several labels",
                where="load_pairs(format=...)",
                fix=f"ask for one of: {', '.join(fmt.asks)}",
            )
    names = [fmt.name for fmt in FORMATS if not fmt.asks]
    raise ConfigError(
        f"there is no format {name!r}",
        where="load_pairs(format=...)",
        fix=f"{nearest(name, names)}use one of: auto, {', '.join(names)}",
    )


class FirstRows(NamedTuple):
    """The first rows of a source, its name, and the format they fit, if any."""

    name: str
    records: list[Record]
    format: Format | None


def first_rows(source: Any) -> FirstRows:
    """Look at the first rows of a source without reading it.

    Raises:
        DataError: there is nothing to read.
        ConfigError: the source holds pairs already.
    """
    is_table = isinstance(source, str | Path) and Path(source).suffix in TABLES
    if is_table or isinstance(source, Pairs):
        raise ConfigError(
            "this holds pairs already",
            where=str(source) if is_table else repr(source),
            fix="read it with load_pairs: there are no columns to name",
        )
    opened = open_source(source)
    with closing(opened.records) as records:
        first = list(islice(records, LOOK_AHEAD))
    _readable(first, opened.name)
    try:
        fmt = _detect(first, opened.name, source)
    except DataError:
        fmt = None
    return FirstRows(opened.name, first, fmt)


def _readable(records: list[Record], name: str) -> list[dict[str, Any]]:
    """Return the rows that could be read.

    Raises:
        DataError: there is none.
    """
    if not records:
        raise DataError("there are no rows", where=name, fix="give data with rows in it")
    rows = [record.fields for record in records if not record.bad]
    if not rows:
        raise DataError(
            f"none of the first {len(records)} rows could be read ({records[0].bad})",
            where=f"{name}:{records[0].row}",
            fix="check that the file is what its suffix says, in UTF-8",
        )
    return rows


def _detect(records: list[Record], name: str, source: Any) -> Format:
    """Return the first format that some row fits; rows that could not be read say nothing."""
    rows = [lowered(record.fields) for record in records if not record.bad]
    for fmt in FORMATS:
        whole = [row for row in rows if all(row.get(name) is not None for name in fmt.needs)]
        if fmt.auto and any(map(fmt.matches, whole)):
            if fmt.asks:
                raise DataError(
                    f"the rows of {fmt.name} have several labels",
                    where=name,
                    fix=f"ask for one with format=: {', '.join(fmt.asks)}",
                )
            return fmt
    as_they_stand = _readable(records, name)
    proposal = propose_columns(as_they_stand)
    example = proposal or {"prompt": "…", "chosen": "…", "rejected": "…"}
    raise DataError(
        f"no known format has these columns: {_names(rows[0]) or '(none)'}",
        where="\n         ".join([name, *shown_rows(as_they_stand)]),
        fix="say which column is which"
        + (", for example (check it first):" if proposal else ":")
        + f"\n           {as_code(source, example)}\n"
        "         in a notebook wb.import_pairs shows this as a form; or rename the columns to "
        "prompt, chosen, rejected (or prompt, responses to label them), or to what another format "
        "needs; "
        f"nearest are {_nearest(rows[0])}",
    )


def _names(row: dict[str, Any]) -> str:
    return ", ".join(one_line(str(name), 60) for name in row)


def _nearest(row: dict[str, Any]) -> str:
    """Return the formats that lack the fewest columns, with what they need."""
    known = [fmt for fmt in FORMATS if fmt.auto and fmt.needs]
    near = sorted(known, key=lambda fmt: (len(set(fmt.needs) - set(row)), len(fmt.needs)))[:4]
    return "; ".join(f"{fmt.name}: {', '.join(fmt.needs)}" for fmt in near)


def _from_store(path: Path) -> Pairs:
    from workbench.data.store.labels import LabelStore  # a store is opened only where one is given

    if not path.exists():
        beside = [str(file) for file in path.parent.glob("*")]
        fix = f"{nearest(path, beside)}check the path"
        raise DataError("no such label store", where=str(path), fix=fix)
    with LabelStore(path) as store:
        return store.pairs()
