"""Where a person stands in a list: what is open, what comes next, what was gone back to."""


class Walk:
    """Walks over places 0 to ``total - 1``, each open or closed.

    It goes forward over the open places and comes back at the end for those passed over. A place
    that was pinned (by a jump, an undo, a mark) is stayed with, open or not.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total  # how many places are open
        self.pinned: int | None = None
        self._open = bytearray(b"\x01" * total)
        self._cursor = 0  # where the search for an open place begins

    def set_open(self, place: int, is_open: bool) -> None:
        """Open a place, or close it."""
        self.left += int(is_open) - self._open[place]
        self._open[place] = is_open

    def here(self) -> int | None:
        """Return the place to decide now; None when all are closed and none is pinned."""
        if self.pinned is not None:
            return self.pinned
        place = next(iter(self.upcoming(self._cursor, 1)), None)
        self._cursor = self._cursor if place is None else place
        return place

    def pin(self, place: int) -> None:
        """Go to a place and stay there until something is decided."""
        self.pinned = place

    def go_on(self, place: int) -> None:
        """Go on to what comes after a place."""
        self.pinned, self._cursor = None, place + 1

    def upcoming(self, start: int, count: int, leave_out: int | None = None) -> list[int]:
        """Return the next open places from ``start`` on, then from the beginning."""
        found: list[int] = []
        for low, high in ((start, self.total), (0, min(start, self.total))):
            place = self._open.find(1, low, high)
            while place >= 0 and len(found) < count:
                if place != leave_out:
                    found.append(place)
                place = self._open.find(1, place + 1, high)
        return found
