import pytest

from workbench.errors import DataError
from workbench.runs import Run, RunFolder
from workbench.verbs.look_closely import loss_explorer, microscope


def test_the_embedded_models_own_record_is_there_at_once():
    scope = microscope()
    assert scope.kind == "ppo" and len(scope.steps) >= 5
    for step in scope.steps:
        for rank in ("best", "worst"):
            shown = scope.show(step, rank)
            assert shown.frame["advantage"].tolist() == pytest.approx(
                shown.record["advantages"], abs=1e-6
            )
            assert sum(shown.frame["log_ratio"].tolist()) == pytest.approx(
                shown.record["kl"], abs=1e-5
            )
            assert shown.frame["value"].tolist() == shown.record["values"]


def test_a_run_of_another_kind_is_told_where_to_look(tmp_path):
    run = Run(RunFolder(tmp_path / "reward").create("reward", {}, []))
    with pytest.raises(DataError, match="reward run"):
        microscope(run)


def test_a_run_that_has_judged_no_pair_has_nothing_to_lay_on_the_curve(tmp_path):
    run = Run(RunFolder(tmp_path / "reward").create("reward", {}, []))
    with pytest.raises(DataError, match="no held-out pair"):
        loss_explorer(run)
    assert loss_explorer().pairs == []
