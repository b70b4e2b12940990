"""Export: the formats that trainers read, the same bytes for the same pairs, a manifest beside."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.data.arrow_table import texts
from workbench.data.comparisons import K_WAYS
from workbench.data.manifest import Options, write_rows
from workbench.data.messages import Unusable
from workbench.data.splits import split_pairs
from workbench.data.writing.row_layouts import HOLDS, UNPAIRED, rows_in_format
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.data.pairs import Pair, Pairs
    from workbench.data.store.labels import LabelStore

WRITTEN_FORMATS = tuple(HOLDS)
"""The names of the formats that can be written."""

TIES = ("drop", "both", "unpaired")
VOTES = ("majority", "each")


def write_pairs(
    pairs: "Pairs | LabelStore",
    path: str | Path,
    format: str = "trl",
    *,
    ties: str = "drop",
    k_way: str = "all",
    min_agreement: float | None = None,
    annotators: Sequence[str] | None = None,
    votes: str = "majority",
) -> Path:
    """Write pairs as JSONL (gzipped where the path ends in .gz) and ``<path>.manifest.json``.

    What cannot be written is left out and counted, with the reason, in the manifest.

    Args:
        pairs: what to write: a table, or a label store, whose labels that hold now are written.
        path: the file; it is replaced whole or not at all.
        format: one of :data:`WRITTEN_FORMATS`; ``HOLDS`` says what each can hold. "trl" is
            explicit and conversational. "events" is for a label store alone and writes all of it.
        ties: "drop" leaves out ties and both bad. "both" writes each in both orders, one half of
            the weight each. "unpaired", for the unpaired formats, writes a tie's answers as good
            and both bad's as bad. "canonical" keeps all items as they are.
        k_way: the pairs that a ranking or scores of several answers give: "all", "best-worst" or
            "adjacent". Each row has the weight 1 / rows of its item, written where it is not 1.
        min_agreement: leave out items whose annotators agree less, or whose agreement is not
            known. [share of the votes, 0 to 1]
        annotators: of a label store, count these people only.
        votes: of a label store, "majority" gives each item one label, "each" one for each person.

    Returns:
        The path written.

    Raises:
        ConfigError: an option that does not exist, or does not go with the format or the pairs.
        DataError: one of the annotators has no event in the store.
    """
    people = None if annotators is None else tuple(annotators)
    options = Options(
        ties=ties, k_way=k_way, min_agreement=min_agreement, annotators=people, votes=votes
    )
    _check(pairs, format, options)
    if format == "events":
        # a store is opened only where one is given
        from workbench.data.writing.store_archive import write_events

        return write_events(cast("LabelStore", pairs), path)
    table, left_out = _table(pairs, options)
    return _write(table, Path(path), format, options, left_out)


def write_split(
    pairs: "Pairs | LabelStore",
    path: str | Path,
    fractions: Mapping[str, float],
    format: str = "trl",
    *,
    seed: int = 0,
    **options: Any,
) -> dict[str, Path]:
    """Write the parts of :func:`workbench.data.splits.split_pairs`, a file and manifest for each.

    Args:
        pairs: as in :func:`write_pairs`.
        path: ``x.jsonl`` becomes ``x-train.jsonl``, ``x-test.jsonl``, by the parts' names.
        fractions: the parts and how much of the prompts each gets.
        format: as in :func:`write_pairs`, "events" excepted.
        seed: draws which prompt goes where.
        options: as in :func:`write_pairs`.

    Returns:
        The path of each part.

    Raises:
        ConfigError: as in :func:`write_pairs`, or the fractions do not add up to 1.
    """
    if format == "events":
        raise ConfigError(
            "a label store is archived whole",
            where="write_split(format='events')",
            fix="use write_pairs, or another format",
        )
    if options.get("annotators") is not None:
        options["annotators"] = tuple(options["annotators"])
    checked = Options(**options)
    _check(pairs, format, checked)
    table, left_out = _table(pairs, checked)
    parts = split_pairs(table, fractions, seed=seed)
    path = Path(path)
    written: dict[str, Path] = {}
    for name, part in parts.items():
        part.report.source, part.report.format = table.report.source, table.report.format
        stem, dot, rest = path.name.partition(".")
        target = path.with_name(f"{stem}-{name}{dot}{rest}")
        share = {"part": name, "fractions": dict(fractions), "seed": seed}
        written[name] = _write(part, target, format, checked, left_out, share)
        left_out = {}  # what the store did not give is counted once, with the first part
    return written


def _write(
    pairs: "Pairs",
    path: Path,
    format: str,
    options: Options,
    left_out: Mapping[str, int],
    split: Mapping[str, Any] | None = None,
) -> Path:
    def rows(pair: "Pair") -> list[dict[str, Any]]:
        _check_agreement(pair, options.min_agreement)
        return rows_in_format(pair, format, options)

    return write_rows(
        pairs,
        path,
        rows,
        format=format,
        source={"name": pairs.report.source, "format": pairs.report.format},
        options=options,
        left_out=left_out,
        split=split,
    )


def _check_agreement(pair: "Pair", least: float | None) -> None:
    if least is None or pair.label is None:
        return
    agreement = pair.label.get("agreement")
    if agreement is None:
        raise Unusable("agreement not known")
    if agreement < least:
        raise Unusable("agreement too low")


def _check(pairs: "Pairs | LabelStore", format: str, options: Options) -> None:
    _one_of("format", format, WRITTEN_FORMATS)
    _one_of("ties", options.ties, TIES)
    _one_of("k_way", options.k_way, K_WAYS)
    _one_of("votes", options.votes, VOTES)
    least = options.min_agreement
    if least is not None and not 0 <= least <= 1:
        raise ConfigError(
            f"min_agreement cannot be {least!r}",
            where="write_pairs(min_agreement=...)",
            fix="give a share of the votes from 0 to 1",
        )
    if options.ties not in _ties_for(format):
        raise ConfigError(
            f"ties={options.ties!r} does not go with the format {format!r}",
            where="write_pairs(ties=...)",
            fix=f"use one of: {', '.join(_ties_for(format))}",
        )
    idle = {"canonical": ("k_way",), "events": ("k_way", "min_agreement", "annotators", "votes")}
    usual = Options()
    unused = [n for n in idle.get(format, ()) if getattr(options, n) != getattr(usual, n)]
    if unused:
        raise ConfigError(
            f"{unused[0]} does not go with the format {format!r}",
            where=f"write_pairs({unused[0]}={getattr(options, unused[0])!r})",
            fix=f"leave it out: {format!r} keeps everything; or write another format",
        )
    if not _is_store(pairs) and (
        format == "events" or options.annotators is not None or options.votes != "majority"
    ):
        raise ConfigError(
            "annotators, votes and the format 'events' are for a label store",
            where=f"write_pairs of {type(pairs).__name__}",
            fix="give the store: write_pairs(store, path, ...)",
        )


def _ties_for(format: str) -> tuple[str, ...]:
    if format in ("canonical", "events"):
        return ("drop",)  # they keep every item, ties included, whatever is asked
    return ("drop", "unpaired" if format in UNPAIRED else "both")


def _one_of(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConfigError(
            f"there is no {name} {value!r} to write",
            where=f"write_pairs({name}=...)",
            fix=f"use one of: {', '.join(known)}",
        )


def _is_store(pairs: Any) -> bool:
    return hasattr(pairs, "event_list")


def _table(pairs: "Pairs | LabelStore", options: Options) -> "tuple[Pairs, dict[str, int]]":
    """Return the table to write, and how many items of a store have no place in it, by reason."""
    if not _is_store(pairs):
        return cast("Pairs", pairs), {}
    # a store is opened only where one is given
    from workbench.data.writing.store_archive import pairs_of_each_vote

    store = cast("LabelStore", pairs)
    people = None if options.annotators is None else list(options.annotators)
    if options.votes == "each":
        table = pairs_of_each_vote(store, people)
    else:
        table = store.pairs(annotators=people, ties="keep")
    table.report.source = str(store.path)
    judged = store.labels(people)
    without = store.counts()["items"] - len(set(texts(judged, "item_id", 0, len(judged))))
    return table, {"no label that counts": without} if without else {}
