"""Import: any public format of preference data, with every row accounted for."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from workbench.data.arrow_table import open_saved
from workbench.data.pairs import Pairs
from workbench.data.reading.intake import import_records, lowered
from workbench.data.reading.parsed import Format
from workbench.data.reading.readers import FORMATS
from workbench.data.reading.sources import Record, ShareRead, open_source
from workbench.data.reading.votes import check_even_split
from workbench.errors import ConfigError, DataError, nearest

OnProgress = Callable[[int, float | None], None]
"""Called with the rows read so far, and the share of the source they are where it is known."""

LOOK_AHEAD = 100  # rows looked at to find the format
TELL_EVERY = 2_000  # rows between two words of progress


def load_pairs(
    source: Any,
    format: str = "auto",
    on_progress: OnProgress | None = None,
    *,
    even_split: str = "tie",
) -> Pairs:
    """Read preference pairs, or responses still to be labelled, from nearly anything.

    Args:
        source: a path (.jsonl, .json, .csv, .tsv, .parquet, .gz of the text ones, or .arrow as
            ``Pairs.save`` writes it), a label store's .sqlite file, a hub id, a DataFrame, a list
            of dicts, or a ``datasets`` object.
        format: one of the names in ``FORMATS``, or "auto" to find it by the columns.
        on_progress: told every now and then how far the reading is.
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
    wanted = format_by_name(format)
    tables = (".sqlite", ".db", ".arrow")
    is_table = isinstance(source, str | Path) and Path(source).suffix in tables
    if wanted is not None and (is_table or isinstance(source, Pairs)):
        raise ConfigError(
            f"the format {format!r} was asked for, and this holds pairs already",
            where=str(source) if is_table else repr(source),
            fix="leave the format out",
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
        fmt = wanted or _detect(first, opened.name)
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


def _detect(records: list[Record], name: str) -> Format:
    """Return the first format that some row fits; rows that could not be read say nothing."""
    rows = [lowered(record.fields) for record in records if not record.bad]
    for fmt in FORMATS:
        if fmt.auto and any(_fits(fmt, row) for row in rows):
            if fmt.asks:
                raise DataError(
                    f"the rows of {fmt.name} have several labels",
                    where=name,
                    fix=f"ask for one with format=: {', '.join(fmt.asks)}",
                )
            return fmt
    if not records:
        raise DataError("there are no rows", where=name, fix="give data with rows in it")
    if not rows:
        raise DataError(
            f"none of the first {len(records)} rows could be read ({records[0].bad})",
            where=f"{name}:{records[0].row}",
            fix="check that the file is what its suffix says, in UTF-8",
        )
    raise DataError(
        f"no known format has these columns: {', '.join(map(str, rows[0])) or '(none)'}",
        where=name,
        fix="rename the columns to prompt, chosen, rejected (or prompt, responses to label them), "
        f"or to what another format needs; nearest are {_nearest(rows[0])}",
    )


def _fits(fmt: Format, row: dict[str, Any]) -> bool:
    return all(row.get(name) is not None for name in fmt.needs) and fmt.matches(row)


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
