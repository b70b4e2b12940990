import os
import stat

import pytest

from workbench.errors import RunError
from workbench.runs import private_folder as places
from workbench.runs.private_folder import (
    LARGEST_NOTE,
    open_own,
    private_folder,
    read_own,
    runtime_folder,
    state_folder,
)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """Nothing told by the environment, and a home and a temporary folder of this test's."""
    for name in ("WORKBENCH_LOCKS", "WORKBENCH_STATE", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    ours_alone = places._is_ours_alone
    mine = lambda place: place.is_relative_to(tmp_path) and ours_alone(place)  # noqa: E731
    monkeypatch.setattr(places, "_is_ours_alone", mine)
    return tmp_path


def test_the_runtime_folder_comes_first_where_it_is_ours_alone(nobody, monkeypatch):
    (nobody / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(nobody / "run"))
    assert runtime_folder() == nobody / "run" / "workbench"
    assert mode(nobody / "run" / "workbench") == 0o700
    (nobody / "run").chmod(0o755)  # anyone may look in: no runtime folder as systems make them
    assert runtime_folder().is_relative_to(nobody / "home")


def test_without_one_the_cache_and_without_that_the_temporary_folder(nobody, monkeypatch):
    locks = runtime_folder()
    assert locks.parent == nobody / "home" / ".cache" / "workbench"
    assert locks.name.startswith("locks-") and mode(locks) == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(nobody / "cache"))
    assert runtime_folder().parent == nobody / "cache" / "workbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/proc/nobody's")
    assert runtime_folder() == nobody / "tmp" / f"workbench-{os.getuid()}"
    assert mode(runtime_folder()) == 0o700


def test_state_is_kept_in_the_home(nobody, monkeypatch):
    assert state_folder() == nobody / "home" / ".local" / "state" / "workbench"
    monkeypatch.setenv("XDG_STATE_HOME", str(nobody / "state"))
    assert state_folder() == nobody / "state" / "workbench"
    monkeypatch.setenv("WORKBENCH_STATE", str(nobody / "named"))
    assert state_folder() == nobody / "named"


def test_a_folder_of_ours_that_was_open_to_others_is_closed(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o777)
    assert mode(private_folder(tmp_path / "old")) == 0o700


def test_a_link_a_file_and_another_users_folder_are_refused(tmp_path, monkeypatch):
    (tmp_path / "victim").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(RunError, match="is a link"):
        private_folder(tmp_path / "link")
    assert mode(tmp_path / "victim") == 0o755
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="no folder that can be used") as caught:
        private_folder(tmp_path / "file")
    assert "WORKBENCH_LOCKS" in caught.value.fix
    monkeypatch.setattr(places.os, "getuid", lambda: 12345)
    with pytest.raises(RunError, match="belongs to another user"):
        private_folder(tmp_path / "victim")


def planted(home):
    """Each thing that somebody could put in the place of a file of ours, by name."""
    precious = home / "precious"
    precious.write_text("keep me")
    (home / "link").symlink_to(precious)
    (home / "dangling").symlink_to(home / "not there yet")
    os.link(precious, home / "second-name")
    os.mkfifo(home / "fifo")
    (home / "folder").mkdir()
    return ("link", "dangling", "second-name", "fifo", "folder")


def test_what_is_no_plain_file_of_ours_is_never_opened(tmp_path):
    for name in planted(tmp_path):
        with pytest.raises(RunError, match="no plain file of this user's"):
            open_own(tmp_path / name, os.O_RDWR | os.O_CREAT)
        assert read_own(tmp_path / name) is None
    assert (tmp_path / "precious").read_text() == "keep me"
    assert not (tmp_path / "not there yet").exists()


def test_a_file_of_ours_is_for_us_alone_and_read_up_to_a_bound(tmp_path):
    descriptor = open_own(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"x" * (LARGEST_NOTE + 1))
    os.close(descriptor)
    assert mode(tmp_path / "new") == 0o600
    assert read_own(tmp_path / "new") == b"x" * LARGEST_NOTE
    assert read_own(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "none", os.O_RDWR)
