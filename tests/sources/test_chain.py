"""Chains as a source: the walkers of a kernel that holds the present model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError, NonFinite
from pushforward.drivers import fit
from pushforward.dynamics import Transport, march
from pushforward.mcmc import HMC
from pushforward.objectives import AbstractObjective
from pushforward.paths import Annealing
from pushforward.sources import RunningChains
from pushforward.targets import Energy, Normal

TARGET = Normal(2, 1.0, 0.5)
KEY = jax.random.key(0)
START = jnp.arange(12.0).reshape(6, 2)


class Model(eqx.Module):
    step_size: jax.Array


def process(model):
    return HMC(TARGET, model.step_size, 3)


MODEL = Model(jnp.array(0.3))


@eqx.filter_jit
def draw(source, state, model, size, key):
    return source.draw(state, model, size, progress=jnp.zeros(()), key=key)


def test_walkers_march_with_the_present_model():
    source = RunningChains(process, START, steps=4)
    state = source.init(MODEL, key=KEY)
    batch, after, info = draw(source, state, MODEL, 6, KEY)
    times = jnp.ones(5)

    def by_hand(model, x, j):
        key, kernel = jax.random.fold_in(KEY, j), process(model)
        start = kernel.init(x, times[0], key=jax.random.fold_in(key, 0))
        end, seen = march(kernel, start, times, key=jax.random.fold_in(key, 1))
        return end.x, seen.info.acceptance

    x, acceptance = jax.vmap(by_hand, (None, 0, 0))(MODEL, START, jnp.arange(6))
    np.testing.assert_allclose(after.x, x, rtol=1e-12)
    np.testing.assert_allclose(batch, x, rtol=1e-12)
    np.testing.assert_allclose(info.kernel.acceptance, acceptance.mean(), rtol=1e-12)
    assert int(info.kernel.cost.gradient) == 6 * 4 * 3
    assert not info.failed
    # Twin: another model moves them elsewhere.
    _, other, _ = draw(source, state, Model(jnp.array(0.2)), 6, KEY)
    assert np.abs(other.x - after.x).max() > 0.01


def test_batches_take_walkers_in_turn():
    source = RunningChains(process, START)
    state, seen = source.init(MODEL, key=KEY), []
    for k in range(3):
        batch, state, _ = draw(source, state, MODEL, 4, jax.random.fold_in(KEY, k))
        here, points = np.asarray(state.x), np.asarray(batch)
        rows = [int(np.flatnonzero((here == row).all(1))[0]) for row in points]
        seen += rows
    assert seen == [0, 1, 2, 3, 4, 5] * 2
    batch, state, _ = draw(source, state, MODEL, 15, KEY)
    assert batch.shape == (15, 2)


def test_the_walkers_find_the_target():
    source = RunningChains(process, jnp.full((2000, 2), 3.0), steps=30)
    batch, _, _ = draw(source, source.init(MODEL, key=KEY), MODEL, 2000, KEY)
    z = (np.asarray(batch) - 1.0) / 0.5
    assert np.abs(z.mean(0)).max() < 4 / 2000**0.5
    assert np.abs(z.var(0) - 1).max() < 4 * (2 / 2000) ** 0.5


class Pull(AbstractObjective):
    def __call__(self, model, sample, *, key):
        return model.step_size * jnp.sum(sample**2), None


def test_a_lost_walker_stops_the_training():
    def lost(model):
        wall = Energy(lambda x: jnp.where(x[0] > 1e3, jnp.nan, 0.0) * x[0], TARGET.space)
        return HMC(wall, model.step_size)

    far = START.at[3, 0].set(jnp.nan)
    with pytest.raises(NonFinite, match="the source failed"):
        fit(MODEL, Pull(), RunningChains(lost, far), steps=3, batch=6, key=KEY)


def test_what_is_refused():
    with pytest.raises(InputError, match="one common leading axis"):
        RunningChains(process, (START, START[:3]))
    with pytest.raises(InputError, match="steps is 0, expected an integer >= 1"):
        RunningChains(process, START, 0)
    path = Annealing(Normal(2), TARGET)
    with pytest.raises(InputError, match="Rollout"):
        RunningChains(lambda _: Transport(path), START).init(MODEL, key=KEY)
