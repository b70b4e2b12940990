"""What is found out about a machine, one thing at a time."""

from typing import Literal, NamedTuple

State = Literal["ok", "look", "failed"]


class MachineFact(NamedTuple):
    """One thing about this machine.

    Attributes:
        name: what was looked at.
        state: ``ok``; ``look``: it works, with less than there could be; ``failed``: no training
            here before it is mended.
        found: what was seen.
        fix: what to do; empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    fix: str = ""
