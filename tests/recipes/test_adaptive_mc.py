"""Adaptive Monte Carlo repairs a wrong start; untrained it is HMC with jumps from the base."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pushforward.drivers import fit, simulate
from pushforward.dynamics import compose
from pushforward.estimators import gamma_method
from pushforward.flows import AbstractBijection, spline_couplings
from pushforward.mcmc import HMC, IndependenceMetropolis
from pushforward.recipes import adaptive_mc, importance
from pushforward.spaces import Euclidean
from pushforward.targets import Energy, Normal
from pushforward.targets.exact import well_log_z, well_mean

KEY = jax.random.key(0)
NUM = 32


def energy(x):
    return 8 * (x[0] ** 2 - 1) ** 2 + 0.5 * x[0] + 0.5 * jnp.sum((x[1:] - 0.5 * x[0] ** 2) ** 2)


def target(dim):
    return Energy(energy, Euclidean(dim))


def well(x):
    return 8 * (x**2 - 1) ** 2 + 0.5 * x


def start(dim):
    side = jnp.where(jnp.arange(NUM) < NUM // 2, -1.0, 1.0)
    return jnp.zeros((NUM, dim)).at[:, 0].set(side)


def right(x):
    return {"right": (x[0] > 0).astype(x.dtype)}


class Identity(AbstractBijection):
    unused: jax.Array

    def forward(self, x):
        return x, jnp.zeros(())

    def inverse(self, y):
        return y, jnp.zeros(())


def test_exact_numbers():
    """The coordinates beside x1 are normal given x1, so one quadrature gives all."""
    assert well_log_z(well) + 4.5 * np.log(2 * np.pi) == pytest.approx(7.9470196116, abs=1e-10)
    assert well_mean(lambda x: x > 0, well) == pytest.approx(0.2743785466, abs=1e-9)
    assert well_mean(lambda x: x, well) == pytest.approx(-0.4480667881, abs=1e-10)
    assert well_mean(lambda x: x**2, well) == pytest.approx(0.9720448198, abs=1e-10)


def test_untrained_the_jump_proposes_from_the_base():
    base = Normal(2, 0.0, 1.2)
    recipe = adaptive_mc(target(2), start(2), bijection=Identity(jnp.zeros(1)), base=base)
    kernel = recipe.kernel(recipe.model)
    plain = compose(HMC(target(2), 0.1, 10), IndependenceMetropolis(target(2), base))
    ours, theirs = (simulate(k, start(2), steps=20, key=KEY) for k in (kernel, plain))
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-12)
    assert ours.record["info[1].acceptance"].mean() > 0.01


@pytest.mark.slow
def test_the_loop_repairs_a_wrong_start_and_measurement_leaves_the_kernel_alone():
    flow = spline_couplings(2, layers=2, width=32, key=KEY)
    recipe = adaptive_mc(target(2), start(2), bijection=flow)
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, 200))
    model, history = fit(
        recipe.model, recipe.objective, recipe.source, steps=200, batch=NUM, optimiser=optimiser,
        key=KEY,
    )  # fmt: skip
    accepted = history.metrics["source.kernel[1].acceptance"]
    assert accepted[-20:].mean() > 1.5 * accepted[:20].mean()

    kernel = recipe.kernel(model)
    before = jax.tree.map(np.array, eqx.filter(kernel, eqx.is_array))
    samples = simulate(kernel, recipe.initial, steps=600, burn_in=50, observe=right, key=KEY)
    after = jax.tree.map(np.array, eqx.filter(kernel, eqx.is_array))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))  # 5.9
    exact = well_mean(lambda x: x > 0, well)
    found = gamma_method(samples.record["right"])
    assert abs(found.mean - exact) < 4 * found.error < 0.06

    # Twin: the local kernel alone keeps the wrong share of the start.
    local = simulate(HMC(target(2), 0.1, 10), recipe.initial, steps=100, observe=right, key=KEY)
    assert local.record["right"].mean() > 0.4

    weighted = simulate(importance(target(2), Normal(2), model), 2000, times=[0.0, 1.0], key=KEY)
    log_z = well_log_z(well) + 0.5 * np.log(2 * np.pi)
    assert abs(weighted.log_z.value - log_z) < 4 * weighted.log_z.error < 0.2
    assert weighted.ess > 0.2


@pytest.mark.slow
def test_ten_dimensions():
    """The lectures' double well at its size: 500 iterations, 32 walkers."""
    recipe = adaptive_mc(target(10), start(10))
    optimiser = optax.adam(optax.cosine_decay_schedule(5e-3, 500))
    model, _ = fit(
        recipe.model, recipe.objective, recipe.source, steps=500, batch=NUM, optimiser=optimiser,
        key=KEY,
    )  # fmt: skip
    samples = simulate(
        recipe.kernel(model), recipe.initial, steps=2000, burn_in=50, observe=right, key=KEY
    )
    found = gamma_method(samples.record["right"])
    assert abs(found.mean - 0.2743785466) < 4 * found.error < 0.02
