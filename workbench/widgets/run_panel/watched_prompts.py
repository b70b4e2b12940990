"""The answers to the watched prompts over time: the sample table's rows. No widgets, no page."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.json_lines import Block, blocks
from workbench.runs.alarms import WatchedFigures, watched_figures
from workbench.runs.file_rules import answer_rows
from workbench.widgets.kit.texts import abridged, as_text
from workbench.widgets.kit.wire import outgoing

if TYPE_CHECKING:
    from workbench.analysis.score_rise import ScoreRise

LONGEST = 4_000
"""Characters of a prompt or an answer in the sample table; it says how many there are beyond."""
MOST_WATCHED = 500
"""Prompts of one step in the sample table; more are counted."""
MOST_TOKENS = 1_200  # of an answer whose figures travel
ALARMED = 200  # newest watched steps whose answers are looked at for repetition, on opening
_STEP = re.compile(rb'\{"step": ?(\d{1,15})[,}]')  # as the writer, and json.dumps, write it
TOKEN_FIGURES = {"kl": "token_kl", "value": "token_value", "advantage": "token_advantage"}


class WatchedPrompts:
    """Rows of samples.jsonl by the step at which they were sampled.

    What the policy started from is in a row's ``reference`` where the trainer wrote it; else the
    first answer to the same prompt stands for it. Of each step only the place in the file is held.

    Attributes:
        steps: at which answers were sampled, as they came.
        figures: by step, what its answers show together.
        damaged: how many lines hold no row.
        unshown: how many rows are more than :data:`MOST_WATCHED` at their step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[int] = []
        self.figures: dict[int, WatchedFigures] = {}
        self.damaged = self.unshown = 0
        self._places: dict[int, list[tuple[int, int]]] = {}  # where a step's lines begin and end
        self._counts: dict[int, int] = {}
        self._fresh: dict[int, None] = {}
        self._rise: tuple[Any, dict[str, Any] | None] = (None, None)

    def take(self, block: Block) -> None:
        """Lines that were written since the last time; they are parsed when asked for."""
        at = block.offset - sum(map(len, block.lines)) - len(block.lines)
        for line in block.lines:
            begin, at = at, at + len(line) + 1
            match = _STEP.match(line)
            step = int(match[1]) if match else _step(line)
            if step is None:
                self.damaged += 1
                continue
            places = self._places.setdefault(step, [])
            if not places:
                self.steps.append(step)
            self._counts[step] = self._counts.get(step, 0) + 1
            if self._counts[step] > MOST_WATCHED:
                self.unshown += 1
            elif places and places[-1][1] == begin:
                places[-1] = places[-1][0], at
            else:
                places.append((begin, at))
            self._fresh[step] = None

    def look(self) -> None:
        """Look through the newest answers that were taken, for what they repeat."""
        for step in list(self._fresh)[-ALARMED:]:
            self.figures[step] = watched_figures(self.rows(step))
        self._fresh.clear()

    def rows(self, step: int | None) -> list[dict[str, Any]]:
        """The rows of one of :attr:`steps` as they were written; none of any other."""
        places = [] if step is None else self._places.get(step, [])
        parts = (answer_rows(part.lines) for at in places for part in blocks(self.path, *at))
        return [row for rows in parts for row in rows if row["step"] == step]

    def table(self, index: int = -1) -> dict[str, Any]:
        """The table of one of :attr:`steps`, beside the answers before it and at the start.

        Args:
            index: which; the nearest where there is no such one, and -1 is the newest.

        Returns:
            ``{"index", "count", "step", "before", "start", "steps", "rows"}``; each row has
            ``prompt``, ``response``, ``score``, ``kl``, ``gold``, as ``last`` the row of the same
            prompt at step ``before``, as ``first`` the one that ``start`` says, each or None, and
            ``tokens`` with their figures where the trainer wrote them. A reward run's row has
            ``pair``: both texts, and the ``scores`` of the chosen and the rejected one; the
            table then has ``spread``: histograms of the scores of all held-out pairs.
        """
        if not self.steps:
            return {
                **dict.fromkeys(("step", "before", "start")),
                "index": -1,
                "count": 0,
                "rows": [],
            }
        at = len(self.steps) - 1 if index < 0 else min(index, len(self.steps) - 1)
        step, before = self.steps[at], self.steps[at - 1] if at else None
        last, first = self._by_prompt(before), self._by_prompt(self.steps[0] if at else None)
        now, rows = self.rows(step), list[dict[str, Any]]()
        for row in now:
            earlier = {"last": _same(last, row), "first": _same(first, row)}
            if row.get("reference") is not None:
                earlier["first"] = _sample({"response": row["reference"]})
            rows.append({**_sample(row), **earlier, "tokens": _tokens(row), **_pair(row)})
        has_reference = any(row.get("reference") is not None for row in now)
        start = "reference" if has_reference or self.steps[0] == 0 else self.steps[0]
        place = {"index": at, "count": len(self.steps), "step": step, "before": before}
        spread = self._spread(step, self.steps[0] if at else None)
        return {**place, "start": start if has_reference or at else None, "rows": rows, **spread}

    def _spread(self, step: int, first: int | None) -> dict[str, Any]:
        """How a reward run's held-out scores lie, now and at the first evaluation."""
        now, then = (_spread_of(self.rows(one)) for one in (step, first))
        return {} if now is None else {"spread": {**now, "first": then}}

    def rise(self) -> dict[str, Any] | None:
        """Why the score rose from the first of :attr:`steps` to the newest, for the page.

        ``{"first", "last", "total", "rest", "words", "causes"}``, each cause with ``name``,
        ``part``, ``means`` in words, and as ``example`` an answer before and one after, or None.
        None where fewer than two steps have scores.
        """
        from workbench.analysis.score_rise import rise_of_steps

        known = len(self.steps), self._counts[self.steps[-1]] if self.steps else 0
        if self._rise[0] != known:
            rise = rise_of_steps(self.steps, self.rows) if len(self.steps) > 1 else None
            self._rise = known, None if rise is None else _rise(rise)
        return self._rise[1]

    def two_answers(self, index: int, row: int, field: str) -> tuple[Any, str, str] | None:
        """A row's prompt as it was written, its answer, and the earlier one (``last``, ``first``).

        None where there is no earlier one, or it is the same.
        """
        shown = self.table(index)["rows"][row]
        now = self.rows(self.steps[index])[row]
        step = self.steps[index - 1] if field == "last" else self.steps[0]
        response = as_text(now.get("response"))
        if field == "first" and now.get("reference") is not None:
            other = as_text(now["reference"])
        elif shown[field] is None:
            return None
        else:
            prompt, rows = as_text(now.get("prompt")), self.rows(self.steps[index])
            nth = [as_text(one.get("prompt")) for one in rows[:row]].count(prompt)
            same = [one for one in self.rows(step) if as_text(one.get("prompt")) == prompt]
            other = as_text(same[nth].get("response"))
        return None if other == response else (now.get("prompt"), response, other)

    def _by_prompt(self, step: int | None) -> dict[str, list[dict[str, Any]]]:
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows(step):
            rows.setdefault(as_text(row.get("prompt")), []).append(row)
        return rows


