import pytest

from workbench.errors import ConfigError, RunError
from workbench.json_lines import write_json
from workbench.runs.folder import RunFolder
from workbench.runs.identity import attach_or_create, differences

CONFIG = {"model": "m", "inputs": {"reward": "r1"}, "settings": {"seed": 0, "modules": ("q", "k")}}
ROWS = [{"n": 1}]


def _attach(root, name="one", config=CONFIG, rows=ROWS, fresh=False):
    return attach_or_create(root, "ppo", name, config, rows, fresh)


def _end(folder, state="finished"):
    write_json(folder.path / "status.json", {"state": state})


def test_the_same_run_is_attached_to(tmp_path):
    first, created = _attach(tmp_path)
    again, anew = _attach(tmp_path, rows=iter(ROWS))
    assert (created, anew) == (True, False)
    assert first.path == again.path == tmp_path / "one"
    assert [p.name for p in tmp_path.glob("*one*")] == ["one"]
    assert not list(tmp_path.glob(".new-*"))


def test_files_go_into_a_new_runs_folder_and_never_into_one_that_is_there(tmp_path):
    folder, _ = attach_or_create(tmp_path, "ppo", "one", CONFIG, ROWS, files={"a.pkl": b"first"})
    assert (folder.path / "a.pkl").read_bytes() == b"first"
    attach_or_create(tmp_path, "ppo", "one", CONFIG, ROWS, files={"a.pkl": b"second"})
    assert (folder.path / "a.pkl").read_bytes() == b"first"


def test_what_describes_but_does_not_decide_makes_no_difference(tmp_path):
    _attach(tmp_path, config={**CONFIG, "versions": {"torch": "1"}})
    assert not _attach(tmp_path, config={**CONFIG, "versions": {"torch": "2"}}).created


def test_each_difference_is_named(tmp_path):
    _attach(tmp_path)
    other = {"model": "n", "inputs": {"reward": "r1"}, "settings": {"seed": 1, "lam": 0.9}}
    with pytest.raises(ConfigError) as caught:
        _attach(tmp_path, config=other)
    told = caught.value.what
    assert 'model: "m" -> "n"' in told
    assert "settings.seed: 0 -> 1" in told
    assert 'settings.modules: ["q","k"] -> (absent)' in told
    assert "settings.lam: (absent) -> 0.9" in told
    assert "reward" not in told
    assert "fresh=True" in caught.value.fix


def test_other_data_and_another_kind_are_differences(tmp_path):
    _attach(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.sha256: .* -> "):
        _attach(tmp_path, rows=[{"n": 2}])
    with pytest.raises(ConfigError, match='kind: "ppo" -> "sft"'):
        attach_or_create(tmp_path, "sft", "one", CONFIG, ROWS)


def test_long_values_are_shortened_in_words():
    (told,) = differences({"model": "a" * 500}, {"model": "b"})
    assert told == f'model: "{"a" * 56}... -> "b"'


def test_without_a_name_the_run_is_named_after_what_it_works_on(tmp_path):
    first = _attach(tmp_path, name=None)
    kind, _, digest = first.folder.name.partition("-")
    assert (kind, len(digest)) == ("ppo", 8)
    again = _attach(tmp_path, name=None)
    assert (again.folder.path, again.created) == (first.folder.path, False)
    others = [
        _attach(tmp_path, name=None, rows=[{"n": 2}]),
        _attach(tmp_path, name=None, config={**CONFIG, "model": "n"}),
        _attach(tmp_path, name=None, config={**CONFIG, "settings": {"seed": 9}}),
    ]
    assert all(other.created for other in others)
    assert len({other.folder.name for other in others}) == 3


def test_fresh_keeps_every_old_run_aside(tmp_path):
    for number in range(3):
        folder, created = _attach(tmp_path, rows=[{"n": number}], fresh=True)
        assert created
        _end(folder)
    assert sorted(p.name for p in tmp_path.glob("one*")) == ["one", "one~1", "one~2"]
    kept = [next(iter(RunFolder(tmp_path / n).data_rows()))["n"] for n in ("one~1", "one~2", "one")]
    assert kept == [0, 1, 2]


def test_fresh_refuses_while_the_run_is_live(tmp_path):
    folder, _ = _attach(tmp_path)
    with pytest.raises(RunError, match="one is live"):
        _attach(tmp_path, fresh=True)
    _end(folder, "failed")
    assert _attach(tmp_path, fresh=True).created


def test_a_folder_that_holds_no_run_is_not_touched(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(ConfigError, match="holds no run"):
        _attach(tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "two words", "~x"])
def test_a_name_that_cannot_be_a_folders_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be called"):
        _attach(tmp_path, name=name)
