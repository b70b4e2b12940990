"""All runs in a table; several of them picked: curves overlaid, settings diffed, answers beside.

The page asks ("ready", then "poll") and gets what changed since, by digests.
"""

import threading
import uuid
from typing import Any

from workbench.errors import RunError
from workbench.html_table import table
from workbench.runs import Runs
from workbench.runs.catalogue import summaries
from workbench.runs.launcher import within_root
from workbench.widgets.all_runs import overlay
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.plotly_source import packed_plotly
from workbench.widgets.kit.wire import changed_parts, outgoing
from workbench.widgets.run_panel.run_feed import RunFeed

MOST_PICKED = 6  # runs beside each other: as many as there are colours with strokes
STILL = 30  # newest runs of the still table


class RunsView(LoadedWidget):
    """A table of runs, read from their folders; ``picked`` are the addresses that are compared.

    Args:
        runs: what :func:`workbench.runs` gave.
    """

    _script = "widgets/all_runs/runs_view.js"
    _styles = ("widgets/run_panel/panel.css", "widgets/all_runs/runs_view.css")

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.picked: list[str] = []
        self.mark = uuid.uuid4().hex[:8]
        self._feeds: dict[str, RunFeed] = {}
        self._lock = threading.RLock()
        self._answers = {
            "plotly": lambda _message: {"type": "plotly", "packed": packed_plotly()},
            "ready": self._on_poll,
            "poll": self._on_poll,
            "pick": self._on_pick,
            "answers": self._on_answers,
        }
        super().__init__()

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            return self._answers[content["type"]](content)

    def _on_poll(self, message: dict[str, Any]) -> dict[str, Any]:
        """The parts that the page does not have yet."""
        return self._news(message.get("seen") or {})

    def _on_pick(self, message: dict[str, Any]) -> dict[str, Any]:
        addresses = [str(address) for address in message["addresses"]]
        if len(addresses) > MOST_PICKED:
            raise RunError(
                f"{len(addresses)} runs are too many to tell apart",
                where="the table of runs",
                fix=f"pick at most {MOST_PICKED}",
            )
        known = {str(folder.path): folder for folder in self.runs.folders}
        for address in known.keys() & addresses:
            known[address].config()  # one that is unreadable says so here
        self.picked = [address for address in addresses if address in known]
        feeds = self._feeds
        self._feeds = {a: feeds.get(a) or RunFeed(known[a]) for a in self.picked}
        return self._news(message.get("seen") or {})

    def _on_answers(self, message: dict[str, Any]) -> dict[str, Any]:
        feeds = list(self._feeds.values())
        return {"type": "answers", "answers": overlay.answers_beside(feeds, int(message["step"]))}

    def _news(self, seen: dict[str, str]) -> dict[str, Any]:
        return {"type": "news", **changed_parts(self._parts(), seen), "still": self.mark}

    def _parts(self) -> dict[str, Any]:
        """The table; of the picked runs what they have in common, and each one's curves."""
        feeds = list(self._feeds.values())
        for feed in feeds:
            feed.refresh()
        parts: dict[str, Any] = {"runs": [_row(row) for row in reversed(summaries(self.runs.root))]}
        parts["picked"] = {
            "addresses": list(self._feeds),
            "names": overlay.names_of(feeds),
            "open": [feed.header()["address"] for feed in feeds],
            "kinds": [feed.kind for feed in feeds],
            "charts": overlay.shared_charts(feeds),
        }
        parts["settings"] = overlay.settings_beside(feeds)
        parts["answers"] = overlay.answers_beside(feeds)
        for number, feed in enumerate(feeds):
            parts[f"curves {number}"] = overlay.run_curves(feed, number)
        return parts

    # --- in a notebook ----------------------------------------------------------------------------

    def picture(self) -> str:
        """The newest runs as a static HTML table."""
        columns = ("name", "kind", "state", "step", "total", "model", "best_of", "best", "started")
        rows = summaries(self.runs.root)[::-1][:STILL]
        cells = ([_text(row[name]) for name in columns] for row in rows)
        still = table(cells, "style='text-align:left'", heads=columns)
        return (
            f"<div class='wb-still' data-panel='{self.mark}'>{still}"
            "<p>A still picture; wb.runs() shows it live.</p></div>"
        )

    def _ipython_display_(self) -> None:
        """The still table, and the live view, which hides it while it lives."""
        from IPython.display import HTML, display

        display(HTML(self.picture()))
        data, metadata = self._live_view()
        display({**data, "text/plain": repr(self.runs)}, metadata=metadata, raw=True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value in (None, "") else str(value)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it travels, with the name that ``wb.open_run`` takes."""
    cells = {name: outgoing(v) if isinstance(v, str) else v for name, v in row.items()}
    cells["model"] = outgoing(within_root(row["model"]))
    return {**cells, "open": within_root(row["path"])}