def _step(line: bytes) -> int | None:
    """The step of a line that does not begin with it; None where the line is damaged."""
    rows = answer_rows([line])
    return rows[0]["step"] if rows else None


def _same(earlier: dict[str, list[dict[str, Any]]], row: dict[str, Any]) -> dict[str, Any] | None:
    """The earlier row of the same prompt; one that is watched twice is matched in order."""
    same = earlier.get(as_text(row.get("prompt")))
    return _sample(same.pop(0)) if same else None


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    whole = {name: as_text(row.get(name)) for name in ("prompt", "response")}
    texts = {name: outgoing(abridged(text, LONGEST)) for name, text in whole.items()}
    numbers = {name: row.get(name) for name in ("score", "kl", "gold")}
    return {**texts, **numbers}


def _rise(rise: "ScoreRise") -> dict[str, Any]:
    """A change of the score, with one example of each cause."""
    facts = {name: getattr(rise, name) for name in ("first", "last", "total", "rest")}
    facts["words"] = outgoing(rise.words)
    causes: list[dict[str, Any]] = []
    for cause in rise.causes:
        pair = [_sample(answer._asdict()) for one in cause.examples[:1] for answer in one]
        shown = {"name": outgoing(cause.name), "part": cause.part, "means": cause.means}
        causes.append({**shown, "example": pair or None})
    return {**facts, "causes": causes}


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    """A held-out pair of a reward run; nothing for other rows."""
    if "chosen" not in row:
        return {}
    sides = ("chosen", "rejected")
    texts = {side: outgoing(abridged(as_text(row[side]), LONGEST)) for side in sides}
    return {"pair": {**texts, "scores": [row["chosen_score"], row["rejected_score"]]}}


def _spread_of(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    spreads = [row["heldout_scores"] for row in rows if row.get("heldout_scores")]
    return spreads[0] if spreads else None


def _tokens(row: dict[str, Any]) -> dict[str, Any] | None:
    """Token texts and, by name, a figure for each; None where the trainer wrote none."""
    texts = row.get("tokens")
    if not isinstance(texts, list) or not texts:
        return None
    figures = {
        name: [_brief(value) for value in row[field][:MOST_TOKENS]]
        for name, field in TOKEN_FIGURES.items()
        if isinstance(row.get(field), list) and len(row[field]) == len(texts)
    }
    if not figures:
        return None
    return {"texts": [outgoing(str(text)) for text in texts[:MOST_TOKENS]], **figures}


def _brief(value: Any) -> float | None:
    """Three figures, as a screen shows them."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.3g}")
