import pytest

from workbench.training.learning_rates import in_small_batches, rate_for, rate_of


def test_the_two_ends_are_as_given():
    assert rate_for(128, small=5e-4, large=2e-5) == 5e-4  # to the last bit
    assert rate_for(4096, small=5e-4, large=2e-5) == pytest.approx(2e-5, rel=1e-12)


@pytest.mark.parametrize(
    ("what", "small", "large"),
    [
        ("reward", 2e-3, 1e-4),
        ("reward head", 2e-3, 3.5e-4),
        ("sft", 2e-4, 1e-4),
        ("sft, every weight", 2e-4, 1e-5),
    ],
)
def test_auto_goes_by_the_width_and_by_what_is_trained(what, small, large):
    """At 128 it is what the embedded model has always had; a number stays what it is."""
    assert rate_of(what, "auto", 128) == small
    assert rate_of(what, "auto", 4096) == pytest.approx(large, rel=1e-12)
    assert rate_of(what, 0.5, 4096) == 0.5


def test_a_rate_in_smaller_batches_goes_by_their_root():
    """A quarter of the comparisons: half the rate; in larger ones it stays."""
    assert [in_small_batches(0.4, batch) for batch in (2, 8, 32, 128)] == [0.1, 0.2, 0.4, 0.4]


def test_each_doubling_of_the_width_is_the_same_factor():
    """Five doublings from 1 to 1/32: each halves; and outside of the two ends as well."""
    found = [rate_for(64 * 2**n, small=1.0, large=1 / 32) for n in range(8)]
    assert found == pytest.approx([2.0, 1.0, 0.5, 0.25, 0.125, 1 / 16, 1 / 32, 1 / 64])
