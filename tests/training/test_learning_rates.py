import pytest

from workbench.training.learning_rates import rate_for


def test_the_two_ends_are_as_given():
    assert rate_for(128, small=5e-4, large=2e-5) == 5e-4  # to the last bit
    assert rate_for(4096, small=5e-4, large=2e-5) == pytest.approx(2e-5, rel=1e-12)


def test_each_doubling_of_the_width_is_the_same_factor():
    """Five doublings from 1 to 1/32: each halves; and outside of the two ends as well."""
    found = [rate_for(64 * 2**n, small=1.0, large=1 / 32) for n in range(8)]
    assert found == pytest.approx([2.0, 1.0, 0.5, 0.25, 0.125, 1 / 16, 1 / 32, 1 / 64])
