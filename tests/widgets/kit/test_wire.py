import sqlite3

from workbench.errors import DataError
from workbench.widgets.kit.wire import fault, incoming, outgoing, outgoing_messages


def test_lone_surrogates_and_their_own_escape_leave_as_marks():
    assert outgoing("a\ud800b") == "a\ufdd0D800\ufdd1b"
    assert outgoing("\ufdd0\ufdd1") == "\ufdd0FDD0\ufdd1\ufdd0FDD1\ufdd1"
    assert outgoing("plain 日本 😀\x00\u2028") == "plain 日本 😀\x00\u2028"


def test_what_was_typed_is_bounded_and_storable():
    assert incoming("a\udfffb") == "a\ufffdb"
    assert incoming("x" * 50, limit=10) == "x" * 10
    assert incoming(None) == ""


def test_a_long_message_is_cut_and_says_how_long_it_was():
    (message,) = outgoing_messages([{"role": "user", "content": "x" * 100}], cut=50)
    assert message == {"role": "user", "cut": 100, "content": "x" * 50}
    (message,) = outgoing_messages([{"role": "user", "content": "x" * 60}], cut=50)
    assert message == {"role": "user", "content": "x" * 60}  # a little more is not worth a click
    (message,) = outgoing_messages([{"role": "user", "content": "x" * 100}], cut=None)
    assert "cut" not in message


def test_an_error_in_three_parts():
    parts = fault(DataError("no", where="there", fix="mend it"))
    assert parts == {"what": "no", "where": "there", "fix": "mend it"}
    assert fault(sqlite3.OperationalError("full"))["what"] == "OperationalError: full"
