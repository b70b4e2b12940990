import importlib.util

import pytest
from accelerate.tracking import GeneralTracker

from workbench.errors import ConfigError
from workbench.events import Finished, Notice, Progress
from workbench.settings import SFTSettings
from workbench.training import trackers as module
from workbench.training.trackers import Trackers, check_trackers


class Notebook(GeneralTracker):
    """A tracker of one's own, by accelerate's interface, that writes down what it is told."""

    name, requires_logging_directory = "notebook", False

    def __init__(self):
        super().__init__()
        self.config, self.rows, self.ended = {}, [], 0

    @property
    def tracker(self):
        return self.rows

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None, **more):
        self.rows.append((step, values))

    def finish(self):
        self.ended += 1


def test_each_steps_metrics_are_passed_on(tmp_path):
    """What has no value, or is not finite, is left out; other events are not for trackers."""
    told = Notebook()
    config = SFTSettings().to_dict()
    with Trackers([told], tmp_path, config, device="cpu") as tell:
        tell(Notice(0, "setup", "loaded"))
        tell(Progress(1, 2, {"loss": 0.5, "policy/ratio": 1.0, "heldout/loss": None}))
        tell(Progress(2, 2, {"loss": float("nan"), "policy/ratio": 1.5}))
        tell(Finished(2, False))
    assert told.rows == [(1, {"loss": 0.5, "policy/ratio": 1.0}), (2, {"policy/ratio": 1.5})]
    assert told.config["learning_rate"] == "auto" and told.config["report_to"] == "[]"
    assert told.ended == 1


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path, caplog):
    told = Notebook()
    told.log = lambda *args, **more: 1 / 0
    with Trackers([told], tmp_path, {}, device="cpu") as tell:
        tell(Progress(1, 2, {"loss": 0.5}))
        tell(Progress(2, 2, {"loss": 0.4}))
    assert caplog.text.count("hear no more of this run") == 1


def test_nobody_to_report_to_costs_nothing(tmp_path):
    with Trackers([], tmp_path, {}, device="cpu") as tell:
        tell(Progress(1, 2, {"loss": 0.5}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted({*module.MODULES, "trackio"}))
def test_what_is_not_installed_says_how_to_get_it(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ConfigError, match=f"{name} is not installed") as caught:
        check_trackers((name,))
    assert f"pip install {name}" in caught.value.fix


def test_either_package_of_tensorboard_will_do(monkeypatch):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda module: module == "tensorboardX" or None
    )
    check_trackers(("tensorboard",))


def test_only_these_are_known():
    assert SFTSettings(report_to=["tensorboard", "wandb"]).report_to == ("tensorboard", "wandb")
    with pytest.raises(ConfigError, match="report_to cannot be 'mlflow'") as caught:
        SFTSettings(report_to=("tensorboard", "mlflow"))
    assert "trackio" in caught.value.fix
