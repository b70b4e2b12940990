"""How good a set of preference data is: what was found, and what to do about it.

:func:`examine` counts; the view of it is in ``workbench/reports/quality.py``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.analysis.agreement import Measure, agreement, imported_ratings
from workbench.analysis.bias import Bias, Decile, Feature
from workbench.analysis.duplicates import (
    AGAINST,
    NEGATIVE,
    OUTER,
    Leak,
    LeakFinder,
    OuterBlanks,
    Problem,
    Repeat,
    RepeatFinder,
    problems_of,
)
from workbench.analysis.intervals import Share
from workbench.analysis.people import (
    EVERYONE,
    People,
    Reason,
    Side,
    Steadiness,
    imported_reasons,
    people_of,
)
from workbench.data.arrow_table import frame_of
from workbench.data.pairs import Pairs
from workbench.errors import DataError

if TYPE_CHECKING:
    from workbench.data.arrow_table import Frame
    from workbench.data.store.labels import LabelStore

OK, LOOK, UNKNOWN = "ok", "look", "unknown"
CHECK_COLUMNS = ("check", "finding", "what to do", "state")
FINE = "nothing"
NO_STORE = ("not checked", "give the label store: quality(pairs, store=store)")

LEANING = 0.05  # a rate is worth a look where it is this far from one half, and surely not one half
POOR_ALPHA = 0.4  # below it, people agree little more than by chance
STEADY = 0.8  # of repeats and gold items


class Finding(NamedTuple):
    """One line of the summary; ``state`` is ok, look or unknown."""

    check: str
    finding: str
    advice: str
    state: str


@dataclass(frozen=True)
class Findings:
    """What :func:`examine` found: a summary, a frame behind each part of it, and the rows."""

    title: str
    summary: "Frame"
    frames: "dict[str, Frame]"
    pairs: Pairs
    rows: dict[str, list[int]]  # check -> the items behind its finding, counted from 0


def examine(
    pairs: Pairs, against: Pairs | None = None, store: "LabelStore | None" = None
) -> Findings:
    """Look a set of preference data over.

    Args:
        pairs: the set.
        against: another one, whose prompts this one should not have: a test set for a train set.
        store: the label store that the labels are from, for what depends on who labelled.

    Returns:
        The summary and these frames: ``duplicates``, ``leaks``, ``problems``, ``length``,
        ``features``, ``sides``, ``agreement``, ``steadiness`` and ``reasons``.

    Raises:
        DataError: there is no item.
    """
    if not len(pairs):
        raise DataError(
            "there are no items to look at",
            where="quality(pairs)",
            fix="give pairs that were read, or label some first",
        )
    repeats, bias, leaks, blanks = RepeatFinder(), Bias(), LeakFinder(), OuterBlanks()
    problems: list[Problem] = []
    imported: dict[str, dict[str, str]] = {}  # item -> annotator -> answer, of votes in the data
    for pair in against if against is not None else ():
        leaks.hold(pair)
    for row, pair in enumerate(pairs):
        repeats.add(pair)
        bias.add(pair)
        problems.extend(problems_of(pair, row))
        blanks.note(pair, row)
        if "votes" in pair.meta:
            imported[pair.id] = imported_ratings(pair)
        if against is not None:
            leaks.look_up(pair)
    problems.extend(blanks.problems(pairs))
    again, leaked = list(repeats.repeats()), list(leaks.leaks())
    deciles, features, longer = bias.deciles(), bias.features(), bias.longer_wins()
    if store is not None:
        people = people_of(store)
    else:  # the votes and reasons that came with the data
        votes = agreement(imported) if imported else []
        people = People([], votes, [], imported_reasons(pairs.labels()))
    summary = [
        *_repeated(again, len(pairs)),
        _leaking(leaked, len(pairs), against is not None),
        *_answers(problems, len(pairs)),
        _numbers(problems, len(pairs)),
        _length(longer, bias.compared),
        _looks(features, bias.compared),
        _left(people.sides),
        _agreed(people.measures),
        *_steady(people.steadiness),
        *_reasons(people.reasons),
    ]
    frames: dict[str, tuple[Sequence[tuple[Any, ...]], type[Any]]] = {
        "duplicates": (again, Repeat),
        "leaks": (leaked, Leak),
        "problems": (problems, Problem),
        "length": (deciles, Decile),
        "features": (features, Feature),
        "sides": (people.sides, Side),
        "agreement": (people.measures, Measure),
        "steadiness": (people.steadiness, Steadiness),
        "reasons": (people.reasons, Reason),
    }
    noun = "item" if len(pairs) == 1 else "items"
    return Findings(
        title=f"{len(pairs):,} {noun}, {bias.compared:,.0f} with a better answer",
        summary=frame_of([*summary], CHECK_COLUMNS),
        frames={name: frame_of(list(rows), kind._fields) for name, (rows, kind) in frames.items()},
        pairs=pairs,
        rows=_rows_behind(again, leaked, problems, bias, features, imported, pairs),
    )


def _rows_behind(
    again: list[Repeat],
    leaked: list[Leak],
    problems: list[Problem],
    bias: Bias,
    features: list[Feature],
    imported: dict[str, dict[str, str]],
    pairs: Pairs,
) -> dict[str, list[int]]:
    """Return the items behind each finding that has any."""
    leaning = [feature.feature for feature in features if leans(_share_of(feature))]
    split = {item for item, answers in imported.items() if len(set(answers.values())) > 1}
    near = [(repeat.row, repeat.first_row) for repeat in again if repeat.kind == "near"]
    same = [(repeat.row, repeat.first_row) for repeat in again if repeat.kind != "near"]
    rows = {
        "repeated items": [row for both in same for row in both],
        "near repeats": [row for both in near for row in both],
        "prompts in both sets": [leak.row for leak in leaked],
        "length": bias.rows_longer_won(),
        "looks of the answers": bias.rows_told_apart(leaning),
        "agreement": [row for row, ident in enumerate(pairs.ids()) if ident in split]
        if split
        else [],
    }
    for problem in problems:
        rows.setdefault(_CHECK_OF.get(problem.problem, "identical answers"), []).append(problem.row)
    return {check: sorted(set(behind)) for check, behind in rows.items() if behind}


_CHECK_OF = {
    "empty answer": "empty texts",
    "empty prompt": "empty texts",
    "chat markup": "chat markup",
    "rendered by a template": "rendered texts",
    OUTER: "outer blanks",
    AGAINST: "scores and margins",
    NEGATIVE: "scores and margins",
}


def _reasons(reasons: Sequence[Reason]) -> list[Finding]:
    """The reasons that labels were given with, the most frequent first; nothing without any."""
    everyone = [row for row in reasons if row.annotator == EVERYONE]
    if not everyone:
        return []
    named = [f"{row.tag} {row.labels:,}" for row in everyone[:8]]
    more = [f"{len(everyone) - 8} more in .frames"] if len(everyone) > 8 else []
    words = f"{', '.join([*named, *more])} (of {everyone[0].of:,} labels)"
    return [Finding("reasons given", words, FINE, OK)]


def _judged(check: str, finding: str, advice: str, *, look: bool) -> Finding:
    return Finding(check, finding, advice if look else FINE, LOOK if look else OK)


def _unknown(check: str, why: str, advice: str) -> Finding:
    return Finding(check, why, advice, UNKNOWN)


def _repeated(again: list[Repeat], items: int) -> list[Finding]:
    kinds = Counter(repeat.kind for repeat in again)
    same, swapped, near = kinds["exact"], kinds["order-free"], kinds["near"]
    return [
        _judged(
            "repeated items",
            f"{same:,} exact, {swapped:,} with the answers in another order, of {items:,}",
            "drop them: training sees them twice; load_pairs leaves them out when it reads a file",
            look=same + swapped > 0,
        ),
        _judged(
            "near repeats",
            f"{near:,} of {items:,} have four fifths of an earlier item's runs of words",
            "read some in frames['duplicates']; templates are fine, copies count double",
            look=near > 0,
        ),
    ]


def _leaking(leaked: list[Leak], items: int, checked: bool) -> Finding:
    check = "prompts in both sets"
    if not checked:
        return _unknown(check, "not checked", "give the test set: quality(train, against=test)")
    same = sum(leak.kind == "same" for leak in leaked)
    near = len(leaked) - same
    return _judged(
        check,
        f"{same:,} with a prompt of the other set, {near:,} with nearly one, of {items:,}",
        "split by prompt (export --split), or drop the items in frames['leaks']",
        look=bool(leaked),
    )


def _answers(problems: list[Problem], items: int) -> list[Finding]:
    kinds = Counter(problem.problem for problem in problems)
    names = ("empty answer", "empty prompt", "identical answers", "chat markup")
    answers, prompts, alike, markup = (kinds[name] for name in names)
    outer, rendered = kinds[OUTER], kinds["rendered by a template"]
    nearly = kinds["answers that differ in case or blanks alone"]
    return [
        _judged(
            "empty texts",
            f"{answers:,} empty answers, {prompts:,} empty prompts, of {items:,} items",
            "drop the items in frames['problems']",
            look=answers + prompts > 0,
        ),
        _judged(
            "identical answers",
            f"{alike:,} equal, {nearly:,} equal but for case and blanks, of {items:,}",
            "drop them, or label them as ties",
            look=alike + nearly > 0,
        ),
        _judged(
            "chat markup",
            f"{markup:,} of {items:,} items spell marks of a chat template, as in '<|im_end|>'",
            "training encodes them as plain letters; take out what a rendered prompt has left"
            " (frames['problems'])",
            look=markup > 0,
        ),
        _judged(
            "rendered texts",
            f"{rendered:,} of {items:,} items hold turns that a chat template has rendered",
            "read the conversation's messages instead, else its roles are trained as text and the"
            " template comes twice",
            look=rendered > 0,
        ),
        _judged(
            "outer blanks",
            f"{outer:,} of {items:,} items have an answer that is there with and without them",
            "strip the answers: they are one text to a reader and several to a model",
            look=outer > 0,
        ),
    ]


def _numbers(problems: list[Problem], items: int) -> Finding:
    kinds = Counter(problem.problem for problem in problems)
    against, negative = kinds[AGAINST], kinds[NEGATIVE]
    return _judged(
        "scores and margins",
        f"{against:,} of {items:,} items prefer an answer whose score is not the highest,"
        f" {negative:,} have a margin below 0",
        "see which way round the scores are to be read; chosen and rejected may be swapped",
        look=against + negative > 0,
    )


def _length(longer: Share, compared: float) -> Finding:
    check = "length"
    if longer.value is None:
        why = "no labels" if not compared else "all answers compared are equally long"
        return _unknown(check, f"undefined: {why}", "label some pairs")
    return _judged(
        check,
        f"always taking the longer answer is right on {percents(longer)} of {longer.of:,.0f} pairs",
        f"a reward model must beat {max(longer.value, 1 - longer.value):.0%} to have learned more"
        " than length; watch response/length in PPO",
        look=leans(longer),
    )


def _looks(features: list[Feature], compared: float) -> Finding:
    check = "looks of the answers"
    if all(row.rate is None for row in features):
        why = "no labels" if not compared else "no feature tells two answers apart"
        return _unknown(check, f"undefined: {why}", FINE if compared else "label some pairs")
    leaning = [row for row in features if leans(_share_of(row))]
    if not leaning:
        return Finding(check, "no mark of an answer leans to winning or losing", FINE, OK)
    leaning.sort(key=lambda row: -abs((row.rate or 0.0) - 0.5))
    first = "; ".join(f"{row.feature}: wins {percents(_share_of(row))}" for row in leaning[:3])
    more = f"; and {len(leaning) - 3} more" if len(leaning) > 3 else ""
    advice = "expect the policy to find these marks; see frames['features']"
    return Finding(check, first + more, advice, LOOK)


def _left(sides: list[Side]) -> Finding:
    check = "side taken"
    if not sides:
        return _unknown(check, *NO_STORE)
    everyone = _share_of(sides[0])
    if everyone.value is None:
        return _unknown(check, "undefined: nobody took a side", "label some pairs")
    one_sided = [side.annotator for side in sides[1:] if leans(_share_of(side))]
    who = f"; one-sided: {', '.join(one_sided)}" if one_sided else ""
    return _judged(
        check,
        f"P(left) = {percents(everyone)} over {everyone.of:,} labels{who}",
        "look at how these people label; sides are drawn by lot, so P(left) should be one half",
        look=leans(everyone) or bool(one_sided),
    )


def _agreed(measures: list[Measure]) -> Finding:
    check = "agreement"
    if not measures:
        return _unknown(check, *NO_STORE)
    plain, alpha = measures[0], measures[1]
    if plain.value is None:
        return _unknown(check, plain.note, "let two people label some of the same items")
    finding = f"{plain.value:.1%} on what was labelled twice or more ({plain.items:,})"
    if alpha.value is None:
        return _unknown(check, f"{finding}; alpha {alpha.note}", "label more items twice")
    finding += f"; Krippendorff's alpha {alpha.value:.2f}"
    if alpha.low is not None and alpha.high is not None:
        finding += f" ({alpha.low:.2f} to {alpha.high:.2f})"
    advice = "sharpen the guideline, read what people disagree on, ask for more labels an item"
    return _judged(check, finding, advice, look=alpha.value < POOR_ALPHA)


def _steady(rows: list[Steadiness]) -> list[Finding]:
    return [
        _steady_at(
            [row for row in rows if row.test == "repeat"],
            "self-consistency",
            "let a few items come back swapped: repeats=0.05",
            "same label",
        ),
        _steady_at(
            [row for row in rows if row.test == "gold"],
            "gold items",
            "add items whose label is known",
            "passed",
        ),
    ]


def _steady_at(rows: list[Steadiness], check: str, how: str, word: str) -> Finding:
    """How reliable people are by one test; ``how`` to have it taken."""
    if not rows:
        return _unknown(check, "not checked", "give the label store")
    everyone = Share(rows[0].rate, rows[0].low, rows[0].high, rows[0].items)
    if everyone.value is None:
        return _unknown(check, "undefined: there are none", how)
    poor = [row.annotator for row in rows[1:] if row.high is not None and row.high < STEADY]
    finding = f"{word} on {percents(everyone)} of {everyone.of:,}"
    finding += f"; poor: {', '.join(poor)}" if poor else ""
    look = bool(poor) or everyone.value < STEADY
    return _judged(check, finding, "talk it over with them", look=look)


def leans(rate: Share) -> bool:
    """Whether a rate is surely not one half, and far enough from it to matter."""
    if rate.value is None or rate.low is None or rate.high is None:
        return False
    return not rate.low <= 0.5 <= rate.high and abs(rate.value - 0.5) >= LEANING


def percents(share: Share) -> str:
    """Return a share with its interval, in words."""
    if share.value is None or share.low is None or share.high is None:
        return "undefined"
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _share_of(row: Feature | Side) -> Share:
    of = row.comparisons if isinstance(row, Feature) else row.left + row.right
    return Share(row.rate, row.low, row.high, of)
