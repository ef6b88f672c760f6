"""Jarzynski and Bennett on Gaussian works that obey Crooks, predicted swap rates, refusals."""

import numpy as np
import pytest

from pushforward._errors import InputError, NumericalError
from pushforward.estimators import acceptance_prediction, bar, jarzynski, swap_rates

DELTA, SPREAD = -3.7, 1.6


def gaussian_works(n_up, n_down, seed=0):
    """W_f ~ N(ΔF + s²/2, s²) and W_b ~ N(−ΔF + s²/2, s²): Crooks' theorem holds exactly."""
    rng = np.random.default_rng(seed)
    up = DELTA + SPREAD**2 / 2 + SPREAD * rng.normal(size=n_up)
    return up, -DELTA + SPREAD**2 / 2 + SPREAD * rng.normal(size=n_down)


@pytest.mark.parametrize(("n_up", "n_down"), [(1000, 1000), (300, 3000)])
def test_errors_are_honest_and_bar_is_sharper(n_up, n_down):
    scores, pairs = [], []
    for seed in range(200):
        up, down = gaussian_works(n_up, n_down, seed)
        both, one = bar(up, down), jarzynski(up)
        scores.append((both.value - DELTA) / both.error)
        pairs.append((both.value, one.value))
    scores, pairs = np.array(scores), np.array(pairs)
    assert abs(scores.mean()) < 4 / np.sqrt(200)
    assert 0.85 < scores.std() < 1.15
    assert pairs[:, 0].std() < 0.8 * pairs[:, 1].std()
    assert abs(pairs[:, 0].mean() - DELTA) < 0.01
    weights = np.exp(DELTA - pairs[:, 1])  # unbiased is the exponential, not its logarithm
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(200)
    # Twin: the two directions confused.
    up, down = gaussian_works(n_up, n_down)
    assert abs(bar(down, up).value - DELTA) > 1


def test_bar_solves_its_equation_and_is_antisymmetric():
    up, down = gaussian_works(40, 70)
    value = bar(up, down).value
    ratio = np.log(40 / 70)
    above = np.sum(1 / (1 + np.exp(ratio + up - value)))
    below = np.sum(1 / (1 + np.exp(-ratio + down + value)))
    np.testing.assert_allclose(above, below, rtol=1e-10)
    np.testing.assert_allclose(bar(down, up).value, -value, atol=1e-10)
    np.testing.assert_allclose(bar(up + 1e4, down - 1e4).value, value + 1e4, atol=1e-8)
    np.testing.assert_allclose(bar(np.append(up, np.inf), np.append(down, np.inf)).value, value,
                               atol=0.1)  # fmt: skip


def test_prediction_from_the_ess_of_a_gaussian_weight():
    ess = np.array([0.9, 0.7, 0.5, 0.3, 0.1, 0.025])
    found = acceptance_prediction(-np.log(ess))
    np.testing.assert_allclose(found, [0.818, 0.673, 0.556, 0.438, 0.283, 0.174], atol=6e-4)
    # By hand: mean min(1, e^{−D}), D ~ N(m, 2m).
    z = np.linspace(-9, 9, 20001)
    share = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    for mean in (0.3, 2.0, 7.5):
        exact = share @ np.exp(np.minimum(0, -(mean + np.sqrt(2 * mean) * z)))
        np.testing.assert_allclose(acceptance_prediction(mean), exact, rtol=1e-6)


def test_rates_warn_of_pairs_without_overlap_and_refuse_broken_ones():
    acceptance, work = np.full((10, 2), [0.5, 0.0]), np.full((10, 2), [0.9, 60.0])
    with pytest.warns(UserWarning, match="pair 1 hardly swaps.*put 4 replicas between"):
        rates = swap_rates(acceptance, work)
    np.testing.assert_allclose(rates.rate, [0.5, 0])
    lost = np.zeros((10, 2), int)
    lost[3, 0] = 7
    with pytest.raises(NumericalError, match="7 % of the works of pair 0"):
        swap_rates(acceptance[:, :1], work[:, :1], lost[:, :1], chains=10)


def test_bad_works():
    with pytest.raises(InputError, match="n >= 2"):
        jarzynski([1.0])
    with pytest.raises(InputError, match="NaN or -inf"):
        bar([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(NumericalError, match="no work is finite"):
        bar([np.inf, np.inf], [np.inf, np.inf])
