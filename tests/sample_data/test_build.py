"""The shipped text files: what build.py makes, with the figures that are promised for them."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workbench.world.grammar import REQUEST_KINDS, find_request
from workbench.world.judge import TAU, gold_score, slip_chance

FOLDER = Path(__file__).parents[2] / "sample_data"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_data_build", FOLDER / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> list[Row]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {path.stem: read(path.name) for path in sorted(FOLDER.glob("*.jsonl"))}


@pytest.fixture(scope="module")
def manifest() -> Row:
    return json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def pair_texts(row: Row) -> tuple[str, frozenset[str]]:
    if "responses" in row:
        return row["prompt"], frozenset(row["responses"])
    return row["instruction"], frozenset((row["chosen"], row["rejected"]))


def prompt_of(row: Row) -> str:
    if "prompt" in row:
        return row["prompt"]
    return "\n".join(part for part in (row["instruction"], row.get("input", "")) if part)


@pytest.fixture(scope="module")
def made(build: ModuleType) -> dict[str, bytes]:
    return build.text_files()


def test_building_gives_the_committed_bytes(made: dict[str, bytes]):
    assert len(made) == 8
    for name, content in made.items():
        assert content == (FOLDER / name).read_bytes(), name


def test_building_again_in_another_process_gives_the_same_bytes():
    """With another order of sets, from another folder, without the package installed."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "build.py"), "--check"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_check_names_the_files_that_differ(
    build: ModuleType,
    made: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(build, "text_files", lambda: made)
    build.build_texts(tmp_path)
    assert build.main(["--check", "--out", str(tmp_path)]) == 0
    (tmp_path / "unlabelled.jsonl").unlink()
    with (tmp_path / "texts.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert build.check(tmp_path) == ["texts.jsonl", "unlabelled.jsonl"]
    assert build.main(["--check", "--out", str(tmp_path)]) == 1
    assert "texts.jsonl: not what build.py makes" in capsys.readouterr().err


def test_counts(rows: dict[str, list[Row]], manifest: Row):
    assert {f"{name}.jsonl": len(content) for name, content in rows.items()} == manifest["counts"]
    assert len(rows["instructions"]) >= 6000
    assert len(rows["pairs_train"]) == 15000
    assert len(rows["pairs_heldout"]) == 2400
    assert len(rows["unlabelled"]) == 400
    assert len({row["prompt"] for row in rows["prompts_ppo"]}) == len(rows["prompts_ppo"]) >= 800
    held_out = {row["prompt"] for row in rows["prompts_heldout"]}
    assert len(held_out) == len(rows["prompts_heldout"]) >= 240
    assert 1_500_000 <= (FOLDER / "texts.jsonl").stat().st_size <= 3_000_000


def test_columns(rows: dict[str, list[Row]]):
    columns = {name: {tuple(row) for row in content} for name, content in rows.items()}
    assert columns == {
        "texts": {("text",)},
        "instructions": {("instruction", "input", "output")},
        "pairs_train": {("instruction", "chosen", "rejected")},
        "pairs_heldout": {("instruction", "chosen", "rejected")},
        "unlabelled": {("prompt", "responses")},
        "prompts_ppo": {("prompt",)},
        "prompts_heldout": {("prompt",)},
    }


def test_held_out_prompts_are_of_every_kind_and_nowhere_else(rows: dict[str, list[Row]]):
    held_out = {row["prompt"] for row in rows["prompts_heldout"]}
    kinds = [find_request(prompt) for prompt in held_out]
    assert {request.kind for request in kinds if request} == set(
        REQUEST_KINDS
    ) and None not in kinds
    for name in ("instructions", "pairs_train", "pairs_heldout", "unlabelled", "prompts_ppo"):
        assert held_out.isdisjoint(prompt_of(row) for row in rows[name]), name
    lines = {line for row in rows["texts"] for line in ("\n" + row["text"]).split("\nQuestion: ")}
    asked = {line.split("\nAnswer: ")[0] for line in lines}
    assert held_out.isdisjoint(asked)


def test_each_wording_and_each_subject_of_a_held_out_prompt_is_seen(rows: dict[str, list[Row]]):
    seen = [find_request(prompt_of(row)) for row in rows["instructions"]]
    wordings = {(r.kind, r.wording) for r in seen if r}
    subjects = {(r.kind, r.subject) for r in seen if r}
    for row in rows["prompts_heldout"]:
        request = find_request(row["prompt"])
        assert request is not None
        assert (request.kind, request.wording) in wordings
        assert (request.kind, request.subject) in subjects


def words_in(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", text))


def test_every_word_of_a_held_out_prompt_is_in_the_texts(rows: dict[str, list[Row]]):
    known = set().union(*(words_in(row["text"]) for row in rows["texts"]))
    asked = set().union(*(words_in(row["prompt"]) for row in rows["prompts_heldout"]))
    assert asked - known == set()


def test_the_vocabulary_is_small(rows: dict[str, list[Row]]):
    known = set().union(*(words_in(row["text"].lower()) for row in rows["texts"]))
    assert len(known) <= 700


def test_answers_are_short(rows: dict[str, list[Row]]):
    answers = [row["output"] for row in rows["instructions"]]
    for name in ("pairs_train", "pairs_heldout"):
        answers += [row[side] for row in rows[name] for side in ("chosen", "rejected")]
    longest = max(answers, key=lambda answer: len(answer.split()))
    assert len(longest.split()) <= 45, longest


def test_every_seen_prompt_is_answered_several_times(rows: dict[str, list[Row]]):
    answered: dict[str, int] = {}
    for row in rows["instructions"]:
        answered[prompt_of(row)] = answered.get(prompt_of(row), 0) + 1
    assert min(answered.values()) >= 4
    assert {row["prompt"] for row in rows["prompts_ppo"]} <= set(answered)


def test_no_pair_is_used_twice(rows: dict[str, list[Row]]):
    pairs = [
        pair_texts(row)
        for name in ("pairs_train", "pairs_heldout", "unlabelled")
        for row in rows[name]
    ]
    assert len(set(pairs)) == len(pairs) == 17800
    assert all(len(answers) == 2 for _, answers in pairs)


def margins(pairs: list[Row]) -> list[float]:
    return [
        gold_score(row["instruction"], row["chosen"])
        - gold_score(row["instruction"], row["rejected"])
        for row in pairs
    ]


@pytest.mark.parametrize("name", ["pairs_train", "pairs_heldout"])
def test_labels_are_noisy_as_stated(name: str, rows: dict[str, list[Row]], manifest: Row):
    found = margins(rows[name])
    assert min(abs(margin) for margin in found) >= 0.12
    rate = sum(margin < 0 for margin in found) / len(found)
    assert 0.06 <= rate <= 0.09
    assert manifest[name]["noise_rate"] == pytest.approx(rate, abs=1e-4)


def test_small_margins_are_mistaken_more_often(rows: dict[str, list[Row]], build: ModuleType):
    found = margins(rows["pairs_train"] + rows["pairs_heldout"])
    small = [margin for margin in found if abs(margin) < 0.2]
    large = [margin for margin in found if abs(margin) > 0.5]
    assert sum(m < 0 for m in small) / len(small) > 0.15
    assert sum(m < 0 for m in large) / len(large) < 0.02
    assert slip_chance(0.0) == 0.5
    # sigmoid(-1) at a margin of one TAU
    assert slip_chance(TAU) == pytest.approx(1 / (1 + math.e))


@pytest.mark.parametrize("name", ["pairs_train", "pairs_heldout"])
def test_the_longer_answer_does_not_win_as_a_rule(name: str, rows: dict[str, list[Row]]):
    lengths = [(len(r["chosen"].split()), len(r["rejected"].split())) for r in rows[name]]
    unequal = [(chosen, rejected) for chosen, rejected in lengths if chosen != rejected]
    share = sum(chosen > rejected for chosen, rejected in unequal) / len(unequal)
    assert 0.45 <= share <= 0.62


def test_the_mean_gold_of_the_instructions_is_in_the_middle(
    rows: dict[str, list[Row]], manifest: Row
):
    scores: dict[str, list[float]] = {}
    for row in rows["instructions"]:
        request = find_request(prompt_of(row))
        assert request is not None
        for kind in (request.kind, "all"):
            scores.setdefault(kind, []).append(gold_score(request.text, row["output"]))
    means = {kind: sum(values) / len(values) for kind, values in scores.items()}
    assert 0.50 <= means["all"] <= 0.54
    assert all(0.46 <= mean <= 0.57 for mean in means.values())
    assert manifest["mean_gold"] == pytest.approx(means, abs=1e-4)


def test_some_pairs_have_a_degenerate_side(rows: dict[str, list[Row]]):
    """Cut off, repeating, pasted or too short: what the judge finds faulty in form."""
    from workbench.world.judge import gold_parts

    faulty = [
        any(gold_parts(row["instruction"], row[side]).faults for side in ("chosen", "rejected"))
        for row in rows["pairs_train"]
    ]
    assert 0.03 <= sum(faulty) / len(faulty) <= 0.12


def test_files_are_plain_utf8_lines():
    for path in FOLDER.glob("*.jsonl"):
        content = path.read_bytes()
        assert content.endswith(b"}\n") and b"\r" not in content
        content.decode("utf-8")
