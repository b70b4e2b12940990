"""Conversations that arrive as text, in every kind of source: read, or kept as text and counted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.data.reading.examples import load_examples, load_prompts
from workbench.data.reading.formats import load_pairs
from workbench.data.reading.intake import WRITTEN

from .known_rows import ASK, BAD, GOOD, bot, user

SPELLINGS: list[Any] = [
    json.dumps,
    lambda value: json.dumps(value, indent=1),
    str,
    lambda value: str(np.array(value, dtype=object)),
    lambda value: json.dumps(json.dumps(value)),
]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl"])
def test_a_talk_in_a_cell_is_a_talk(spelled: Any, name: str, tmp_path: Path) -> None:
    explicit = {"prompt": [user(ASK)], "chosen": [bot(GOOD)], "rejected": [bot(BAD)]}
    whole = {"chosen": [user(ASK), bot(GOOD)], "rejected": [user(ASK), bot(BAD)]}
    unlabelled = {"prompt": [user(ASK)], "responses": [[bot(GOOD)], [bot(BAD)]]}
    arena = {"conversation_a": whole["chosen"], "conversation_b": whole["rejected"]}
    for row in (explicit, whole, unlabelled, arena):
        cells = {column: spelled(talk) for column, talk in row.items()}
        if row is unlabelled and "array" not in str(spelled(["x"])):
            cells["responses"] = json.dumps(unlabelled["responses"])
        if row is arena:
            cells["winner"] = "model_a"
        frame = pd.DataFrame([cells])
        if name == "x.jsonl":
            (tmp_path / name).write_text(json.dumps(cells))
        else:
            frame.to_csv(tmp_path / name, index=False, sep="\t" if name == "x.tsv" else ",")
        pairs = load_pairs(tmp_path / name)
        assert pairs[0].prompt == [user(ASK)]
        assert pairs[0].responses == [[bot(GOOD)], [bot(BAD)]]
        assert pairs.report.fields == {}


def test_what_only_looks_like_a_talk_stays_text_and_is_counted(tmp_path: Path) -> None:
    cut = "[{'role': 'user', 'content': 'Is rain we"
    texts = [cut, "[1, 2, 3]", '["a", "b"]', "[sic] is it?", '{"a": 1}']
    rows = [{"prompt": text, "chosen": "a", "rejected": "b"} for text in texts]
    path = tmp_path / "x.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    for source in (rows, path):
        pairs = load_pairs(source)
        assert [pair.prompt[0]["content"] for pair in pairs] == texts
        assert pairs.report.fields == {"prompt": {WRITTEN: 4}}
        assert f"4  prompt: {WRITTEN}" in str(pairs.report)
        assert f"prompt: {WRITTEN}" in pairs.report._repr_html_()


def test_an_answer_that_is_json_is_an_answer() -> None:
    call = '{"name": "forecast", "arguments": {"place": "Riga"}}'
    pairs = load_pairs([{"prompt": "Rain?", "chosen": call, "rejected": "no"}])
    assert pairs[0].responses[0] == [bot(call)]
    assert pairs.report.fields == {"answers": {WRITTEN: 1}}


def test_a_talk_with_a_role_that_is_not_known_is_put_aside_with_a_reason() -> None:
    talk = json.dumps([user("q"), {"role": "oracle", "content": "x"}])
    report = load_pairs([{"prompt": talk, "chosen": "a", "rejected": "b"}]).report
    assert sum(report.quarantined.values()) == 1 and "role" in next(iter(report.quarantined))


def test_lists_in_pythons_spelling_are_answers(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    pd.DataFrame([{"prompt": ASK, "responses": [GOOD, BAD]}]).to_csv(path, index=False)
    pairs = load_pairs(path)
    assert pairs[0].responses == [[bot(GOOD)], [bot(BAD)]]


def test_prompts_and_examples_are_read_from_text_too(tmp_path: Path) -> None:
    talk = [user(ASK), bot(GOOD)]
    pd.DataFrame([{"messages": talk}]).to_csv(tmp_path / "x.csv", index=False)
    assert load_prompts(tmp_path / "x.csv") == [[user(ASK)]]
    assert load_examples(tmp_path / "x.csv") == [{"prompt": [user(ASK)], "response": [bot(GOOD)]}]
    assert load_prompts([str([user(ASK)])]) == [[user(ASK)]]


def test_two_columns_of_one_name_are_both_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt,chosen,rejected,note,note\np,a,b,one,two\n")
    assert load_pairs(path)[0].meta == {"note": "one", "note (2)": "two"}
