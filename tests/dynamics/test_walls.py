"""Hard walls: U = +inf is legal. Who steps behind one has weight zero, and spreads no NaN."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.walkers import log_z, log_z_error, run, weighted_mean

from pushforward._errors import InputError
from pushforward._tree import Sum
from pushforward.dynamics import (
    ContinuousTime,
    Euler,
    Langevin,
    Transport,
    compose,
)
from pushforward.mcmc import HMC
from pushforward.paths import Annealing, uniform_times
from pushforward.spaces import Euclidean
from pushforward.targets import DoubleWell, Energy, Normal


def wall(x):
    """e^{−U} = e^{−x^{3/2}} on the half line."""
    return jnp.sum(jnp.where(x > 0, jnp.where(x > 0, x, 1) ** 1.5, jnp.inf))


def rough_wall(x):
    """The same, with a gradient that is NaN behind the wall."""
    return jnp.sum(jnp.where(x > 0, x**1.5, jnp.inf))


BASE = Normal(1, 1.5, 1.0)
PATH = Annealing(BASE, Energy(wall, Euclidean(1)))
ROUGH = Annealing(BASE, Energy(rough_wall, Euclidean(1)))
LOG_Z = math.lgamma(5 / 3)
MEAN = 2 / 3 * math.gamma(4 / 3) / math.gamma(5 / 3)


def along_the_score(t, x, g):
    return -0.15 - 0.1 * jnp.tanh(g)


def kernels(path):
    return {
        "AIS": Langevin(path, epsilon=0.3),
        "Langevin": Langevin(path, along_the_score, 0.3),
        "SMC": compose(Transport(path), HMC(path, 0.4, 2)),
        "map and MALA": compose(Transport(path, along_the_score, Euler()), HMC(path, 0.4)),
    }


KERNELS = kernels(PATH)


def parked(name):
    """Run a kernel, check that nobody returns and nothing is NaN; return the last (x, A)."""
    paths = run(KERNELS[name], uniform_times(12), 20_000)
    assert np.all(np.isfinite(paths.x))
    assert not np.isnan(paths.log_weight).any()
    dead = np.isneginf(paths.log_weight)
    assert 0.05 < dead[:, -1].mean() < 0.9
    assert np.all(dead[:, 1:] >= dead[:, :-1])
    assert np.all(paths.x[~dead[:, -1], -1] > 0)
    return paths.x[:, -1, 0], paths.log_weight[:, -1]


@pytest.mark.parametrize("name", ["SMC", "map and MALA"])
def test_walls_keep_weights_exact(name):
    """Where the map covers the support (here it flows outwards through the wall)."""
    x, log_weights = parked(name)
    assert abs(log_z(log_weights) - LOG_Z) < 4 * log_z_error(log_weights)
    centre, error = weighted_mean(x, log_weights)
    assert abs(centre - MEAN) < 4 * error


@pytest.mark.parametrize("name", ["AIS", "Langevin"])
def test_a_wall_absorbs_langevin_walkers(name):
    """Known and said in its docstring: the backward kernel leaks through the wall; log Z is low."""
    _, log_weights = parked(name)
    assert log_z(log_weights) < LOG_Z - 10 * log_z_error(log_weights)


def rough_kernels():
    continuous = Langevin(ROUGH, along_the_score, 0.3, ContinuousTime())
    inverse = Transport(ROUGH, along_the_score, Euler()).reversed()
    return kernels(ROUGH) | {"continuous": continuous, "inverse": inverse}


@pytest.mark.parametrize("name", rough_kernels())
def test_a_gradient_that_is_not_a_number_stays_behind_the_wall(name):
    assert jnp.isnan(jax.grad(rough_wall)(jnp.array([-1.0])))[0]
    kernel, key = rough_kernels()[name], jax.random.key(0)

    @jax.jit
    def two_steps(t):
        state = kernel.init(jnp.array([-1.0]), t, key=key)
        state, _ = kernel.step(state, t, t + 0.3, key=key)
        return state, kernel.step(state, t + 0.3, t + 0.6, key=key)[0]

    for state in two_steps(jnp.asarray(0.3)):
        assert state.log_weight.value == -jnp.inf
        assert jnp.all(jnp.isfinite(state.x))


def test_weight_between_given_points_parks_too():
    between = eqx.filter_jit(KERNELS["Langevin"].log_weight_between)
    t, t_next = jnp.asarray(0.3), jnp.asarray(0.6)
    inside, outside = jnp.array([1.0]), jnp.array([-1.0])
    for x, y in ((inside, outside), (outside, inside), (outside, outside)):
        assert between(t, x, t_next, y) == -jnp.inf
    assert jnp.isfinite(between(t, inside, t_next, inside))


def test_a_sum_of_log_weights_stays_at_minus_infinity():
    dead = Sum.of(jnp.zeros(())).add(jnp.asarray(-jnp.inf)).add(jnp.asarray(3.0))
    assert dead.value == -jnp.inf


WELL = Annealing(Normal(1), DoubleWell())


def test_bad_epsilon_is_refused():
    with pytest.raises(InputError, match="use Transport"):
        Langevin(WELL, epsilon=0.0)
    with pytest.raises(InputError, match="epsilon is -1.0, expected a number >= 0"):
        Langevin(WELL, epsilon=-1.0, weight=ContinuousTime())
    Langevin(WELL, epsilon=0.0, weight=ContinuousTime())  # the probability flow


def test_continuous_weights_have_no_reversal():
    with pytest.raises(InputError, match="TwoKernel"):
        Langevin(WELL, weight=ContinuousTime()).reversed()
    assert Langevin(WELL).reversed() == Langevin(WELL)
