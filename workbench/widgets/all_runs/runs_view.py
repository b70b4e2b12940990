"""All runs in a table; several of them picked: curves overlaid, settings diffed, answers beside.

The page asks ("ready", then "poll") and gets what changed since, by digests.
"""

import threading
import uuid
from functools import partial
from typing import Any

from workbench.errors import RunError
from workbench.html_table import table
from workbench.runs import RunFolder, Runs
from workbench.runs.catalogue import summaries
from workbench.runs.housekeeping import delete_run, deleted_runs, restore_run, write_note
from workbench.runs.launcher import within_root
from workbench.widgets.all_runs import overlay
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.plotly_source import packed_plotly
from workbench.widgets.kit.wire import changed_parts, incoming, outgoing
from workbench.widgets.run_panel.panel import RunPanel
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
        self._panel: RunPanel | None = None
        self._lock = threading.RLock()
        self._answers = {
            "plotly": lambda _message: {"type": "plotly", "packed": packed_plotly()},
            "ready": self._on_poll,
            "poll": self._on_poll,
            "pick": self._on_pick,
            "answers": self._on_answers,
            "describe": self._on_describe,
            "delete": self._on_delete,
            "restore": self._on_restore,
            "panel": self._on_panel,
        }
        super().__init__()

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any] | None:
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

    def _on_describe(self, message: dict[str, Any]) -> dict[str, Any]:
        """Write a note or tags beside a run."""
        texts = {name: incoming(message[name]) for name in ("note", "tags") if name in message}
        write_note(self._folder(message).path, **texts)
        return self._news(message.get("seen") or {})

    def _on_delete(self, message: dict[str, Any]) -> dict[str, Any]:
        folder = self._folder(message)
        delete_run(folder)
        self._feeds.pop(str(folder.path), None)
        self.picked = list(self._feeds)
        return self._news(message.get("seen") or {})

    def _on_restore(self, message: dict[str, Any]) -> dict[str, Any]:
        restore_run(str(message["address"]))
        return self._news(message.get("seen") or {})

    def _on_panel(self, message: dict[str, Any]) -> None:
        """What the panel of the run that is open asks; its answers go through this widget."""
        address, inner = str(message["address"]), message["message"]
        if self._panel is None or str(self._panel.run.path) != address:
            if self._panel is not None:
                self._panel.close()
            self._panel = RunPanel(self._folder(message))
            self._panel.send = partial(self._pass_on, address)
        self._panel._receive(inner)

    def _pass_on(self, address: str, content: dict[str, Any], buffers: Any = None) -> None:
        self._say({"type": "panel", "address": address, "message": content})

    def _folder(self, message: dict[str, Any]) -> RunFolder:
        """The run that a message is about, which is one of the table's.

        Raises:
            RunError: it is none of them.
        """
        address = str(message["address"])
        for folder in self.runs.folders:
            if str(folder.path) == address:
                return folder
        raise RunError(
            "that run is not in this table",
            where=address,
            fix="run the cell with wb.runs() again",
        )

    def close(self) -> None:
        """Stop watching; the runs go on."""
        if self._panel is not None:
            self._panel.close()
        super().close()

    def _news(self, seen: dict[str, str]) -> dict[str, Any]:
        return {"type": "news", **changed_parts(self._parts(), seen), "still": self.mark}

    def _parts(self) -> dict[str, Any]:
        """The table; of the picked runs what they have in common, and each one's curves."""
        feeds = list(self._feeds.values())
        for feed in feeds:
            feed.refresh()
        parts: dict[str, Any] = {"runs": [_row(row) for row in reversed(summaries(self.runs.root))]}
        parts["deleted"] = [
            {"path": str(one.path), "open": outgoing(within_root(one.path))}
            for one in deleted_runs(self.runs.root)
        ]
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
