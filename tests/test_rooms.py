"""The table of rooms in ``workbench/README.md`` is the folders on disk; pages name real files."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "workbench"


def folders() -> list[Path]:
    """Every folder of the package that holds code."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_dir() and path.name != "__pycache__" and any(path.glob("*.[pj]*"))
    ]


def named() -> list[str]:
    """What the first column of the table names."""
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    section = page.split("\n## Rooms\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_every_room_and_every_file_at_the_root_is_in_the_table_once():
    rooms = [f"{path.relative_to(PACKAGE).as_posix()}/" for path in folders()]
    files = [path.name for path in PACKAGE.glob("*.py")]
    assert sorted(named()) == sorted(rooms + files)


@pytest.mark.parametrize("page", ["README.md", "DECISIONS.md", "METRICS.md"])
def test_files_that_a_page_names_are_there_and_hold_what_it_says(page):
    text = (PACKAGE / page).read_text(encoding="utf-8")
    for name, held in set(re.findall(r"`((?:\w+/)+\w+\.(?:py|js))(?::(\w+))?", text)):
        places = [root / name for root in (PACKAGE, PACKAGE.parent) if (root / name).exists()]
        assert places, f"{page} names {name}"
        assert held in places[0].read_text(encoding="utf-8"), f"{page} names {held} in {name}"
