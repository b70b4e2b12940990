"""Every row of an import put in exactly one bucket."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from workbench.data.arrow_table import TextTable
from workbench.data.comparisons import is_tie
from workbench.data.import_report import Report
from workbench.data.messages import (
    MAYBE_WRITTEN,
    Message,
    Unusable,
    check_prompt,
    check_response,
    id_from_keys,
    is_medium,
    raw_messages,
    refuse_media,
    turn_key,
)
from workbench.data.pairs import COLUMNS, Label, Pair, Pairs, cells_of, pair_of, render
from workbench.data.reading.parsed import FIRST_WON, Format, Parsed, Part, Tree, both_of, mapping
from workbench.data.reading.readers import COLUMNS_OF_FORMATS
from workbench.data.reading.sources import Record
from workbench.data.reading.votes import Vote, Voter, in_order, order_of, voter_of, with_votes
from workbench.data.written_values import looks_written
from workbench.errors import DataError, WorkbenchError
from workbench.json_lines import dumps

IMPORTED, TIES, DUPLICATES = "imported", "ties", "duplicates"
VOTES = "votes on an item that others labelled too, kept in meta"
BESIDE = "message_fields"  # in meta: {"of": "prompt" or a response's place, "turn", "fields"}
_OURS = (BESIDE, "responses", "votes")  # names in meta that are no columns
KEPT = "kept in meta"
REPEATED = "in a row that repeats an item, not kept"
UNREAD = "within an object of the row, not kept"
WRITTEN = "looks like a list or an object, kept as text"
_FIRST_WON = dumps(FIRST_WON)  # written once: nearly every row of a chosen/rejected file has it


_LATER = -1  # the place of an item in the table that is looked up once, at the end


class _Held(NamedTuple):
    """A row that waits for the other rows of its prompt."""

    part: Part
    record: Record


class _FirstVote(NamedTuple):
    """Who gave an item the label that it came with, and the item's place in the table."""

    voter: Voter
    place: int


