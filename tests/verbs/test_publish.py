from typing import ClassVar

import huggingface_hub
import pytest

import workbench as wb
from workbench.errors import ModelError

from ..models.tiny import make_model
from ..training.conftest import make_adapter


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    return make_adapter(folder / "final", make_model(folder / "tiny"), 3)


class Hub:
    """A hub that writes down what it is asked."""

    asked: ClassVar[list] = []

    def create_repo(self, name, **more):
        self.asked.append(("create", name, more))
        return f"https://example.org/{name}"

    def upload_folder(self, **more):
        self.asked.append(("upload", more))


def test_a_push_uploads_the_folder_as_it_is(policy, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    Hub.asked.clear()
    assert wb.push(policy, "me/mine") == "https://example.org/me/mine"
    assert Hub.asked == [
        ("create", "me/mine", {"private": True, "exist_ok": True}),
        ("upload", {"repo_id": "me/mine", "folder_path": str(policy)}),
    ]
    wb.push(policy.parent, "me/mine", private=False)  # a run's folder: its final/
    assert Hub.asked[-1][1]["folder_path"] == str(policy)
    assert Hub.asked[-2][2]["private"] is False


def test_a_hub_that_refuses_says_what_to_do(policy, monkeypatch):
    def refuse(self, name, **more):
        raise OSError("offline mode is enabled\nand more")

    monkeypatch.setattr(Hub, "create_repo", refuse)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(ModelError, match="offline mode is enabled") as caught:
        wb.push(policy, "me/mine")
    assert "and more" not in caught.value.what
    assert "hf auth login" in caught.value.fix and "me/mine" in caught.value.where


def test_nothing_to_push(tmp_path):
    with pytest.raises(ModelError, match="no folder to upload"):
        wb.push(tmp_path / "absent", "me/mine")
