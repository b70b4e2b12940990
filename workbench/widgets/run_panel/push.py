"""Pushes to pages from a thread, unasked: a panel stays live while a cell blocks the kernel."""

import threading
import time
from collections.abc import Callable
from typing import Any

from workbench.widgets.kit.plotly_source import packed_plotly
from workbench.widgets.kit.wire import fault
from workbench.widgets.run_panel.panel_messages import PanelMessages

LOOK_EVERY = 0.1  # seconds between looks at the sizes of the folder's files
READ_EVERY = 0.8  # seconds between two readings of a folder whose files do not grow
SIGN_OF_LIFE = 3.0  # seconds between two words to the page, at most
LINGER = 5.0  # seconds that the thread stays after the run has ended, for its last words
FIRST_CALL = 2.0  # seconds after the display without a word from the page
QUIET = 8.0  # seconds without a word from a page that had spoken
PLOTLY_CALLS = (0, 2, 4)  # the calls that bring Plotly along, before the page has ever spoken
MOST_CALLS = 6  # to a page that never speaks; the run over, its thread ends then


class PanelPush:
    """Sends every page what is new, each row once, while the run is live.

    A page that was just made asks for its code and for everything; while a cell blocks the kernel
    its questions wait (on ipykernel 6, or without subshells). So a page that says nothing is sent
    both unasked, after 2, 4, 8, 16, … seconds: often enough to be seen, so seldom that a closed
    tab costs almost nothing.

    Args:
        messages: of the run's folder.
        send: sends one message to every page.
        send_code: sends every page the code that draws it.
        ended: called once from the thread when the run is over.
    """

    def __init__(
        self,
        messages: PanelMessages,
        send: Callable[[dict[str, Any]], None],
        send_code: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._messages, self._send, self._send_code = messages, send, send_code
        self._ended = ended
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._spoken_to = False
        self._since = time.monotonic()
        self._calls = 0
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def heard(self) -> None:
        """A page has spoken: it can ask for itself."""
        self._spoken_to, self._since, self._calls = True, time.monotonic(), 0

    def start(self) -> None:
        """Begin, unless it runs already or there is nothing to wait for."""
        with self._lock:
            if self._closing.is_set() or (self.thread is not None and self.thread.is_alive()):
                return
            if self._spoken_to and not self._messages.live:
                return
            self._since = time.monotonic()
            self.thread = threading.Thread(target=self._run, name="run-panel", daemon=True)
            self.thread.start()

    def close(self) -> None:
        """Stop; the run goes on."""
        self._closing.set()

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:  # shown on the page: nobody looks at a thread's traceback
            self.error = error
            self._send({"type": "fault", "fault": fault(error)})
        else:
            self._ended()

    def _watch(self) -> None:
        (epoch, rows), seen = self._messages.place(), dict[str, str]()
        spoke = alive = time.monotonic()
        stamp, read = None, 0.0
        while not self._closing.wait(LOOK_EVERY):
            now, news = time.monotonic(), None
            fresh = self._messages.feed.stamp()
            if fresh == stamp and now - read < READ_EVERY:
                continue
            stamp, read = fresh, now
            news = self._messages.news(epoch, rows, seen)
            if news is not None:
                epoch, rows = self._messages.place()
                seen = news["digests"]
            if news is not None or now - spoke > SIGN_OF_LIFE:
                spoke = now
                self._send(news or {"type": "alive"})
            self._call(now)
            if self._messages.live:
                alive = now
            elif now - alive > LINGER and (self._spoken_to or self._calls >= MOST_CALLS):
                return

    def _call(self, now: float) -> None:
        """Send everything to a page that has not spoken for long; ever more seldom."""
        patience = (QUIET if self._spoken_to else FIRST_CALL) * 2**self._calls
        if now - self._since < patience:
            return
        self._send_code()
        if not self._spoken_to and self._calls in PLOTLY_CALLS:
            self._send({"type": "plotly", "packed": packed_plotly()})
        self._send(self._messages.whole())
        self._calls += 1
