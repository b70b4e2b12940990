"""The text that a person's function was written as, by which a change of it is noticed."""

import inspect
from typing import Any, cast


def written_source(function: Any) -> str | None:
    """A function's text, of a partial its function's, of an object its class's; None for none."""
    plain = getattr(function, "func", function)  # of a partial
    if not (inspect.isroutine(plain) or inspect.isclass(plain)):
        plain = cast("Any", type(plain))
    try:
        return inspect.getsource(plain)
    except (OSError, TypeError):
        return None
