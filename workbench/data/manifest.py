"""One export: a file of rows, whole or not at all, and a manifest beside it.

The canonical format is written by :class:`workbench.data.pairs.Pairs`, every other one by
:mod:`workbench.data.writing.writers`; both come through here, so that their manifests are alike.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from workbench.data.messages import Unusable
from workbench.json_lines import new_lines
from workbench.version import __version__

_Item = TypeVar("_Item")

LAYOUT = 2  # raised whenever a format's rows change, so that files of two versions are told apart


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked of an export; see :func:`workbench.data.writing.writers.write_pairs`."""

    ties: str = "drop"
    k_way: str = "all"
    min_agreement: float | None = None
    annotators: tuple[str, ...] | None = None
    votes: str = "majority"


def write_rows(
    items: Iterable[_Item],
    path: Path,
    rows_of: Callable[[_Item], list[dict[str, Any]]],
    *,
    format: str,
    source: Mapping[str, str],
    options: Options | None = None,
    left_out: Mapping[str, int] | None = None,
    split: Mapping[str, Any] | None = None,
) -> Path:
    """Write each item's rows as JSON lines, and ``<path>.manifest.json``.

    Args:
        items: what to write.
        path: the file; it is replaced whole or not at all, and gzipped where it ends in .gz.
        rows_of: one item's rows; it raises :class:`Unusable` for one that has none.
        format: the format's name, for the manifest.
        source: the name and format of what the items were read from.
        options: what the export was asked to do.
        left_out: items that were left out before, by reason.
        split: which part of a split this is.

    Returns:
        The path written.
    """
    missing, total, items_written = Counter(left_out or {}), sum((left_out or {}).values()), 0
    with new_lines(path) as lines:
        for item in items:
            total += 1
            try:
                rows = rows_of(item)
            except Unusable as why:
                missing[why.reason] += 1
                continue
            items_written += 1
            for row in rows:
                lines.add(row)
    manifest = {
        "file": path.name,
        "format": format,
        "layout": LAYOUT,
        "items": total,
        "items_written": items_written,
        "rows": lines.rows,
        "left_out": dict(sorted(missing.items())),
        "sha256": lines.sha256,
        "options": asdict(options or Options()),
        "split": None if split is None else dict(split),
        "source": dict(source),
        "workbench": __version__,
    }
    write_manifest(path, manifest)
    return path


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``<path>.manifest.json``, in one line."""
    with new_lines(path.with_name(path.name + ".manifest.json")) as lines:
        lines.add(manifest)