class Intake:
    """Sorts rows into imported, tie, duplicate and quarantined."""

    def __init__(self, fmt: Format, name: str, even_split: str = "tie") -> None:
        self._format = fmt
        self._even_split = even_split
        self.report = Report(format=fmt.name, source=name)
        self._table = TextTable(COLUMNS)
        self._file = f'{{"file":{dumps(name)},"row":'
        self._outcomes: dict[str, str | None] = {}  # id -> who won, in a form free of order
        self._held: dict[str, list[_Held]] = {}  # prompt -> its rows
        self._voted: dict[str, _FirstVote] = {}  # id -> who gave it the label that it has
        self._votes: dict[str, list[Vote]] = {}  # id -> what others said of it
        self._again: dict[str, list[tuple[int, Label]]] = {}  # id -> rows that say so once more
        self._contested: dict[str, int] = {}  # id -> votes of rows that name nobody
        self._fields: dict[tuple[tuple[str, ...], str], int] = {}  # names, what of them -> rows

    def take(self, record: Record) -> None:
        """Count one row in, under what becomes of it."""
        self.report.input += 1
        try:
            if record.bad:
                raise Unusable(record.bad)
            fields = record.fields
            renames, media = _names(tuple(fields))
            if media:
                refuse_media({name: fields[name] for name in media})
            parsed = self._format.parse(_renamed(fields, renames))
            if isinstance(parsed, Parsed):
                self._count(self._keep(parsed, record.row, voter_of(parsed)), 1)
            elif isinstance(parsed, Tree):
                self._count(self._keep_tree(parsed, record.row), 1)
            else:
                self._hold(parsed, record)
        except WorkbenchError:
            raise
        except Exception as why:  # whatever one row holds, it never stops the rest
            self._put_aside(record, why)

    def finish(self) -> Pairs:
        """Return the table.

        Raises:
            DataError: there was no row at all.
        """
        report = self.report
        if not report.input:
            raise DataError("there are no rows", where=report.source, fix="give data with rows")
        for held in self._held.values():
            self._join(held)
        self._held.clear()
        places = {i: n for n, i in enumerate(self._outcomes) if i in self._contested}
        for ident, votes in self._votes.items():
            first = self._voted[ident]
            self._join_votes(first._replace(place=places.get(ident, first.place)), votes)
        for (names, fate), rows in self._fields.items():
            for name in names:
                if name not in _OURS:
                    report.count_field(name, fate, rows)
        return Pairs(self._table.frame(), report)

    def _keep(
        self, parsed: Parsed, row: int, voter: Voter | None = None, *, parts: bool = False
    ) -> str:
        """Put an item into the table, or a vote to its item; return the bucket.

        The fields of items that are ``parts`` of a row, or made of several, are counted row by row.
        """
        keys = _checked(parsed)
        plain = _is_plain(parsed)
        meta = parsed.meta if plain else _whole_meta(parsed)
        ident = id_from_keys(turn_key(parsed.prompt), keys)
        outcome = _outcome(parsed.label, keys)
        if ident in self._outcomes:
            if parsed.label is not None and not parts:
                label = in_order(parsed.label, order_of(keys))
                voter = voter if ident in self._voted else None
                voter = voter or self._unnamed(ident, str(outcome), label, row)
                if voter is not None:
                    bucket = self._vote(ident, Vote(voter, label, str(outcome), meta, row))
                    self._count_fields(meta, KEPT if bucket == IMPORTED else REPEATED)
                    return bucket
            if outcome not in (None, self._outcomes[ident]):
                raise Unusable("the same item came before with another label")
            self._count_fields(meta, REPEATED)
            return DUPLICATES
        if meta and meta.get("id") == ident:  # a file of ours: the item says it anyway
            del meta["id"]
        cells = (
            raw_messages(parsed.prompt),
            f"[{','.join(map(raw_messages, parsed.responses))}]",
            _label_text(parsed.label),
            dumps(parsed.source) if parsed.source else f"{self._file}{row}}}",
            dumps(meta) if meta else "{}",
        )
        self._outcomes[ident] = outcome
        if voter is not None:
            self._voted[ident] = _FirstVote(voter, self.report.items)
        self._table.add(ident, *cells)
        if not plain:
            self._tell_written(parsed)
        if parsed.read_as is not None:
            self.report.count_field(*parsed.read_as)
        if not parts and (meta or parsed.unread):
            self._count_fields(meta, KEPT)
            self._count_unread(parsed.unread)
        self.report.items += 1
        if parsed.left_out:
            self.report.leave_out(parsed.left_out)
        if len(self.report.examples) < 3:
            pair = Pair.make(parsed.prompt, parsed.responses, label=parsed.label)
            self.report.examples.append(render(pair))
        return TIES if _is_tie(parsed.label, parsed.responses) else IMPORTED

    def _unnamed(self, ident: str, outcome: str, label: Label, row: int) -> Voter | None:
        """Whose vote a row is that names nobody; None where it repeats what was said before.

        Rows that agree may be copies of one. Where another says something else they are several
        people's: from then on each is a vote, those before it, too. Rankings and scores are not:
        theirs may be two scales.
        """
        first = self._outcomes[ident]
        if first is None or any(one.startswith(("rank", "scores")) for one in (first, outcome)):
            return None
        if ident not in self._contested and outcome == first:
            self._again.setdefault(ident, []).append((row, label))
            return None
        if ident not in self._contested:
            self._contested[ident] = 0
            if ident not in self._voted:
                self._voted[ident] = _FirstVote(self._next_unnamed(ident), _LATER)
            again = self._again.pop(ident, [])
            self._count(DUPLICATES, -len(again))
            self._count(IMPORTED, len(again))
            for earlier, repeated in again:
                self._vote(ident, Vote(self._next_unnamed(ident), repeated, first, {}, earlier))
        return self._next_unnamed(ident)

    def _next_unnamed(self, ident: str) -> Voter:
        self._contested[ident] += 1
        return Voter(f"unnamed {self._contested[ident]}", "label")

    def _vote(self, ident: str, vote: Vote) -> str:
        """Put a vote to the others of its item; return the bucket of its row, for now."""
        votes = self._votes.get(ident, [])
        outcomes = {self._voted[ident].voter.name: self._outcomes[ident]}
        outcomes.update((before.voter.name, before.outcome) for before in votes)
        if vote.voter.name in outcomes:
            if outcomes[vote.voter.name] == vote.outcome:
                return DUPLICATES
            raise Unusable("the same annotator labelled the item before, with another label")
        self._votes[ident] = [*votes, vote]
        return IMPORTED

    def _join_votes(self, first: "_FirstVote", votes: list[Vote]) -> None:
        """Give an item the label of the majority; all its rows share the bucket of that."""
        report, (voter, place) = self.report, first
        before = pair_of(self._table.cells(place))
        pair, even = with_votes(before, voter, votes, self._even_split)
        self._table.change(place, cells_of(pair))
        was = TIES if _is_tie(before.label, before.responses) else IMPORTED
        self._count(was, -1)
        self._count(IMPORTED, -len(votes))
        now = TIES if _is_tie(pair.label, pair.responses) else IMPORTED
        self._count(now, 1 + len(votes))
        report.count_field(voter.column or "annotator", VOTES, 1 + len(votes))
        if even:
            taken = "a tie" if self._even_split == "tie" else "no label"
            report.count_field(
                voter.column or "annotator", f"votes evenly split, taken as {taken}", 1 + len(votes)
            )
        if place < len(report.examples):
            report.examples[place] = render(pair)

    def _count_fields(self, meta: dict[str, Any], fate: str) -> None:
        """Count what became of the fields of one row: those in its meta, and beside its texts."""
        if not meta:
            return
        key = tuple(meta), fate
        self._fields[key] = self._fields.get(key, 0) + 1
        if isinstance(turns := meta.get(BESIDE), list):
            beside = [mapping(mapping(turn).get("fields")) for turn in cast("list[Any]", turns)]
            self._count_fields({name: None for fields in beside for name in fields}, fate)

    def _count_unread(self, names: frozenset[str]) -> None:
        for name in names:
            self.report.count_field(name, UNREAD)

    def _tell_written(self, parsed: Parsed) -> None:
        """Count what looks like a list or an object and was kept as text."""
        for name, talks in (("prompt", [parsed.prompt]), ("answers", parsed.responses)):
            if any(looks_written(turn["content"]) for turns in talks for turn in turns):
                self.report.count_field(name, WRITTEN)

    def _keep_tree(self, tree: Tree, row: int) -> str:
        """Put a row's items into the table; the row counts as the best of what became of them."""
        buckets: dict[str, int] = {}
        refused: dict[str, int] = {}
        names: dict[str, Any] = {}
        for parsed in tree.items:
            try:
                bucket = self._keep(parsed, row, parts=True)
                names.update(dict.fromkeys(parsed.meta))
                buckets[bucket] = buckets.get(bucket, 0) + 1
            except Unusable as why:
                refused[why.reason] = refused.get(why.reason, 0) + 1
        if not buckets:
            raise Unusable(next(iter(refused), "no prompt in the tree has two ranked replies"))
        best = next(name for name in (IMPORTED, TIES, DUPLICATES) if name in buckets)
        self._count_fields(names, KEPT if best != DUPLICATES else REPEATED)
        self._count_unread(tree.unread)
        if best != DUPLICATES:
            again = {"the same item came before": buckets.get(DUPLICATES, 0)}
            for counts in (tree.left_out, refused, again):
                self.report.leave_out(counts)
        return best

    def _hold(self, part: Part, record: Record) -> None:
        check_prompt(part.prompt)
        check_response(part.response)
        self._held.setdefault(turn_key(part.prompt), []).append(_Held(part, record))

    def _join(self, held: list[_Held]) -> None:
        """Make an item of the rows of one prompt; they share its bucket, but for copies."""
        different = held
        try:
            different = _different(held)
            join = self._format.join
            if join is None:
                raise Unusable("the row is only a part of an item")
            parsed = join([one.part for one in different])
            rows = [one.record.row for one in different]
            parsed = parsed._replace(source={"file": self.report.source, "rows": rows})
            self._count(self._keep(parsed, rows[0], parts=True), len(rows))
            for one in different:
                self._count_fields(one.part.meta, KEPT)
                beside = [turn.get("beside", {}) for turn in one.part.prompt + one.part.response]
                self._count_fields({name: None for fields in beside for name in fields}, KEPT)
        except WorkbenchError:
            raise
        except Exception as why:  # as for one row
            for one in different:
                self._put_aside(one.record, why)
        self._count(DUPLICATES, len(held) - len(different))

    def _count(self, bucket: str, rows: int) -> None:
        setattr(self.report, bucket, getattr(self.report, bucket) + rows)

    def _put_aside(self, record: Record, why: Exception) -> None:
        reason = f"a value that cannot be read ({type(why).__name__})"
        if isinstance(why, Unusable):
            reason = why.reason
        value = record.fields if record.raw is None else record.raw
        self.report.quarantine(record.row, reason, value)


