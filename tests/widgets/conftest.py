"""What the tests of the labeller stand on."""

import pytest

from workbench.data.store.labels import LabelStore


@pytest.fixture
def store(tmp_path):
    """An empty label store."""
    with LabelStore(tmp_path / "labels.sqlite") as store:
        yield store
