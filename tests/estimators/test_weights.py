import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError, WeightCollapse
from pushforward.estimators import (
    elbo,
    ess,
    eubo,
    largest_weight,
    log_z,
    log_z_error,
    log_z_populations,
    mean,
    path_kl,
    require_walkers,
)

INF = jnp.inf


def test_ess_by_hand():
    weights = jnp.array([1.0, 2.0, 5.0])
    assert ess(jnp.log(weights)) == pytest.approx(64 / (3 * 30), rel=1e-14)
    assert ess(jnp.log(weights) - 5000) == pytest.approx(64 / 90, rel=1e-12)
    assert largest_weight(jnp.log(weights)) == pytest.approx(5 / 8, rel=1e-14)
    assert log_z(jnp.log(weights)) == pytest.approx(math.log(8 / 3), rel=1e-14)


def test_equal_weights_are_perfect():
    weights = jnp.full(1000, 0.1)
    assert ess(weights) == 1
    assert log_z(weights) == pytest.approx(0.1, abs=1e-15)
    assert log_z_error(weights) == 0
    assert path_kl(weights) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_one_survivor(n):
    weights = jnp.full(n, -INF).at[-1].set(3.0)
    assert ess(weights) == pytest.approx(1 / n)
    assert log_z(weights) == pytest.approx(3 - math.log(n))
    assert largest_weight(weights) == 1
    value, error = mean(jnp.arange(float(n)), weights)
    assert value == n - 1
    assert (error == INF) == (n == 1)
    assert (log_z_error(weights) == INF) == (n == 1)
    if n > 1:
        assert log_z_error(weights) == pytest.approx(math.sqrt((n - 1) / n))
        assert elbo(weights) == -INF
        assert path_kl(weights) == INF


def test_nobody_alive():
    weights = jnp.full(5, -INF)
    assert ess(weights) == 0
    assert log_z(weights) == -INF
    assert log_z_error(weights) == INF
    assert path_kl(weights) == INF
    assert jnp.isnan(mean(jnp.ones(5), weights)[0])
    assert jnp.isnan(largest_weight(weights))


@pytest.mark.parametrize("bad", [jnp.nan, INF])
def test_bad_weights_are_seen(bad):
    weights = jnp.array([0.0, bad, 1.0])
    assert jnp.isnan(ess(weights))
    assert jnp.isnan(log_z(weights))
    assert jnp.isnan(mean(jnp.ones(3), weights)[0])


def test_dead_walkers_may_carry_nan():
    weights = jnp.array([0.0, -INF, jnp.log(3.0)])
    value, error = mean(jnp.array([1.0, jnp.nan, 5.0]), weights)
    assert value == pytest.approx(4)
    assert error == pytest.approx(math.sqrt((0.25 * 3) ** 2 + (0.75 * 1) ** 2))


def test_mean_of_a_pytree():
    weights = jnp.log(jnp.array([1.0, 3.0]))
    values = {
        "z": jnp.array([1j, 1.0 + 0j]),
        "n": jnp.array([[1, 2], [3, 6]]),
        "b": jnp.array([0, 1]) > 0,
    }
    value, error = mean(values, weights)
    assert set(value) == set(error) == {"z", "n", "b"}
    assert value["z"] == pytest.approx(0.75 + 0.25j)
    np.testing.assert_allclose(value["n"], [2.5, 5])
    assert value["b"] == pytest.approx(0.75)
    assert error["z"].dtype == jnp.float64
    # w̄ |f − f̄|: (1/4)(3/4)√2 and (3/4)(1/4)√2, added in squares
    assert error["z"] == pytest.approx(2 * 3 / 16)


def _gaussian(key, n, s=0.8):
    """Exact samples of N(0,1) with weights of N(m, s²)·Z: m = .5, log Z = .7, known moments."""
    x = jax.random.normal(key, (n,))
    log_w = 0.7 - 0.5 * ((x - 0.5) / s) ** 2 - math.log(s) + 0.5 * x**2
    return x, log_w


