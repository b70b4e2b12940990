"""Second thoughts: items whose labels were looked at again, with what was found the second time."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from workbench.data.pairs import Pair, Pairs

if TYPE_CHECKING:
    from workbench.data.store.labels import LabelStore


def relabelled(items: Iterable[Pair], store: "LabelStore") -> Pairs:
    """Return the items, each with the store's verdict where it has one.

    An item that the store calls a tie is a tie then, and gives nothing to train on; an answer that
    was worded better comes in beside or instead of its item, as ``store.pairs()`` has it. The
    label that came with an item stays in ``meta["imported_label"]``.
    """
    verdicts: dict[str, list[Pair]] = {}
    for pair in store.pairs(ties="keep"):
        item = str(pair.meta.get("edited", {}).get("item", pair.id))
        verdicts.setdefault(item, []).append(pair)
    return Pairs.from_items(new for pair in items for new in verdicts.get(pair.id, [pair]))