def _different(held: list[_Held]) -> list[_Held]:
    """Return the rows without those that repeat one before them in every column."""
    alike: dict[tuple[str, float], list[_Held]] = {}
    kept: list[_Held] = []
    for one in held:
        before = alike.setdefault((turn_key(one.part.response), one.part.score), [])
        if not any(one.part == other.part for other in before):
            before.append(one)
            kept.append(one)
    return kept


def import_records(
    records: Iterable[Record], fmt: Format, name: str, even_split: str = "tie"
) -> Pairs:
    """Put every record in exactly one bucket and return the table of the items."""
    intake = Intake(fmt, name, even_split)
    for record in records:
        intake.take(record)
    return intake.finish()


def _is_plain(parsed: Parsed) -> bool:
    """Whether all messages are text alone, and none begins as a list or an object may."""
    for turn in parsed.prompt:
        if len(turn) > 2 or turn["content"][:1] in MAYBE_WRITTEN:
            return False
    for response in parsed.responses:
        for turn in response:
            if len(turn) > 2 or turn["content"][:1] in MAYBE_WRITTEN:
                return False
    return True


def _whole_meta(parsed: Parsed) -> dict[str, Any]:
    """Return an item's meta, with what its messages say besides their text."""
    talks = [("prompt", parsed.prompt), *enumerate(parsed.responses)]
    beside: list[dict[str, Any]] = [
        {"of": of, "turn": place, "fields": turn["beside"]}
        for of, turns in talks
        for place, turn in enumerate(turns)
        if "beside" in turn
    ]
    return both_of(parsed.meta, {BESIDE: beside}) if beside else parsed.meta


