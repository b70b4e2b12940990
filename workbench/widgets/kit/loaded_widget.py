"""What every widget is made of: its code, fetched from the kernel, and answers to its page."""

import time
import uuid
from typing import Any, ClassVar

import anywidget
import traitlets

from workbench.widgets.kit.theme import module, style
from workbench.widgets.kit.wire import fault

AT_ONCE = 0.5
"""Seconds within which a widget's code is sent once, however often it is asked for."""


class LoadedWidget(anywidget.AnyWidget):
    """A widget whose page asks for its code ("code"), and then for all else, by messages.

    A notebook that keeps its widgets' state keeps ``loader.js``, and nothing of the code.

    Attributes:
        error: what went wrong last in answering the page; None where nothing did.
    """

    _esm = module("widgets/kit/loader.js")
    _script: ClassVar[str]
    """The file with its ``export default``, from the package's folder."""
    _styles: ClassVar[tuple[str, ...]]
    """Its CSS files beside the shared one."""

    mark = traitlets.Unicode().tag(sync=True)  # its own, where one module serves a whole page

    def __init__(self, **traits: Any) -> None:
        super().__init__(mark=uuid.uuid4().hex[:8], **traits)
        self.error: BaseException | None = None
        self._code_sent = -AT_ONCE
        self.on_msg(self._on_message)
        self._free_thread()

    def _on_message(self, _widget: Any, content: dict[str, Any], _buffers: list[bytes]) -> None:
        """Answer one message, on whichever thread the kernel chose; never raises."""
        if content.get("type") == "code":
            now = time.monotonic()
            if now - self._code_sent > AT_ONCE:  # a kernel that was busy finds it asked for often
                self._code_sent = now
                self._send_code()
        else:
            self._receive(content)

    def _send_code(self) -> None:
        self._say({"type": "code", **self.front_end()})

    def front_end(self) -> dict[str, str]:
        """What draws it: one module with an ``export default``, and its style."""
        return {"esm": module(self._script), "css": style(*self._styles)}

    def answer_to(self, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the page would be told on this message; an error is raised."""
        return self._answer_page(content)

    def _receive(self, content: dict[str, Any]) -> None:
        """Answer one message; an error is answered too, where the person looks."""
        try:
            answer = self._answer_page(content)
        except Exception as error:
            self.error = error
            answer = {"type": "fault", "key": content.get("key"), "fault": fault(error)}
        if answer is not None:
            self._say({**answer, "to": content["view"]} if "view" in content else answer)

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a message, or None where it needs none."""

    def _say(self, content: dict[str, Any]) -> None:
        self.send(content)
        self._free_thread()

    def _free_thread(self) -> None:
        """Let ipykernel 7.4 answer the page's next message while a cell runs.

        It hands the message to the thread that spoke last on the widget's comm, for us mostly the
        main one, which a cell blocks. Without that note it takes the subshell that JupyterLab
        names. Where there is no such note (another version, another kernel) this does nothing.
        """
        getattr(self.comm, "__dict__", {}).pop("_reply_subshell_id", None)

    def picture(self) -> str:
        """What a place without a kernel shows, as HTML; empty where that is nothing."""
        return ""

    def _live_view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live view alone, as an output's data and metadata."""
        return super()._repr_mimebundle_() or ({}, {})

    def _repr_mimebundle_(self, **_kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live view, and the picture for places that cannot run one."""
        (data, metadata), picture = self._live_view(), self.picture()
        return ({**data, "text/html": picture} if picture else data), metadata
