"""Untrained, the machine is the classical algorithm: Langevin with b = 0 is AIS, step for step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.walkers import run

from pushforward.dynamics import Langevin, march
from pushforward.networks import DriftMLP, RandomFourier, ScoreSkip, Zero
from pushforward.paths import Annealing, ExponentialWarp, LocalVariance, uniform_times
from pushforward.targets import DoubleWell, Normal

DIM, SCALE, EPSILON, NUM, WALKERS = 3, 1.5, 0.05, 25, 20
PATH = Annealing(Normal(DIM, 0.0, SCALE), DoubleWell(DIM))


def ais(x, noise, twin=False):
    """Annealed importance sampling by Euler-Maruyama moves, in NumPy: returns (x, A)."""

    def energy(t, x):
        base = 0.5 * (x / SCALE) ** 2 + np.log(SCALE) + 0.5 * np.log(2 * np.pi)
        return ((1 - t) * base + t * (x**4 - 6 * x**2 - 0.5 * x)).sum(-1)

    def gradient(t, x):
        return (1 - t) * x / SCALE**2 + t * (4 * x**3 - 12 * x - 0.5)

    def log_density(move, x, g):
        return -((move - x + step * EPSILON * g) ** 2).sum(-1) / (4 * EPSILON * step)

    log_weight, step = np.zeros(len(x)), 1 / NUM
    for k in range(NUM):
        t, t_next = k / NUM, (k + 1) / NUM
        g = gradient(t_next if twin else t, x)
        new = x - step * EPSILON * g + np.sqrt(2 * EPSILON * step) * noise[k]
        log_weight += energy(t, x) - energy(t_next, new)
        log_weight += log_density(x, new, gradient(t_next, new)) - log_density(new, x, g)
        x = new
    return x, log_weight


@pytest.fixture(scope="module")
def fed():
    """The start, the normals that `march` draws, and what Langevin makes of them."""
    times, keys = uniform_times(NUM), jax.random.split(jax.random.key(5), WALKERS)

    def walker(key):
        x = PATH.base.sample(key=jax.random.fold_in(key, 100))
        noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (DIM,)))
        kernel = Langevin(PATH, Zero(), EPSILON)
        state, _ = march(kernel, kernel.init(x, times[0], key=key), times, key=key)
        return x, noise(jnp.arange(NUM)), state.x, state.log_weight.value

    x, noise, end, log_weight = jax.jit(jax.vmap(walker))(keys)
    return np.asarray(x), np.asarray(noise).swapaxes(0, 1), np.asarray(end), np.asarray(log_weight)


def test_langevin_without_drift_is_ais(fed):
    x, noise, end, log_weight = fed
    ours, weights = ais(x, noise)
    np.testing.assert_allclose(ours, end, rtol=0, atol=1e-12)
    np.testing.assert_allclose(weights, log_weight, rtol=0, atol=1e-12 * NUM)


def test_twin_gradient_at_the_later_time(fed):
    x, noise, end, log_weight = fed
    ours, weights = ais(x, noise, twin=True)
    assert np.abs(ours - end).max() > 1e-2
    assert np.abs(weights - log_weight).max() > 1e-2


def untrained():
    key = jax.random.key(0)
    variance = LocalVariance(ExponentialWarp(2.0), 1.5, 0.3)
    plain = DriftMLP(DIM, width=8, key=key)
    rich = DriftMLP(
        DIM, width=8, fourier=RandomFourier(DIM, 4, 1.0, key=key), score_scale=0.3, key=key
    )
    return {
        "mlp": plain,
        "mlp with features": rich,
        "skip": ScoreSkip(plain, variance, width=8, key=key),
    }


@pytest.mark.parametrize("name", untrained())
def test_untrained_networks_change_no_bit(name):
    times = uniform_times(NUM)
    drift = untrained()[name]
    plain = run(Langevin(PATH, Zero(), EPSILON), times, WALKERS)
    ours = run(Langevin(PATH, drift, EPSILON), times, WALKERS)
    np.testing.assert_array_equal(ours.x, plain.x)
    np.testing.assert_array_equal(ours.log_weight, plain.log_weight)

    moved = jax.tree.map(lambda a: a + 0.01 if eqx.is_inexact_array(a) else a, drift)
    assert not np.array_equal(run(Langevin(PATH, moved, EPSILON), times, WALKERS).x, plain.x)
