"""Lists and objects that arrive as text: whatever spelled them, the same values come out."""

import json

import numpy as np
import pytest

from workbench.data.messages import written_messages
from workbench.data.written_values import LONGEST, looks_written, written_value

TALK = [
    {"role": "user", "content": 'It\'s "wet"\nand \\n {odd} [1] é'},
    {"role": "assistant", "content": "array(1), null, true } {"},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TALK),
        json.dumps(TALK, indent=2),
        json.dumps(TALK, ensure_ascii=False),
        str(TALK),
        f"\n  {TALK}\n",
        str(np.array(TALK, dtype=object)),
        repr(np.array(TALK, dtype=object)),
        json.dumps(json.dumps(TALK)),
        json.dumps(json.dumps(json.dumps(TALK))),
        json.dumps(json.dumps(TALK))[1:-1],
        "\ufeff" + str(TALK),
        str(tuple(TALK)),
        json.dumps(json.dumps(TALK, indent=1))[1:-1],
    ],
)
def test_each_spelling_gives_the_same_messages(text: str) -> None:
    assert written_messages(text) == TALK


def test_pythons_own_values_stand_beside_the_text() -> None:
    text = "[{'role': 'user', 'content': 'q', 'name': None, 'ok': True, 'p': np.float64(0.5)}]"
    entry = {"role": "user", "content": "q", "name": None, "ok": True, "p": 0.5}
    assert written_messages(text) == [entry]
    mixed = "{'role': 'user', 'content': 'q', 'ok': true, 'n': nan, 'x': null}"
    assert written_messages(mixed) == [
        {"role": "user", "content": "q", "ok": True, "n": None, "x": None}
    ]


def test_a_raw_line_break_within_json_is_text() -> None:
    text = '[{"role": "user", "content": "one\ntwo"}]'
    assert written_messages(text) == [{"role": "user", "content": "one\ntwo"}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[sic] he said",
        "[1, 2, 3]",
        '{"place": "Riga"}',
        '{"role": "admin", "content": "a JSON that was asked for"}',
        '[{"role": "user"}]',
        '[{"role": "user", "content": "cut',
        "[{'role': 'user', 'content': 'cut",
        '[{"role": "user", "content": "q"}, 7]',
        "[INST] q [/INST]",
        '"Hello," she said, "it rains."',
        "[{'role': 'user', 'content': __import__('os').getcwd()}]",
        '[{"role": "user", "content": ' + "[" * 100_000,
        "[{'role': 'user', 'content': " + "[" * 100_000,
        "x" * (LONGEST + 1),
    ],
)
def test_what_spells_no_messages_stays_text(text: str) -> None:
    assert written_messages(text) is None


def test_strings_that_numpy_prints_without_commas_are_several() -> None:
    assert written_value("['yes' 'no']") == ["yes", "no"]
    assert written_value("[['a' 'b']\n ['c' 'd']]") == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("[1, 2]", True),
        ("['a', 'b']", True),
        ("[None]", True),
        ('{"a": 1}', True),
        ("[{'role': 'user', 'content': 'cut", True),
        ("[sic] said he", False),
        ("[1] Smith 2004", False),
        ("{curly} words", False),
        ("plain", False),
    ],
)
def test_what_only_looks_like_one_is_known(text: str, looks: bool) -> None:
    assert looks_written(text) is looks
