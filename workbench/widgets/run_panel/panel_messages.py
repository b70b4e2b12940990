"""What a run panel says about its feed: everything so far, or what is new to one who knows some."""

import threading
from typing import Any

from workbench.runs.folder import LIVE
from workbench.widgets.kit.wire import changed_parts
from workbench.widgets.run_panel.run_feed import RunFeed


class PanelMessages:
    """Messages for the page, made of one feed; any thread may ask.

    Metric rows go by number within an epoch, all else in parts that replace each other. ``serial``
    orders messages that cross on their way, and ``digests`` is what a page names as ``seen``. So
    a page that hears a thing twice, or from two sides, draws it once.
    """

    def __init__(self, feed: RunFeed) -> None:
        self.feed = feed
        self._lock = threading.RLock()
        self._serial = 0

    @property
    def live(self) -> bool:
        """Whether more is to come."""
        return self.feed.folder.status()["state"] in LIVE

    def whole(self) -> dict[str, Any]:
        """Everything so far, from the first step."""
        with self._lock:
            self.feed.refresh()
            return {
                "type": "all",
                "header": self.feed.header(),
                "epoch": self.feed.epoch,
                "rows": self.feed.count,
                "curves": self.feed.curves(),
                **self._parts({}),
            }

    def news(self, epoch: int, rows: int, seen: dict[str, str]) -> dict[str, Any] | None:
        """What is new to one who holds ``rows`` rows of ``epoch`` and the ``seen`` parts."""
        with self._lock:
            self.feed.refresh()
            answer = {"type": "new", "epoch": self.feed.epoch, **self._parts(seen)}
            if epoch != self.feed.epoch:  # it will ask for everything
                return answer
            if rows < self.feed.count:
                answer["metrics"] = self.feed.rows_from(rows)
            elif not answer["parts"]:
                return None
            return answer

    def place(self) -> tuple[int, int]:
        """Epoch and number of rows read so far."""
        with self._lock:
            return self.feed.epoch, self.feed.count

    def _parts(self, seen: dict[str, str]) -> dict[str, Any]:
        whole = {
            "status": self.feed.status(),
            "verdict": self.feed.verdict().as_dict(),
            "guides": self.feed.guides(),
            "settings": self.feed.settings(),
            "commands": self.feed.commands(),
            "changes": self.feed.changes(),
            "events": self.feed.events(),
            "alarms": self.feed.alarms(),
            "charts": self.feed.charts(),
            "samples": self.feed.samples(),
            "rise": self.feed.rise(),
        }
        self._serial += 1
        return {"serial": self._serial, **changed_parts(whole, seen)}
