"""The run panel: a live view of one run folder, and what a person asks of the run through it.

The page asks ("ready", with Plotly where it has none, then "poll" every second) and a thread
pushes unasked (``push.py``). Either way alone is enough, and both together show nothing twice
(``panel_messages.py``).

A page takes longer to read Plotly than a kernel takes to read a run of 20,000 steps. So a kernel's
first panel sends it unasked, after the page's code and before the view, and only then reads the
folder.
"""

import threading
import uuid
from collections.abc import Callable
from os import PathLike
from typing import Any, ClassVar

import traitlets

from workbench.data.pairs import Pair
from workbench.errors import ConfigError
from workbench.runs import Run, RunFolder
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.plotly_source import packed_plotly
from workbench.widgets.kit.why_score import ask_why, shown_why
from workbench.widgets.run_panel.panel_messages import PanelMessages
from workbench.widgets.run_panel.picture import run_picture
from workbench.widgets.run_panel.push import PanelPush
from workbench.widgets.run_panel.run_feed import RunFeed


class RunPanel(LoadedWidget):
    """One panel for SFT, reward and PPO runs, drawn from the run folder alone.

    Args:
        run: a run, its folder, or the folder's path.
    """

    _script = "widgets/run_panel/panel.js"
    _styles = ("widgets/run_panel/panel.css",)
    _brought: ClassVar[bool] = False  # whether this kernel has sent Plotly to a page
    still = traitlets.Unicode().tag(sync=True)  # mark of the still picture, which a view hides

    def __init__(self, run: "Run | RunFolder | str | PathLike[str]") -> None:
        folder = run if isinstance(run, Run | RunFolder) else RunFolder(run)
        self.run = folder if isinstance(folder, Run) else Run(folder)
        self.feed = RunFeed(self.run.folder)
        self._messages = PanelMessages(self.feed)
        self._push = PanelPush(self._messages, self._say, self._send_code, self._renew_pictures)
        self._pictures: list[Any] = []
        self._answers = {
            "plotly": self._on_plotly,
            "ready": lambda _message: self._messages.whole(),
            "poll": self._on_poll,
            "samples": self._on_samples,
            "ask": self._on_ask,
            "label": self._on_label,
            "why": self._on_why,
        }
        self.explain: Callable[[dict[str, Any]], dict[str, Any]] = ask_why
        self.explaining: threading.Thread | None = None
        super().__init__(still=uuid.uuid4().hex[:8])

    # --- what the page asks -----------------------------------------------------------------------

    def _receive(self, content: dict[str, Any]) -> None:
        self._push.heard()
        if content.get("plotly"):  # it unpacks that while the folder is read
            super()._receive({**content, "type": "plotly", "key": "plotly"})
        super()._receive(content)
        self._push.start()

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any]:
        return self._answers[content["type"]](content)

    def _on_plotly(self, _message: dict[str, Any]) -> dict[str, Any]:
        packed, RunPanel._brought = packed_plotly(), True
        return {"type": "plotly", "packed": packed}

    def _on_poll(self, message: dict[str, Any]) -> dict[str, Any]:
        """What the page does not have yet; at the least a sign of life."""
        place = int(message["epoch"]), int(message["rows"])
        return self._messages.news(*place, message.get("seen") or {}) or {"type": "alive"}

    def _on_samples(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answers of one watched step, by its number or as the newest not behind a step."""
        step = message.get("at")
        index = message["index"] if step is None else self.feed.watched_before(int(step))
        return {"type": "samples", "samples": self.feed.samples(int(index))}

    def _on_ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Hand a command to the run; its answer comes through the folder."""
        asks = {
            "set": lambda: self.run.set(**(message.get("values") or {})),
            "pause": self.run.pause,
            "resume": self.run.resume,
            "stop": self.run.stop,
            "save": self.run.save,
        }
        asks[message["command"]]()
        epoch, rows = self._messages.place()
        return self._messages.news(epoch, rows, {}) or {"type": "alive"}

    def _on_label(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a row's answer and an earlier one to the labeller's queue."""
        store, index, row = self.run.store, int(message["index"]), int(message["row"])
        if store is None:
            address = self.feed.header()["address"]
            raise ConfigError(
                "this panel knows no label store to send the answers to",
                where=f"run {self.run.name}",
                fix=f"wb.open_run({address!r}, store=wb.LabelStore('labels.sqlite'))",
            )
        texts = self.feed.two_answers(index, row, "first" if message["first"] else "last")
        if texts is None:
            raise ConfigError(
                "there is no other answer to compare this one with",
                where=f"row {row + 1} of the sample table",
                fix="take a row whose words have changed, or compare it with the start",
            )
        prompt, *answers = texts
        messages: Any = (
            prompt if isinstance(prompt, list) else [{"role": "user", "content": str(prompt)}]
        )
        responses: Any = [[{"role": "assistant", "content": answer}] for answer in answers]
        step = self.feed.samples(index)["step"]
        pair = Pair.make(messages, responses, source={"run": self.run.name, "step": step})
        sent = store.send(pair, seen_in=f"{self.run.name}, step {step}")
        return {"type": "labelled", "row": row, "index": index, "sent": sent}

    def _on_why(self, message: dict[str, Any]) -> dict[str, Any]:
        """Begin to take a row's answer apart, in a thread; its parts are said when they are there.

        Raises:
            ConfigError: the run is live, is paid by no single reward model, or another answer is
                being taken apart.
        """
        index, row = int(message["index"]), int(message["row"])
        header, live = self.feed.header(), self._messages.live
        if live or not header["explains"] or (self.explaining and self.explaining.is_alive()):
            raise ConfigError(
                "this score cannot be explained now",
                where=f"run {self.run.name}",
                fix="one answer at a time, of a run that is over and was paid by one reward model",
            )
        request = self.feed.why_request(index, row)
        place = {"type": "why", "index": index, "row": row}
        self.explaining = threading.Thread(
            target=self._explain, args=(place, request), name="why", daemon=True
        )
        self._say({**place, "why": {"phase": "taking the answer apart"}})  # before what it finds
        self.explaining.start()
        return {"type": "alive"}

    def _explain(self, place: dict[str, Any], request: dict[str, Any]) -> None:
        self._say({**place, "why": shown_why(self.explain, request)})

    def close(self) -> None:
        """Stop watching the folder; the run goes on."""
        if hasattr(self, "_push"):  # not where the folder is unreadable
            self._push.close()
        super().close()

    # --- in a notebook ----------------------------------------------------------------------------

    def picture(self) -> str:
        """The run as it is now, as static HTML."""
        self.feed.refresh()
        return run_picture(self.feed)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        self._push.start()
        return bundle

    def _live_view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._live_view()
        return {**data, "text/plain": f"RunPanel of {self.run!r}"}, metadata

    def _ipython_display_(self) -> None:
        """Show the still picture, and after it the live view, which hides it while it lives.

        Two outputs, because JupyterLab shows an error instead of the picture where one output
        holds both and the kernel is gone. The picture's place is filled once the view is out, and
        again when the run ends.
        """
        from IPython.display import HTML, display

        self._pictures.append(display(HTML(self._marked("")), display_id=True))
        self._send_code()
        if not RunPanel._brought:
            super()._receive({"type": "plotly", "key": "plotly"})
        data, metadata = self._live_view()
        display(data, metadata=metadata, raw=True)
        self._free_thread()
        self._renew_pictures()
        self._push.start()

    def _marked(self, picture: str) -> str:
        return f"<div class='wb-still' data-panel='{self.still}'>{picture}</div>"

    def _renew_pictures(self) -> None:
        if not self._pictures:
            return
        from IPython.display import HTML

        for handle in self._pictures:
            if handle is not None:
                handle.update(HTML(self._marked(self.picture())))
