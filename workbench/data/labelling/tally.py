"""Counts of one person's work, kept up to date label by label: nothing is counted over again."""

from collections import deque
from itertools import pairwise
from typing import Any

from workbench.data.store.label_events import LABELS, Event
from workbench.data.store.label_values import outcome

BREAK = 300.0  # [s] a longer gap between two labels is a pause, not work
RECENT = 50  # labels that the speed is measured over


class Share:
    """Of some keys, the share for which something holds."""

    def __init__(self) -> None:
        self._holds: dict[str, bool] = {}
        self._yes = 0

    def put(self, key: str, holds: bool | None) -> None:
        """Say whether it holds for a key; None takes the key out."""
        if holds is None and key not in self._holds:
            return
        self._yes -= self._holds.pop(key, False)
        if holds is not None:
            self._holds[key] = holds
            self._yes += holds

    @property
    def value(self) -> float | None:
        """The share, None where there are no keys."""
        return self._yes / len(self._holds) if self._holds else None


class Tally:
    """What one person has decided, how fast, and how it fits what they and others said before."""

    def __init__(self, annotator: str) -> None:
        self._annotator = annotator
        self.decided: dict[int, Event] = {}  # place -> label, edit or skip
        self.flagged: set[int] = set()
        self.full: set[int] = set()  # places that as many others as may have labelled
        self._done = 0
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._votes: dict[str, dict[str, Any]] = {}  # item -> annotator -> what they said
        self._again: dict[str, Any] = {}  # item -> what this person said the second time
        self._agreement, self._consistency, self._gold = Share(), Share(), Share()

    def others(self, item_id: str) -> set[str]:
        """Return who else has labelled an item."""
        return self._votes.get(item_id, {}).keys() - {self._annotator}

    def other_votes(self, item_id: str) -> int:
        """Return how many others have labelled an item."""
        votes = self._votes.get(item_id, ())
        return len(votes) - (self._annotator in votes)

    def fill(self, place: int, enough: bool) -> None:
        """Take in whether enough others have labelled a place; one's own decision comes first."""
        if enough and place not in self.decided:
            self.full.add(place)
        else:
            self.full.discard(place)

    def decide(self, place: int, decision: Event | None) -> None:
        """Take in what this person's decision at a place is now."""
        before = self.decided.pop(place, None)
        self._done += (decision is not None and decision.kind in LABELS) - (
            before is not None and before.kind in LABELS
        )
        if decision is not None:
            self.decided[place] = decision

    def worked(self, time: float) -> None:
        """Take in when a label was given, in seconds since 1970."""
        self._recent.append(time)

    def vote(self, item_id: str, annotator: str, decision: Event | None) -> None:
        """Take in what somebody says of an item now."""
        votes = self._votes.get(item_id, {})
        votes.pop(annotator, None)
        if decision is not None and decision.counts:
            votes[annotator] = outcome(decision.payload["label"])
        agreed = len(set(votes.values())) == 1 if len(votes) > 1 else None
        self._agreement.put(item_id, agreed)
        if votes:
            self._votes[item_id] = votes
        else:
            self._votes.pop(item_id, None)
        if annotator == self._annotator and item_id in self._again:
            self._compare(item_id)

    def repeat(self, item_id: str, decision: Event | None) -> None:
        """Take in what this person says of an item that came back swapped."""
        self._again.pop(item_id, None)
        if decision is not None and decision.kind in LABELS:
            self._again[item_id] = outcome(decision.payload["label"])
        self._compare(item_id)

    def gold(self, item_id: str, decision: Event | None) -> None:
        """Take in what this person says of a gold item."""
        passed = None
        if decision is not None and decision.kind in LABELS:
            passed = bool(decision.payload["passed"])
        self._gold.put(item_id, passed)

    def progress(self, total: int) -> dict[str, Any]:
        """Return the counts, and the shares: None where there is nothing to take a share of."""
        gaps = [min(later - time, BREAK) for time, later in pairwise(self._recent)]
        worked = sum(gaps)
        return {
            "done": self._done,
            "skipped": len(self.decided) - self._done,
            "flagged": len(self.flagged),
            "left": total - len(self.decided) - len(self.full),
            "total": total,
            "per_hour": round(3600 * len(gaps) / worked, 1) if worked > 0 else None,
            "agreement": self._agreement.value,
            "consistency": self._consistency.value,
            "gold": self._gold.value,
        }

    def _compare(self, item_id: str) -> None:
        first = self._votes.get(item_id, {}).get(self._annotator)
        again = self._again.get(item_id)
        both = first is not None and again is not None
        self._consistency.put(item_id, first == again if both else None)
