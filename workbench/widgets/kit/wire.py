"""What crosses between Python and the page: text that survives the trip, cut to what is read."""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from workbench.errors import WorkbenchError
from workbench.json_lines import clean

CUT = 6_000
"""Characters of one message that travel before somebody asks for the rest."""

_FRAGILE = re.compile("[\ud800-\udfff\ufdd0\ufdd1]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def outgoing(text: str) -> str:
    """Return ``text`` as UTF-8 can carry it: a lone surrogate becomes U+FDD0 hex U+FDD1.

    The page turns that back into the very character and shows it as a mark (``safe_text.js``).
    """
    return _FRAGILE.sub(lambda match: f"\ufdd0{ord(match.group()):04X}\ufdd1", text)


def incoming(text: object, limit: int = 10_000) -> str:
    """Return text that a person typed, at most ``limit`` characters that any store can hold."""
    return _SURROGATE.sub("\ufffd", str(text or ""))[:limit]


def outgoing_messages(
    messages: Iterable[Mapping[str, Any]], cut: int | None = CUT
) -> list[dict[str, Any]]:
    """Return messages for the page; a longer one is cut and says its whole length in ``cut``."""
    out: list[dict[str, Any]] = []
    for message in messages:
        content = str(message["content"])
        entry: dict[str, Any] = {"role": str(message["role"])}
        if cut is not None and len(content) > cut * 1.25:  # a few words more are not worth a click
            entry["cut"] = len(content)
            content = content[:cut]
        out.append({**entry, "content": outgoing(content)})
    return out


def changed_parts(parts: Mapping[str, Any], seen: Mapping[str, str]) -> dict[str, Any]:
    """Return the digests of a page's parts, and those parts whose digest is not in ``seen``."""
    whole = {name: _plain(part) for name, part in parts.items()}
    digests = {name: f"{zlib.crc32(text.encode()):x}" for name, (_, text) in whole.items()}
    changed = {name: part for name, (part, _) in whole.items() if seen.get(name) != digests[name]}
    return {"parts": changed, "digests": digests}


def _plain(part: Any) -> tuple[Any, str]:
    """A part and its JSON; NaN and infinity, which would lose a page the message, become None."""
    try:
        return part, json.dumps(part, allow_nan=False)
    except ValueError:
        return (part := clean(part)), json.dumps(part)


def fault(error: BaseException) -> dict[str, str]:
    """Return an error in the three parts that a screen shows: what, where, fix."""
    if isinstance(error, WorkbenchError):
        parts = {"what": error.what, "where": error.where, "fix": error.fix}
        return {name: outgoing(str(part)) for name, part in parts.items()}
    return {"what": outgoing(f"{type(error).__name__}: {error}"), "where": "", "fix": ""}
