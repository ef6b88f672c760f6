import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.estimators import Moments


def _stream(data, cuts):
    total = Moments.of(data[:0])
    for block in np.split(data, cuts):
        total = total.merge(Moments.of(block))
    return total


@pytest.mark.parametrize(
    "cuts", [[], [1], [500], [0, 0, 7, 7, 999], list(range(1, 1000)), [999], [3, 40, 41, 700]]
)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_any_chunking_equals_numpy(cuts, offset):
    data = np.random.default_rng(0).gamma(2.0, size=(1000, 3)) + offset
    total = _stream(data, cuts)
    assert total.count == 1000
    np.testing.assert_allclose(total.mean, data.mean(0), rtol=1e-12)
    tolerance = 1e-12 if offset == 0 else 1e-9  # of the variance: the data hold 1e-10 of it
    np.testing.assert_allclose(total.variance(), data.var(0, ddof=1), rtol=tolerance)
    np.testing.assert_allclose(total.variance(0), data.var(0), rtol=tolerance)


def test_twin_sum_of_squares_fails():
    data = np.random.default_rng(0).gamma(2.0, size=1000) + 1e8
    total = _stream(data, [10, 500])
    naive = (data**2).mean() - data.mean() ** 2
    assert total.variance(0) == pytest.approx(data.var(), rel=1e-6)
    assert naive != pytest.approx(data.var(), rel=1e-2)


def test_order_does_not_matter():
    data = np.random.default_rng(1).standard_normal((30, 2))
    a, b, c = (Moments.of(part) for part in np.split(data, [5, 17]))
    left, right = a.merge(b).merge(c), c.merge(a.merge(b))
    np.testing.assert_allclose(left.mean, right.mean, rtol=1e-12)
    np.testing.assert_allclose(left.M2, right.M2, rtol=1e-12)


def test_complex_and_float32():
    data = np.random.default_rng(2).standard_normal((100, 2)) @ np.array([1, 1j])
    total = _stream(data, [33])
    assert total.mean == pytest.approx(data.mean(), rel=1e-12)
    assert total.variance(0) == pytest.approx(data.var(), rel=1e-12)
    assert Moments.of(np.ones((3, 2), np.float32)).mean.dtype == np.float64


def test_edges():
    empty = Moments.of(np.zeros((0, 2)))
    assert empty.merge(empty).count == 0
    assert np.isnan(empty.variance()).all()
    one = Moments.of(np.ones((1, 2)))
    assert np.isnan(one.variance()).all()
    assert (one.variance(0) == 0).all()
    with pytest.raises(InputError, match="leading axis"):
        Moments.of(3.0)
    with pytest.raises(InputError, match=r"\(2,\) and \(3,\)"):
        one.merge(Moments.of(np.ones((1, 3))))
