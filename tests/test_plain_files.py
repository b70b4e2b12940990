import os

import pytest

from workbench.errors import RunError
from workbench.plain_files import read_plain


def test_a_plain_file_is_read_by_its_plain_name(tmp_path):
    (tmp_path / "reward-2.pkl").write_bytes(b"four")
    assert read_plain(tmp_path, "reward-2.pkl", most=4) == b"four"
    with pytest.raises(RunError, match="more than 0 MB"):
        read_plain(tmp_path, "reward-2.pkl", most=3)
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path, "none.pkl", most=4)


@pytest.mark.parametrize(
    "name",
    [
        *("../f", "/etc/passwd", "a/b", ".", "..", ".hidden", "", "~"),
        *("a\0b", "a\nb", "a b", "x" * 101),
        *(None, 3, ["f"], {"file": "f"}, b"f", True),
    ],
)
def test_a_name_that_is_a_path_or_no_text_is_refused(tmp_path, name):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(RunError, match="plain names") as caught:
        read_plain(tmp_path / "f", name, most=9)
    assert str(tmp_path) in caught.value.where


def test_a_link_a_folder_and_a_pipe_are_no_plain_files(tmp_path):
    (tmp_path / "outside").write_bytes(b"x")
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path / "outside")
    (home / "folder").mkdir()
    os.mkfifo(home / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(RunError, match="cannot be read"):
            read_plain(home, name, most=9)