def test_errors_are_standard_errors():
    keys = jax.random.split(jax.random.key(1), 4000)
    x, a = jax.vmap(lambda k: _gaussian(k, 200))(keys)
    z, dz = jax.vmap(log_z)(a), jax.vmap(log_z_error)(a)
    m, dm = jax.vmap(mean)(x, a)
    assert jnp.std((z - 0.7) / dz) == pytest.approx(1, abs=0.06)
    assert jnp.std((m - 0.5) / dm) == pytest.approx(1, abs=0.06)
    # Broken twin: the unweighted error of the same mean.
    naive = jnp.std(x, axis=1) / math.sqrt(200)
    assert abs(float(jnp.std((m - 0.5) / naive)) - 1) > 0.06
    assert abs(float(jnp.mean(jnp.exp(z)) / math.exp(0.7)) - 1) < 4 * float(
        jnp.std(jnp.exp(z)) / math.exp(0.7) / math.sqrt(4000)
    )


def test_bounds_sandwich_log_z():
    x, forward = _gaussian(jax.random.key(2), 100_000)
    y = 0.5 + 0.8 * jax.random.normal(jax.random.key(3), (100_000,))
    backward = -(0.7 - 0.5 * ((y - 0.5) / 0.8) ** 2 - math.log(0.8) + 0.5 * y**2)
    # KL(N(0,1) || N(m,s²)) and back, in closed form
    reverse = math.log(0.8) + (1 + 0.25) / (2 * 0.64) - 0.5
    forward_kl = -math.log(0.8) + (0.64 + 0.25) / 2 - 0.5
    assert elbo(forward) == pytest.approx(0.7 - reverse, abs=0.02)
    assert eubo(backward) == pytest.approx(0.7 + forward_kl, abs=0.02)
    assert path_kl(forward) == pytest.approx(reverse, abs=0.02)
    # Broken twin: the sign of the backward run forgotten is no upper bound.
    assert -eubo(backward) < 0.7


def test_populations():
    keys = jax.random.split(jax.random.key(4), 500)

    def one(key):
        a = jax.vmap(lambda k: _gaussian(k, 100)[1])(jax.random.split(key, 16))
        # Resampling in its worst form: one draw copied to all leaves Z unbiased, walkers equal.
        return jax.vmap(lambda row: jnp.full_like(row, log_z(row)))(a)

    value, error = jax.vmap(lambda k: log_z_populations(one(k)))(keys)
    assert jnp.std((value - 0.7) / error) == pytest.approx(1.07, abs=0.12)  # Student, 15 dof
    # Broken twin: independent-walker error after resampling claims certainty.
    assert log_z_error(one(keys[0]).ravel()) < 0.5 * error[0]


@pytest.mark.parametrize("shape", [(3, 100), (400,)])
def test_three_populations_are_refused(shape):
    with pytest.raises(InputError, match="R >= 4"):
        log_z_populations(jnp.zeros(shape))


def test_dead_populations():
    weights = jnp.zeros((4, 3)).at[0].set(-INF)
    value, error = log_z_populations(weights)
    assert value == pytest.approx(math.log(0.75))
    assert error == pytest.approx(1 / 3)
    value, error = log_z_populations(jnp.full((4, 3), -INF))
    assert value == -INF
    assert error == INF


def test_shapes_and_dtypes_are_checked():
    with pytest.raises(InputError, match=r"\(2, 3\).*vmap"):
        ess(jnp.zeros((2, 3)))
    with pytest.raises(InputError, match="int64"):
        log_z(jnp.arange(3))
    with pytest.raises(InputError, match=r"\(0,\)"):
        elbo(jnp.zeros(0))
    with pytest.raises(InputError, match=r"\(4,\).*walkers first"):
        mean(jnp.zeros(4), jnp.zeros(3))


def test_collapse_is_refused():
    with pytest.raises(WeightCollapse, match="one walker carries the weight.*largest weight 1, "):
        require_walkers(jnp.zeros(100).at[0].set(200.0))
    with pytest.raises(WeightCollapse, match="inside the support: 0 of 100"):
        require_walkers(jnp.full(100, -INF))
    require_walkers(jnp.zeros(100))
    with pytest.raises(InputError, match="outside jit"):
        jax.jit(require_walkers)(jnp.zeros(100))


def test_float32():
    x, a = _gaussian(jax.random.key(5), 10_000)
    assert ess(a.astype(jnp.float32)).dtype == jnp.float32
    assert mean(x, a.astype(jnp.float32))[0] == pytest.approx(float(mean(x, a)[0]), abs=1e-5)
    assert log_z(a.astype(jnp.float32)) == pytest.approx(float(log_z(a)), abs=1e-5)
