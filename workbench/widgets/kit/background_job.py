"""Work that is done once, in the background, and can be waited for."""

import threading
from collections.abc import Callable, Iterator


class BackgroundJob:
    """A pass over many rows, in steps; it runs once, however often it is asked for.

    Args:
        steps: does the work and yields how much of it is done, 0 to 1.
    """

    def __init__(self, steps: Callable[[], Iterator[float]]) -> None:
        self._steps = steps
        self._running = threading.Lock()
        self._thread: threading.Thread | None = None
        self.fraction = 0.0
        self.is_done = False
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin in a thread of its own; a second call does nothing."""
        if self._thread is None and not self.is_done:
            self._thread = threading.Thread(target=self.run, daemon=True)
            self._thread.start()

    def run(self) -> None:
        """Do the work here, or wait for whoever does it."""
        with self._running:
            if self.is_done or self.failure is not None:
                return
            try:
                for fraction in self._steps():
                    self.fraction = fraction
                self.is_done = True
            except Exception as error:  # raised again to whoever needs the work
                self.failure = error

    def wait(self) -> None:
        """Return when the work is done.

        Raises:
            Exception: what went wrong in it.
        """
        self.run()
        if self.failure is not None:
            raise self.failure
