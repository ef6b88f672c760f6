"""Dual averaging: the recursion by hand, a solvable acceptance, and HMC at fixed length."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.drivers import simulate
from pushforward.mcmc import HMC, DualAveraging
from pushforward.recipes import adapt
from pushforward.spaces import Euclidean
from pushforward.targets import Energy, FreeField


def test_the_recursion():
    averaging, rates = DualAveraging(0.8), (0.3, 0.9, 1.0, 0.6)
    state, h, log_mean = averaging.init(0.5), 0.0, math.log(0.5)
    for m, rate in enumerate(rates, 1):
        state, step = averaging.update(state, jnp.asarray(rate))
        h = (1 - 1 / (m + 10)) * h + (0.8 - rate) / (m + 10)
        log_step = math.log(5.0) - math.sqrt(m) / 0.05 * h
        log_mean = m**-0.75 * log_step + (1 - m**-0.75) * log_mean
        np.testing.assert_allclose(step, math.exp(log_step), rtol=1e-12)
    np.testing.assert_allclose(averaging.final(state), math.exp(log_mean), rtol=1e-12)


@pytest.mark.parametrize("target", [0.6, 0.9])
def test_meets_a_known_acceptance(target):
    """α(ε) = e^{−ε²}, from far away on either side; it is α that is averaged to its target."""
    averaging = DualAveraging(target)
    update = eqx.filter_jit(averaging.update)
    for start in (1e-3, 1e2):
        state, step = averaging.init(start), jnp.asarray(start)
        for _ in range(400):
            state, step = update(state, jnp.exp(-(step**2)))
        assert abs(math.exp(-(float(averaging.final(state)) ** 2)) - target) < 0.02


def test_hmc_meets_its_target_at_fixed_length():
    free = FreeField((4, 4), 1.0)
    x = jax.vmap(lambda k: free.sample(key=k))(jax.random.split(jax.random.key(0), 64))
    kernel, x = adapt(HMC(free, 0.02, 50), x, target=0.8, steps=80, key=jax.random.key(1))
    step, count = float(kernel.step_size), int(kernel.num_steps)
    assert step * count == pytest.approx(1.0, rel=1e-12)
    assert 1 < count < 10
    rates = simulate(kernel, x, steps=100, key=jax.random.key(2)).record["info.acceptance"]
    # ⌈τ/ε⌉ steps are shorter than ε, so the acceptance is the target's or a little more.
    assert 0.77 < rates.mean() < 0.97
    assert jax.tree.structure(kernel) == jax.tree.structure(HMC(free, 0.02, 50))


def test_refusals():
    free = FreeField((2, 2), 1.0)
    with pytest.raises(InputError, match="one number as step_size"):
        adapt(HMC(free, lambda t: 0.1 + t), jnp.zeros((4, 2, 2)), key=jax.random.key(0))
    wall = Energy(lambda x: jnp.sum(jnp.where(jnp.abs(x) < 1e-12, 0.0, jnp.inf)), Euclidean(1))
    with pytest.raises(InputError, match="no trajectory was accepted"):
        adapt(HMC(wall, 0.5, 2), jnp.zeros((4, 1)), steps=6, key=jax.random.key(0))
