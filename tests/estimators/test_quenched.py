"""Disorder averages on synthetic data whose errors are known."""

import jax
import numpy as np
import pytest

from pushforward._errors import ChainTooShort, InputError, NonFinite
from pushforward.estimators import quenched

KEY = jax.random.key(0)
S, CHAINS, DRAWS = 32, 2, 16


def synthetic(rng, s_d=1.0, s_th=1.0, samples=S):
    """Sample means scatter by s_d; the mean of all draws of one sample is off by s_th."""
    noise = rng.normal(size=(samples, CHAINS, DRAWS)) * s_th * np.sqrt(CHAINS * DRAWS)
    return np.moveaxis(s_d * rng.normal(size=(samples, 1, 1)) + noise, 2, 0)


def both_levels_at_once(values, copies, rng):
    """The twin: samples resampled, and in each of them its draws anew."""
    flat, means = np.moveaxis(values, 0, 2).reshape(values.shape[1], -1), []
    for _ in range(copies):
        picked = flat[rng.integers(len(flat), size=len(flat))]
        draws = rng.integers(flat.shape[1], size=picked.shape)
        means.append(np.take_along_axis(picked, draws, 1).mean())
    return np.std(means)


def test_the_error_of_a_disorder_average():
    """√((s_d² + s_th²)/S) = .25 for S = 32; thermal and disorder parts are .177 each."""
    rng = np.random.default_rng(0)
    runs = [quenched(synthetic(rng), block=1, copies=200, key=KEY) for _ in range(150)]
    assert abs(np.mean([run.error for run in runs]) - 0.25) < 0.01
    assert abs(np.std([run.mean for run in runs]) - 0.25) < 4 * 0.25 / np.sqrt(300)
    squares = [(run.thermal**2, run.disorder**2) for run in runs]
    np.testing.assert_allclose(np.mean(squares, 0), 1 / 32, rtol=0.08)
    # Twin: √(3/32) = .306.
    twin = [both_levels_at_once(synthetic(rng), 100, rng) for _ in range(40)]
    assert np.mean(twin) > 0.285


def test_parts_where_only_one_source_is_there():
    rng = np.random.default_rng(1)
    still = quenched(synthetic(rng, s_th=1e-6, samples=200), block=1, key=KEY)
    assert still.thermal < 1e-6 < still.disorder
    assert abs(still.error - 1 / np.sqrt(200)) < 0.01
    clean = quenched(synthetic(rng, s_d=0.0, samples=200), block=1, key=KEY)
    assert clean.disorder < 0.6 * clean.thermal
    np.testing.assert_allclose(clean.per_sample_error.mean(), 1.0, rtol=0.05)


def test_blocks_keep_correlated_draws_together():
    """AR(1) with τ_int = 9.5: blocks of 4τ find the thermal error, single draws a quarter of it."""
    rng = np.random.default_rng(2)
    series, rho = [rng.normal(size=(8, 2))], 0.9
    for _ in range(3999):
        series.append(rho * series[-1] + np.sqrt(1 - rho**2) * rng.normal(size=(8, 2)))
    values = np.stack(series)
    exact = np.sqrt(2 * 9.5 / 8000)
    found = quenched(values, key=KEY)
    assert 0.82 * exact < found.per_sample_error.mean() < 1.15 * exact
    assert quenched(values, block=1, key=KEY).per_sample_error.mean() < 0.4 * exact


def test_functions_of_thermal_means():
    rng = np.random.default_rng(3)
    values = synthetic(rng, samples=400)
    square = quenched(values, lambda mean: mean**2, block=1, key=KEY)
    assert abs(square.mean - 2.0) < 4 * square.error  # s_d² + s_th²: biased by thermal noise
    assert abs(square.bias - 1.0) < 0.15  # and says by how much
    pair = np.stack([values, values + 5.0], -1)
    ratio = quenched(pair, lambda mean: mean[1] - mean[0], block=4, key=KEY)
    assert abs(ratio.mean - 5.0) < 1e-12
    assert ratio.error < 1e-12
    assert "disorder" in str(square)


def test_a_rare_sample_is_reported():
    values = np.random.default_rng(4).normal(size=(20, 10, 2)) * 1e-3
    values[:, 3] += 50.0
    found = quenched(values, block=1, key=KEY)
    assert found.largest_share > 0.99
    np.testing.assert_allclose(found.per_sample[3], 50.0, atol=0.01)


def test_bad_input_is_refused():
    good = np.random.default_rng(5).normal(size=(40, 8, 2))
    with pytest.raises(InputError, match="at least 4"):
        quenched(good[:, :3], key=KEY)
    with pytest.warns(UserWarning, match="fewer than 8"):
        quenched(good[:, :5], block=1, key=KEY)
    with pytest.raises(InputError, match="stacked"):
        quenched(good[0], key=KEY)
    with pytest.raises(ChainTooShort, match="blocks"):
        quenched(good, block=20, key=KEY)
    with pytest.raises(InputError, match="give block"):
        quenched(good[..., None], key=KEY)
    bad = good.copy()
    bad[3, 1, 0] = np.nan
    with pytest.warns(
        UserWarning, match=r"2 draws of 40 chains.*series\.T"
    ):  # the twin, transposed
        quenched(good.T, block=1, key=KEY)
    with pytest.raises(NonFinite, match=r"\[1, 0, 3\]"):
        quenched(bad, block=1, key=KEY)
    with pytest.raises(NonFinite, match="one number"):
        quenched(good, lambda mean: np.nan * mean, block=1, key=KEY)
