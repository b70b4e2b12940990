"""Models compared blind: judged by keys as in the labeller, then revealed with what it comes to."""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from workbench.analysis.blind_comparison import JUDGES, YOU, BlindComparison
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Label, Pairs
from workbench.errors import DataError
from workbench.widgets.compare.compare import CompareView
from workbench.widgets.kit.wire import outgoing
from workbench.widgets.labeller.labeller import Labeller

if TYPE_CHECKING:
    from workbench.data.arrow_table import Frame
    from workbench.data.store.labels import LabelStore


class BlindComparisonView(Labeller):
    """Answers of models side by side without their names, until the person says "reveal".

    Blind by construction: while it is judged, only texts travel, in the order drawn for this
    person. After the reveal no verdict is taken any more, since it would not be blind.

    Args:
        contest: the rows, and which model wrote what.
        store: where the verdicts go, as label events like any others.
        annotator: who judges.
        seed: of the sides.
        keys: other keys for some actions, as in the labeller.
    """

    _script = "widgets/compare/blind_comparison.js"
    _styles = ("widgets/labeller/labeller.css", "widgets/compare/compare.css")

    selected = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        contest: BlindComparison,
        store: "LabelStore",
        *,
        annotator: str = "me",
        seed: int = 0,
        keys: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        session = LabelSession(contest.pairs, store, annotator=annotator, seed=seed, overlap=None)
        super().__init__(session, keys)
        self.contest, self.store = contest, store
        self.revealed = False
        self._view_guard = threading.Lock()
        self._view: CompareView | None = None

    def labels(self) -> dict[str, Label]:
        """This person's verdicts that stand, by item."""
        mine, items = self.session.annotator, set(self.contest.pairs.ids())
        return {
            row["item_id"]: {key: row[key] for key in ("kind", "winner", "ranks")}
            for row in self.store.labels().to_dict("records")
            if row["annotator"] == mine and row["item_id"] in items
        }

    def result(self) -> "Frame":
        """Wins, ties, losses, win rate with its interval, and sign test, for each judge.

        The person, and the reward model and the gold judge where the answers were scored.
        """
        return self.contest.result(self.labels())

    def disagreements(self, by: str = "score") -> Pairs:
        """What the person and the reward model (``score``) or the judge (``gold``) differ on."""
        rows = self.contest.disagreements(self.labels(), by)
        wanted = {self.contest.ids[row] for row in rows}
        return Pairs.from_items(pair for pair in self.contest.pairs if pair.id in wanted)

    def reveal(self) -> CompareView:
        """Who wrote what, with the verdicts; ends the judging."""
        with self._view_guard:
            self.revealed = True
            self.session.close()
            if self._view is None:
                rows, names = self.contest.rows, self.contest.models
                sender = {"queue": self.store, "annotator": self.session.annotator}
                self._view = CompareView(rows, names, **sender)
            return self._view

    def _answer(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = content.get("type")
        if kind == "reveal" or (kind == "ready" and self.revealed):
            return self._revealed()
        if kind == "queue" and self.revealed:
            return {**self.reveal().queued(content), "to": content.get("view")}
        return super()._answer(content)

    def _do(self, content: Mapping[str, Any], ident: str) -> bool:
        if self.revealed:
            raise DataError(
                "the models are revealed, and a verdict would not be blind any more",
                where="wb.compare",
                fix="run the cell again with another seed for new answers",
            )
        return super()._do(content, ident)

    def _revealed(self) -> dict[str, Any]:
        """What the page shows: everything of the table, the verdicts, and what they come to."""
        view, labels = self.reveal(), self.labels()
        against = {m: self.contest.disagreements(labels, m) for m in self.contest.measures}
        return {
            **view.message(),
            "said": [self._verdict(labels, row) for row in range(len(self.contest.rows))],
            "against": {JUDGES[measure]: rows for measure, rows in against.items()},
            "duels": duels(self.contest, labels),
            "told": [outgoing(line) for line in sentences(self.contest, labels)],
        }

    def _verdict(self, labels: Mapping[str, Label], row: int) -> dict[str, Any] | None:
        """What the person said of a row: which models are best, or none; None: not judged."""
        ident, places = self.contest.ids[row], self.contest.places[row]
        if ident is None:
            return {"kind": "same", "best": []}
        label = labels.get(ident)
        if label is None:
            return None
        if label["kind"] == "choice":
            best = int(label["winner"])
            return {"kind": "choice", "best": [m for m, p in enumerate(places) if p == best]}
        if label["kind"] == "rank":
            ranks = [label["ranks"][place] for place in places]
            return {"kind": "rank", "best": [m for m, r in enumerate(ranks) if r == 1]}
        return {"kind": str(label["kind"]), "best": []}

    def picture(self) -> str:
        """The table and the result as HTML, once the models are revealed."""
        if not self.revealed:
            return "<p>A blind comparison: it is judged in a live notebook.</p>"
        return self.reveal().picture() + self.result().to_html(index=False, float_format="%.3f")


def duels(contest: BlindComparison, labels: Mapping[str, Label]) -> list[dict[str, Any]]:
    """What it came to, to be drawn: for each two models a win rate by each judge."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in contest.result(labels).to_dict("records"):
        judge: dict[str, Any] = {name: int(row[name]) for name in ("wins", "ties", "losses")}
        judge |= {"by": row["by"], "rate": None, "low": None, "high": None}
        if row["prompts"]:
            judge |= {"rate": row["win_rate"], "low": row["low"], "high": row["high"]}
        if row["by"] != YOU:
            judge |= {"against_you": int(row["against_you"]), "of": int(row["of"])}
        pairs.setdefault((row["model"], row["against"]), []).append(judge)
    return [
        {"model": outgoing(model), "against": outgoing(against), "judges": judges}
        for (model, against), judges in pairs.items()
    ]


def sentences(contest: BlindComparison, labels: Mapping[str, Label]) -> list[str]:
    """What it came to: a line for each two models and each judge, and one for the rest."""
    lines = [_line(row) for row in contest.result(labels).to_dict("records")]
    judged = len(contest.judged(labels)) - contest.same
    prompts = len(contest.rows) - contest.same
    rest = [f"{judged} of {prompts} prompts judged"]
    if contest.same:
        rest.append(f"on {contest.same} all answers are the same text, which counts as a tie")
    return [*lines, "; ".join(rest) + "."]


def _line(row: Mapping[str, Any]) -> str:
    if not row["prompts"]:
        return f"{row['by'].capitalize()}: nothing is judged yet."
    counts = f"{row['wins']} won, {row['ties']} tied, {row['losses']} lost"
    rate = f"win rate {row['win_rate']:.0%} (95 % interval {row['low']:.0%} to {row['high']:.0%})"
    who = "You" if row["by"] == YOU else f"The {row['by']}"
    p = "< 0.001" if row["p"] < 0.001 else f"= {row['p']:.3f}"
    line = f"{who}: {row['model']} against {row['against']}: {rate}; {counts}; sign test p {p}"
    if row["by"] == YOU:
        return f"{line}."
    return f"{line}. Against your verdict on {int(row['against_you'])} of {int(row['of'])}."
