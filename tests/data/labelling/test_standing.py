"""The place to decide now, among open and closed ones."""

from workbench.data.labelling.standing import ItemCursor


def test_it_goes_forward_and_comes_back_for_what_was_passed_over() -> None:
    cursor = ItemCursor(4)
    cursor.pinned = 2
    assert cursor.here() == 2
    cursor.set_open(2, False)
    cursor.go_on(2)
    assert cursor.here() == 3
    cursor.set_open(3, False)
    assert (cursor.here(), cursor.left) == (0, 2)
    cursor.set_open(0, False)
    cursor.set_open(1, False)
    assert (cursor.here(), cursor.left, cursor.upcoming(0, 9)) == (None, 0, [])
    cursor.pinned = 1
    assert cursor.here() == 1


def test_what_comes_next_leaves_out_where_one_stands() -> None:
    cursor = ItemCursor(3)
    assert cursor.upcoming(1, 5, leave_out=0) == [1, 2]
    assert cursor.upcoming(2, 5) == [2, 0, 1]
    assert cursor.upcoming(3, 2) == [0, 1]


def test_closing_twice_counts_once() -> None:
    cursor = ItemCursor(3)
    for _ in range(2):
        cursor.set_open(1, False)
    assert (cursor.left, cursor.upcoming(0, 3)) == (2, [0, 2])
    for _ in range(2):
        cursor.set_open(1, True)
    assert (cursor.left, cursor.upcoming(0, 3)) == (3, [0, 1, 2])


def test_a_list_of_nothing_is_done() -> None:
    assert ItemCursor(0).here() is None
