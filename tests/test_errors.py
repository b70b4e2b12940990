import pickle

import pytest

from workbench import errors
from workbench.errors import ConfigError, DataError, ModelError, RunError, WorkbenchError

KINDS = {
    WorkbenchError: Exception,
    DataError: ValueError,
    ConfigError: ValueError,
    ModelError: ValueError,
    RunError: RuntimeError,
}


def test_an_error_says_what_where_and_how_to_mend_it():
    error = DataError("the file is empty", where="pairs.csv", fix="export it again")
    assert str(error) == (
        "the file is empty\n"
        "  where: pairs.csv\n"
        "  fix:   export it again"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "no GPU"),
        ({"where": "PPO settings"}, "no GPU\n  where: PPO settings"),
        ({"fix": "device='cpu'"}, "no GPU\n  fix:   device='cpu'"),
    ],
)
def test_a_part_that_is_not_given_leaves_no_line(parts, text):
    assert str(ConfigError("no GPU", **parts)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_a_trip_between_processes_with_all_its_parts(kind):
    error = kind("what", where="where", fix="fix")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.fix) == ("what", "where", "fix")
    assert str(copy) == str(error)


@pytest.mark.parametrize(("kind", "built_in"), KINDS.items())
def test_every_kind_is_caught_as_ours_and_as_the_built_in_it_refines(kind, built_in):
    with pytest.raises(WorkbenchError):
        raise kind("what")
    with pytest.raises(built_in):
        raise kind("what")


def test_a_notebook_shows_the_three_parts_and_no_frames():
    error = RunError("the run failed", where="runs/demo", fix="read log.txt")
    assert error._render_traceback_() == [
        "RunError: the run failed\n  where: runs/demo\n  fix:   read log.txt"
    ]


def test_the_first_line_of_what_an_error_says():
    assert errors.first_line(ValueError("  one\ntwo")) == "one"
    assert errors.first_line(ValueError()) == "ValueError"
