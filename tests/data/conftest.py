"""What the tests of labelling stand on."""

from pathlib import Path

import pytest

from workbench.data.store.labels import LabelStore


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    """An empty label store."""
    return LabelStore(tmp_path / "labels.sqlite")
