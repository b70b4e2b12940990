"""A key for each reason."""

import pytest

from workbench.errors import ConfigError
from workbench.widgets.labeller.labeller import key_map
from workbench.widgets.labeller.tag_keys import tag_keys


def test_a_reason_takes_a_letter_of_its_name_that_is_free():
    keys = key_map({})
    found = tag_keys(["accurate", "too long", "style", "added"], keys)
    assert found == {"a": "accurate", "o": "too long", "y": "style", "c": "added"}
    assert tag_keys(["tone"], key_map({"tie": "x"})) == {"t": "tone"}  # a key that was set free
    assert tag_keys(None, keys) == {}


def test_keys_of_ones_own():
    assert tag_keys({"x": "accurate", ";": "style"}, key_map({})) == {"x": "accurate", ";": "style"}


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"t": "tone"}, "the key 't' of the tag 'tone' means 'tie'"),
        ({"1": "tone"}, "means 'an answer or a strength'"),
        ({"xy": "tone"}, "is no single small key"),
        ({"X": "tone"}, "is no single small key"),
        ({"x": ""}, "a tag cannot be ''"),
        ([f"tag {n}" for n in range(20)], "no letter is left as the key of the tag"),
    ],
)
def test_keys_that_cannot_be(tags, said):
    with pytest.raises(ConfigError, match=said) as told:
        tag_keys(tags, key_map({}))
    assert told.value.fix
