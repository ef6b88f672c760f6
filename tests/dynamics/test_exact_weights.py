"""Weights exact at every step size: E e^A = Z_1/Z_0 however coarse the grid and bad the drift.

The target is the asymmetric double well, where a sign error cannot hide. Every test has a broken
twin, a kernel that drops or misplaces one term, and the same judgement must refuse it.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from tests.walkers import ess, log_z, log_z_error, path_of, run, weighted_mean

from pushforward.dynamics import (
    ContinuousTime,
    Langevin,
    Transport,
    TwoKernel,
    compose,
)
from pushforward.dynamics.langevin import AbstractWeight
from pushforward.mcmc import HMC
from pushforward.networks import ScoreCut
from pushforward.paths import Annealing, LocalVariance, uniform_times
from pushforward.targets import DoubleWell, Energy, Normal

WELL = Annealing(Normal(1, 0.0, 1.5), DoubleWell())
LOG_Z, MEAN = 9.374541173866, 1.187960983376147


def wave(t, x, g=None):
    """A drift that has nothing to do with the path."""
    return 0.6 * jnp.sin(1.3 * x + 0.4)


class OldPoint(AbstractWeight):
    """Twin: b' and g' of the backward kernel taken at (t', OLD x)."""

    num_divergences = 0

    def increment(self, kernel, t, x, left, t_next, right, noise):
        end = kernel._end(t_next, x)
        right = eqx.tree_at(lambda e: (e.score, e.drift), right, (end.score, end.drift))
        return TwoKernel().increment(kernel, t, x, left, t_next, right, noise)


class NoDrift(AbstractWeight):
    """Twin: the drift left out of delta."""

    num_divergences = 0

    def increment(self, kernel, t, x, left, t_next, right, noise):
        right = eqx.tree_at(lambda e: e.drift, right, left.drift)
        return TwoKernel().increment(kernel, t, x, left, t_next, right, noise)


def z_score(log_weights, populations=20):
    """Return how many errors of 20 populations lie between mean e^A and Z, and E x and its own."""
    z = np.exp(log_weights - LOG_Z).reshape(populations, -1).mean(1)
    return (z.mean() - 1) / (z.std(ddof=1) / np.sqrt(populations))


def mean_score(x, log_weights):
    """Return the z-score of the weighted E x."""
    centre, error = weighted_mean(x[:, 0], log_weights)
    return (centre - MEAN) / error


# U_t = |x − m t|²/2 carried by b = m: the weight is known along every single trajectory.
SHIFT = path_of(lambda t, x: 0.5 * jnp.sum((x - 3 * t) ** 2), Normal(2))


@pytest.mark.parametrize(("weight", "holds"), [(TwoKernel(), True), (OldPoint(), False)])
def test_pathwise_identity(weight, holds):
    """A = (εD/4)(|y_0|² − |y_N|²), y = x − m t."""
    num, epsilon = 13, 0.7
    kernel = Langevin(SHIFT, lambda t, x, g: jnp.full_like(x, 3), epsilon, weight)
    paths = run(kernel, uniform_times(num), 50)
    square = ((paths.x - 3 * paths.t[..., None]) ** 2).sum(-1)
    exact = epsilon / num / 4 * (square[:, :1] - square)
    error = np.abs(paths.log_weight - exact).max()
    assert error < 1e-12 if holds else error > 0.1


LANGEVIN = {(10, 0.05): 0.26, (20, 0.2): 0.29, (50, 0.2): 0.30, (200, 0.2): None}


@pytest.mark.parametrize(("num", "epsilon"), LANGEVIN)
def test_langevin_is_unbiased_at_every_step_size(num, epsilon):
    walkers = 80_000 if num < 100 else 10_000
    paths = run(Langevin(WELL, wave, epsilon), uniform_times(num), walkers, seed=num)
    log_weights = paths.log_weight[:, -1]
    error = log_z_error(log_weights)
    assert error < 0.02
    assert abs(log_z(log_weights) - LOG_Z) < 4.5 * error
    assert abs(z_score(log_weights)) < 4.5
    assert abs(mean_score(paths.x[:, -1], log_weights)) < 4.5
    if LANGEVIN[num, epsilon]:
        assert abs(ess(log_weights) - LANGEVIN[num, epsilon]) < 0.02


@pytest.mark.parametrize("num", [10, 20, 200])
def test_map_and_mala_are_unbiased_at_every_step_size(num):
    kernel = compose(Transport(WELL, wave), HMC(WELL, 0.3))
    paths = run(kernel, uniform_times(num), 40_000 if num < 100 else 4000, seed=num)
    log_weights = paths.log_weight[:, -1]
    assert log_z_error(log_weights) < 0.03
    assert abs(z_score(log_weights)) < 4.5
    assert abs(mean_score(paths.x[:, -1], log_weights)) < 4.5


def test_a_cut_gradient_leaves_the_weights_exact():
    """The step may use any field for g, as long as the backward kernel uses it too."""
    cut = ScoreCut(LocalVariance(WELL.schedule, 1.5, 0.3), 0.5)
    log_weights = {}
    for score in (None, cut):
        paths = run(Langevin(WELL, wave, 0.2, score=score), uniform_times(20), 80_000)
        log_weights[score is None] = paths.log_weight[:, -1]
        assert abs(z_score(paths.log_weight[:, -1])) < 4.5
        assert abs(mean_score(paths.x[:, -1], paths.log_weight[:, -1])) < 4.5
    assert np.mean(log_weights[True] != log_weights[False]) > 0.9  # the cut acts


def test_twin_drift_missing_from_delta():
    log_weights = run(Langevin(WELL, wave, 0.2, NoDrift()), uniform_times(20), 80_000).log_weight
    assert abs(log_z(log_weights[:, -1]) - LOG_Z - 0.49) < 0.03
    assert abs(z_score(log_weights[:, -1])) > 20


def test_twin_backward_kernel_at_the_old_point():
    log_weights = run(Langevin(WELL, wave, 0.2, OldPoint()), uniform_times(20), 80_000).log_weight
    assert abs(z_score(log_weights[:, -1])) > 20


def halving(weight):
    """Return |log Z(10) − log Z(20)| in units of its error."""
    kernel = Langevin(WELL, wave, 0.2, weight)
    runs = [run(kernel, uniform_times(n), 80_000, seed=n).log_weight[:, -1] for n in (10, 20)]
    return abs(log_z(runs[0]) - log_z(runs[1])) / np.hypot(*map(log_z_error, runs))


def test_step_halving():
    assert halving(TwoKernel()) < 3
    assert halving(ContinuousTime()) > 8  # the twin: biased by O(D)


# N(0, 1) to N(3, .3²) with unnormalised end; every ρ_t is Gaussian.
PREFIX = Annealing(Normal(1), Energy(lambda x: jnp.sum((x - 3) ** 2) / 0.18, Normal(1).space))


def gaussian_drift(t, x, g=None):
    """The exact drift μ' + (σ'/σ)(x − μ) of the geometric path."""
    precision, rate = 1 - t + t / 0.09, 1 / 0.09 - 1
    mu = t * 3 / 0.09 / precision
    return 3 / 0.09 / precision**2 - 0.5 * rate / precision * (x - mu)


EXACT_PREFIX = {0.25: -3.0580797557, 0.5: -2.5052389791, 1.0: -0.2850342711}


def test_prefixes_carry_the_log_z_of_their_own_time():
    """A belongs to ρ_t, not to ρ_1, on the way of one run and at the end of a shorter one."""
    kernel = Langevin(PREFIX, gaussian_drift, 1.0)
    times = uniform_times(80)
    whole = run(kernel, times, 20_000).log_weight
    for t, exact in EXACT_PREFIX.items():
        here = whole[:, round(80 * t)]
        assert abs(log_z(here) - exact) < 4.5 * log_z_error(here)
        assert log_z_error(here) < 0.01
        short = run(kernel, times * t, 20_000, seed=1).log_weight[:, -1]
        assert abs(log_z(short) - exact) < 4.5 * log_z_error(short)
