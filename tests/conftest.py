"""What every test stands on: runs and locks of its own, one thread, no network."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

# before torch is imported: several tests run side by side, and sums stay the same on every machine
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

# a shell that starts the tests in its background has them ignore an interrupt; some are about one
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory):
    """Runs, locks and key of this session alone, never those of the person at the machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("runs", "locks", "state"):
            patch.setenv(f"WORKBENCH_{name.upper()}", str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return TESTS.parent


class SmallDisk:
    """A real file system of so many kilobytes, in memory; it can be made larger."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hold(self, kilobytes: int, *how: str) -> None:
        """Make it hold so much; raises CalledProcessError where this is not allowed."""
        options = ",".join([*how, f"size={kilobytes}k"])
        asked = ["mount", "-t", "tmpfs", "-o", options, "none", str(self.path)]
        subprocess.run(asked, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path):
    """A full disk that is one: 512 kB of tmpfs. Only root on Linux can make it."""
    path = tmp_path / "disk"
    path.mkdir()
    disk = SmallDisk(path)
    try:
        disk.hold(512)
    except (OSError, subprocess.CalledProcessError) as reason:
        pytest.skip(f"no file system can be mounted here: {reason}")
    yield disk
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marker
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(TESTS / "browser"):
            item.add_marker("browser")
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if needy and not _has_gpu():
        for item in needy:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none here"))


def _has_gpu() -> bool:
    import torch  # only where a GPU test was collected: it takes seconds

    return torch.cuda.is_available()
