"""Readers of the workbench's own rows: items with or without a label."""

from typing import Any, cast

from workbench.data.messages import Unusable, as_messages
from workbench.data.reading.parsed import Parsed, Row, both_of, listed, number, rest, unpacked

_CANONICAL = ("id", "prompt", "responses", "label", "source", "meta")
_KINDS = ("choice", "tie", "both_bad", "rank", "scores")


def read_unlabelled(row: Row) -> Parsed:
    """Read a prompt and several responses, with no label."""
    values = listed(row.get("responses"), "responses")
    responses = [as_messages(one, "assistant") for one in values]
    meta = rest(row, ("prompt", "responses"))
    return Parsed(as_messages(row.get("prompt"), "user"), responses, None, meta)


def read_canonical(row: Row) -> Parsed:
    """Read a line that ``Pairs.save`` wrote, or a row of ``Pairs.frame`` (JSON in its cells)."""
    packed = isinstance(row.get("responses"), str)
    fields = {name: row.get(name) for name in _CANONICAL}
    for name in fields if packed else fields.keys() - {"prompt"}:  # a prompt may be plain text
        fields[name] = unpacked(fields[name], ("[", "{", "n"))
    parsed = read_unlabelled({name: fields[name] for name in ("prompt", "responses")})
    label, source, meta = fields["label"], fields["source"], fields["meta"]
    if label is not None:
        _check_label(label, len(parsed.responses))
    if not isinstance(meta, dict | None) or not isinstance(source, dict | None):
        raise Unusable("meta or source is not an object")
    own = {"id": row["id"]} if row.get("id") is not None else {}  # dropped where it is the item's
    nested = cast("dict[str, Any]", meta or {})
    meta = {**both_of(rest(row, _CANONICAL), nested), **own, **nested}
    return parsed._replace(label=label, meta=meta, source=cast("dict[str, Any] | None", source))


def _check_label(label: Any, responses: int) -> None:
    """Hold a label to its shape: a winner, a rank or a score for the responses that there are."""
    fields = cast("dict[str, Any]", label) if isinstance(label, dict) else {}
    kind = fields.get("kind")
    if kind not in _KINDS:
        raise Unusable(f"the label's kind is none of {', '.join(_KINDS)}")
    winner = fields.get("winner")
    if kind == "choice" and (isinstance(winner, bool) or winner not in range(responses)):
        raise Unusable("the label's winner is not one of the responses")
    if kind in ("rank", "scores"):
        _check_values(fields.get("ranks" if kind == "rank" else "scores"), responses)


def _check_values(values: Any, responses: int) -> None:
    entries = cast("list[Any]", values) if isinstance(values, list) else []
    fit = all(
        one is None or (number(one) is not None and not isinstance(one, str)) for one in entries
    )
    if not fit or len(entries) != responses or sum(one is not None for one in entries) < 2:
        raise Unusable("the label has not one number for each response")
