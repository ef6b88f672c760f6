import math

import jax
import numpy as np
import pytest
from tests.series import ar1

from pushforward._errors import ChainTooShort, InputError, NonFinite
from pushforward.estimators import derived, gamma_method, jackknife, stationary_bootstrap


def ratio(a, b):
    return b / a


def test_blocks_of_one_are_the_standard_error():
    x = np.random.default_rng(0).standard_normal(500)
    result = jackknife(lambda m: m, x, block=1)
    assert result.error == pytest.approx(x.std(ddof=1) / math.sqrt(500), rel=1e-12)
    assert result.bias == pytest.approx(0, abs=1e-12)
    assert result.copies == 500


def test_bias_of_a_square():
    """(mean)² is high by var/n; the jackknife's bias is that, exactly, with the unbiased var."""
    x = np.random.default_rng(1).standard_normal(400) + 1
    result = jackknife(lambda m: m**2, x, block=1)
    assert result.bias == pytest.approx(x.var(ddof=1) / 400, rel=1e-10)


@pytest.mark.parametrize("shape", [(30_000,), (7_503, 4)])
def test_ratio_agrees_with_gamma_method(shape):
    x = ar1(0.8, *shape, seed=2) + 5
    y = 2 * x + ar1(0.9, *shape, seed=3)
    gamma = derived(ratio, x, y)
    block = math.ceil(20 * gamma.tau_int)
    knife = jackknife(ratio, x, y, block=block)
    assert knife.value == pytest.approx(gamma.mean, rel=1e-12)
    assert knife.error == pytest.approx(gamma.error, rel=0.1)
    # Broken twins: no blocks.
    assert jackknife(ratio, x, y, block=1).error < 0.5 * gamma.error
    single = stationary_bootstrap(ratio, x, y, length=1, copies=100, key=jax.random.key(0))
    assert single.error < 0.5 * gamma.error


@pytest.mark.parametrize("shape", [(8_000,), (2_000, 4)])
def test_blocks_give_the_exact_error(shape):
    """AR(1) of tau = 9.5: both are low by tau/(2 block) = 5 % at 10 tau, and no more."""
    knives, boots = [], []
    for seed in range(30):
        x, key = ar1(0.9, *shape, seed=seed), jax.random.key(seed)
        knives.append(jackknife(lambda m: m, x, block=95).error)
        boot = stationary_bootstrap(lambda m: m, x, length=95, copies=60, key=key)
        assert boot.value == pytest.approx(x.mean(), abs=1e-12)
        boots.append(boot.error)
    exact = math.sqrt(2 * 9.5 / 8000)
    for errors in (np.array(knives), np.array(boots)):
        mean, sigma = errors.mean() / exact, errors.std() / exact / math.sqrt(30)
        assert abs(mean - 0.95) < 4 * sigma + 0.01


def test_default_block():
    x = ar1(0.8, 5000, 4, seed=2)
    expected = math.ceil(4 * gamma_method(x).tau_int)
    assert jackknife(lambda m: m, x).block == expected
    assert stationary_bootstrap(lambda m: m, x, copies=2, key=jax.random.key(0)).block == expected
    assert jackknife(lambda m: m, x).error == pytest.approx(gamma_method(x).error, rel=0.2)


def test_arrays_and_complex():
    random = np.random.default_rng(4)
    correlator = np.exp(-0.5 * np.arange(5)) + 0.01 * random.standard_normal((400, 3, 5))
    result = jackknife(lambda c: np.log(c[:-1] / c[1:]), correlator, block=1)
    assert result.value.shape == result.error.shape == (4,)
    assert np.all(np.abs(result.value - 0.5) < 4.5 * result.error)
    noise = random.standard_normal((400, 2)) @ np.array([1, 1j])
    result = jackknife(lambda m: m, noise, block=1)
    assert result.error == pytest.approx(np.std(noise, ddof=1) / 20, rel=1e-10)


def test_reproducible_and_keyed():
    x = ar1(0.5, 2000)
    first, again, other = (
        stationary_bootstrap(lambda m: m, x, copies=20, key=jax.random.key(k)).error
        for k in (0, 0, 1)
    )
    assert first == again != other


def test_refusals():
    x = ar1(0.5, 100, 2)
    with pytest.raises(ChainTooShort, match="6 blocks of 30"):
        jackknife(lambda m: m, x, block=30)
    with pytest.raises(ChainTooShort):
        jackknife(lambda m: m, x, block=0)
    with pytest.raises(InputError, match="equal numbers"):
        jackknife(ratio, x, x[1:])
    with pytest.raises(InputError, match="block yourself"):
        jackknife(lambda m: m, np.zeros((100, 2, 3)))
    with pytest.raises(InputError, match="no series"):
        jackknife(ratio)
    with pytest.raises(InputError, match="length"):
        stationary_bootstrap(lambda m: m, x, length=0.5, key=jax.random.key(0))
    with pytest.raises(InputError, match="copies"):
        stationary_bootstrap(lambda m: m, x, length=1, copies=1, key=jax.random.key(0))
    with pytest.raises(NonFinite):
        jackknife(lambda m: m, np.full(100, np.nan), block=1)
    with pytest.raises(NonFinite, match="not finite"), np.errstate(invalid="ignore"):
        jackknife(lambda m: np.log(m), x - x.mean() - 1, block=1)