def _checked(parsed: Parsed) -> list[str]:
    """Hold a row to what every item must be; return its responses' keys."""
    check_prompt(parsed.prompt)
    if len(parsed.responses) < 2:
        raise Unusable("there are fewer than two answers")
    for response in parsed.responses:
        check_response(response)
    keys = [turn_key(response) for response in parsed.responses]
    if len(set(keys)) < len(keys):
        raise Unusable("the answers are the same text")
    return keys


def _is_tie(label: Label | None, responses: list[list[Message]]) -> bool:
    if label is None or label["kind"] == "choice":
        return False
    return is_tie(label, len(responses))


def _label_text(label: dict[str, Any] | None) -> str | None:
    if label is None:
        return None
    return _FIRST_WON if label == FIRST_WON else dumps(label)


def _outcome(label: dict[str, Any] | None, keys: list[str]) -> str | None:
    """Return what a label says in a form free of order, so that swapped answers compare equal."""
    if label is None:
        return None
    kind = label["kind"]
    if kind == "choice":
        return str(sorted(keys).index(keys[int(label["winner"])]))
    if kind in ("rank", "scores"):
        values = label["ranks" if kind == "rank" else "scores"]
        return f"{kind} {[value for _, value in sorted(zip(keys, values, strict=True))]}"
    return str(kind)


@lru_cache(maxsize=256)
def _names(names: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the columns whose known name is written in another case, and those of pictures."""
    free = set(COLUMNS_OF_FORMATS - set(names))
    renames: dict[str, str] = {}
    for name in names:
        low = str(name).strip().lower()
        if low in free:
            renames[name] = low
            free.remove(low)  # another that differs in its case alone keeps its own name
    return renames, tuple(name for name in names if is_medium(str(name).strip()))


def lowered(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a row with the names of known columns in lower case."""
    return _renamed(fields, _names(tuple(fields))[0])


def _renamed(fields: dict[str, Any], renames: dict[str, str]) -> dict[str, Any]:
    return {renames.get(k, k): v for k, v in fields.items()} if renames else fields.copy()
