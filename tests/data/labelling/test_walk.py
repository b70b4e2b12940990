"""Where a person stands in a list."""

from workbench.data.labelling.walk import Walk


def test_it_goes_forward_and_comes_back_for_what_was_passed_over() -> None:
    walk = Walk(4)
    walk.pin(2)
    assert walk.here() == 2
    walk.set_open(2, False)
    walk.go_on(2)
    assert walk.here() == 3
    walk.set_open(3, False)
    assert (walk.here(), walk.left) == (0, 2)
    walk.set_open(0, False)
    walk.set_open(1, False)
    assert (walk.here(), walk.left, walk.upcoming(0, 9)) == (None, 0, [])
    walk.pin(1)
    assert walk.here() == 1


def test_what_comes_next_leaves_out_where_one_stands() -> None:
    walk = Walk(3)
    assert walk.upcoming(1, 5, leave_out=0) == [1, 2]
    assert walk.upcoming(2, 5) == [2, 0, 1]
    assert walk.upcoming(3, 2) == [0, 1]


def test_closing_twice_counts_once() -> None:
    walk = Walk(3)
    for _ in range(2):
        walk.set_open(1, False)
    assert (walk.left, walk.upcoming(0, 3)) == (2, [0, 2])
    for _ in range(2):
        walk.set_open(1, True)
    assert (walk.left, walk.upcoming(0, 3)) == (3, [0, 1, 2])


def test_a_list_of_nothing_is_done() -> None:
    assert Walk(0).here() is None
