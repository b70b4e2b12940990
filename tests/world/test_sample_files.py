"""Finding the sample data, in a checkout and in an installed copy."""

from pathlib import Path

import pytest

from workbench.errors import ModelError
from workbench.world import sample_files


def test_in_a_checkout_the_data_lies_beside_the_package():
    assert sample_files.sample_dir() == Path(__file__).parents[2] / "sample_data"
    assert (sample_files.sample_dir() / "instructions.jsonl").is_file()


def test_an_installed_copy_carries_it_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "site-packages" / "workbench"
    monkeypatch.setattr(sample_files, "_package", lambda: package)
    assert sample_files.sample_dir() == package / "_sample_data"
    (package.parent / "sample_data").mkdir(parents=True)  # somebody else's
    assert sample_files.sample_dir() == package / "_sample_data"


def test_a_model_is_found_by_its_long_and_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sample_files, "sample_dir", lambda: tmp_path)
    (tmp_path / "tiny-chat").mkdir()
    assert (
        sample_files.builtin("builtin:tiny-chat")
        == sample_files.builtin("tiny-chat")
        == tmp_path / "tiny-chat"
    )


def test_an_unknown_model_lists_those_there_are():
    with pytest.raises(ModelError, match="no embedded model") as caught:
        sample_files.builtin("builtin:huge-chat")
    assert caught.value.where == "builtin:huge-chat"
    assert caught.value.fix == "choose one of: builtin:tiny-base, builtin:tiny-chat"


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sample_files, "sample_dir", lambda: tmp_path)
    with pytest.raises(ModelError, match="missing") as caught:
        sample_files.builtin("builtin:tiny-base")
    assert caught.value.where == str(tmp_path / "tiny-base")
    assert "build.py" in caught.value.fix
