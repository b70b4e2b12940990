"""Every row of an import put in exactly one bucket."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

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
    raw_messages,
    turn_key,
)
from workbench.data.pairs import COLUMNS, Label, Pair, Pairs, cells_of, pair_of, render
from workbench.data.reading.parsed import FIRST_WON, Format, Parsed, Part, Tree
from workbench.data.reading.readers import COLUMNS_OF_FORMATS
from workbench.data.reading.sources import Record
from workbench.data.reading.votes import Vote, Voter, in_order, order_of, voter_of, with_votes
from workbench.data.written_values import looks_written
from workbench.errors import DataError, WorkbenchError
from workbench.json_lines import dumps

IMPORTED, TIES, DUPLICATES = "imported", "ties", "duplicates"
VOTES = "votes on an item that others labelled too, kept in meta"
WRITTEN = "looks like a list or an object, kept as text"
_FIRST_WON = dumps(FIRST_WON)  # written once: nearly every row of a chosen/rejected file has it


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

    def take(self, record: Record) -> None:
        """Count one row in, under what becomes of it."""
        self.report.input += 1
        try:
            if record.bad:
                raise Unusable(record.bad)
            parsed = self._format.parse(lowered(record.fields))
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
        for ident, votes in self._votes.items():
            self._join_votes(self._voted[ident], votes)
        return Pairs(self._table.frame(), report)

    def _keep(self, parsed: Parsed, row: int, voter: Voter | None = None) -> str:
        """Put an item into the table, or a vote to its item; return the bucket."""
        keys = _checked(parsed)
        ident = id_from_keys(turn_key(parsed.prompt), keys)
        outcome = _outcome(parsed.label, keys)
        if ident in self._outcomes:
            first = self._voted.get(ident)
            if voter is not None and first is not None and parsed.label is not None:
                label = in_order(parsed.label, order_of(keys))
                return self._vote(ident, Vote(voter, label, str(outcome), parsed.meta, row))
            if outcome not in (None, self._outcomes[ident]):
                raise Unusable("the same item came before with another label")
            return DUPLICATES
        cells = (
            raw_messages(parsed.prompt),
            f"[{','.join(map(raw_messages, parsed.responses))}]",
            _label_text(parsed.label),
            dumps(parsed.source) if parsed.source else f"{self._file}{row}}}",
            dumps(parsed.meta) if parsed.meta else "{}",
        )
        self._outcomes[ident] = outcome
        if voter is not None:
            self._voted[ident] = _FirstVote(voter, self.report.items)
        self._table.add(ident, *cells)
        self._tell_written(parsed)
        self.report.items += 1
        if parsed.left_out:
            self.report.leave_out(parsed.left_out)
        if len(self.report.examples) < 3:
            pair = Pair.make(parsed.prompt, parsed.responses, label=parsed.label)
            self.report.examples.append(render(pair))
        return TIES if _is_tie(parsed.label, parsed.responses) else IMPORTED

    def _vote(self, ident: str, vote: Vote) -> str:
        """Put a vote to the others of its item; return the bucket of its row, for now."""
        votes = self._votes.get(ident, [])
        said = {self._voted[ident].voter.name: self._outcomes[ident]}
        said.update((before.voter.name, before.outcome) for before in votes)
        if vote.voter.name in said:
            if said[vote.voter.name] == vote.outcome:
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

    def _tell_written(self, parsed: Parsed) -> None:
        """Count what looks like a list or an object and was kept as text."""
        for name, talks in (("prompt", [parsed.prompt]), ("answers", parsed.responses)):
            texts = (turn["content"] for turns in talks for turn in turns)
            if any(text[:1] in MAYBE_WRITTEN and looks_written(text) for text in texts):
                self.report.count_field(name, WRITTEN)

    def _keep_tree(self, tree: Tree, row: int) -> str:
        """Put a row's items into the table; the row counts as the best of what became of them."""
        buckets: dict[str, int] = {}
        refused: dict[str, int] = {}
        for parsed in tree.items:
            try:
                bucket = self._keep(parsed, row)
                buckets[bucket] = buckets.get(bucket, 0) + 1
            except Unusable as why:
                refused[why.reason] = refused.get(why.reason, 0) + 1
        if not buckets:
            raise Unusable(next(iter(refused), "no prompt in the tree has two ranked replies"))
        best = next(name for name in (IMPORTED, TIES, DUPLICATES) if name in buckets)
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
            self._count(self._keep(parsed, rows[0]), len(rows))
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
def _renames(names: tuple[str, ...]) -> dict[str, str]:
    """Return the columns whose known name is written in another case (Chosen, PROMPT)."""
    lower = {name: str(name).strip().lower() for name in names}
    known = COLUMNS_OF_FORMATS - set(names)
    return {name: low for name, low in lower.items() if name != low and low in known}


def lowered(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a row with the names of known columns in lower case."""
    renames = _renames(tuple(fields))
    return {renames.get(k, k): v for k, v in fields.items()} if renames else dict(fields)
