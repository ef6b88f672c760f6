"""T10: resampling inside the driver keeps Z on average; resetting weights to 0 would lose it."""

import sys

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward.drivers import simulate
from pushforward.estimators import Multinomial, Stratified, Systematic
from pushforward.paths import Annealing, uniform_times
from pushforward.spaces import Euclidean
from pushforward.targets import Energy, Normal

RUNS, WALKERS = 1000, 12


def well(x):
    """An asymmetric double well: 62 % of the mass on the right."""
    return jnp.sum(2 * (x**2 - 1) ** 2 - 0.25 * x)


KERNEL = jobs.smc(Annealing(Normal((1,), 0.0, 1.5), Energy(well, Euclidean((1,)))), 0.3, 1)
GRID = np.linspace(-4, 4, 8001)
EXACT = float(np.exp(-2 * (GRID**2 - 1) ** 2 + 0.25 * GRID).sum() * 1e-3)
RIGHT = float(np.exp(-2 * (GRID**2 - 1) ** 2 + 0.25 * GRID)[GRID > 0].sum() * 1e-3 / EXACT)


class AtRandom(eqx.Module):
    """Resamples on the toss of a coin, whatever the weights are."""

    def __call__(self, log_weights, *, key):
        coin = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5)
        drawn, _ = Multinomial(1.0)(log_weights, key=key)
        return jnp.where(coin, drawn, jnp.arange(drawn.size)), coin


def runs(resample, steps=6):
    """RUNS independent small runs as populations of one."""
    return simulate(
        KERNEL, RUNS * WALKERS, populations=RUNS, times=uniform_times(steps), resample=resample,
        key=jax.random.key(11),
    )  # fmt: skip


def sigmas(samples, f=lambda x: 1.0):
    """Return how far the mean over runs of Z (of Z times the mean of f) is from the exact one."""
    weight = np.exp(np.asarray(samples.log_weight)).reshape(RUNS, WALKERS)
    values = np.broadcast_to(f(np.asarray(samples.x)[:, 0]), RUNS * WALKERS)
    each = (weight * values.reshape(RUNS, WALKERS)).mean(1)
    exact = EXACT * (1.0 if np.all(values == 1) else RIGHT)
    return (each.mean() - exact) / (each.std(ddof=1) / np.sqrt(RUNS))


RULES = {
    "threshold 0": Systematic(0.0),
    "threshold 1": Systematic(1.0),
    "systematic": Systematic(0.8),
    "stratified": Stratified(1.0),
    "at random": AtRandom(),
}


@pytest.mark.parametrize("name", RULES)
def test_z_is_unbiased(name):
    samples = runs(RULES[name])
    assert abs(sigmas(samples)) < 4
    assert abs(sigmas(samples, lambda x: x > 0)) < 4
    resampled = int(samples.record["resampled"].sum())
    assert (resampled == 0) == (name == "threshold 0")
    if name in ("threshold 1", "stratified"):
        assert resampled == RUNS * 5  # after each interval but the last
    assert samples.record["resampled"][0] == samples.record["resampled"][-1] == 0


def test_thresholds_zero_and_one_agree():
    none, all_ = runs(RULES["threshold 0"]).log_z, runs(RULES["threshold 1"]).log_z
    # threshold 0 resamples nothing: the error is that of independent walkers
    assert abs(none.value - all_.value) < 4 * np.hypot(none.error, all_.error)
    assert abs(all_.value - np.log(EXACT)) < 4 * all_.error
    assert abs(none.value - np.log(EXACT)) < 4 * none.error


@pytest.mark.parametrize("twin", ["zero", "of the drawn"])
def test_twins_are_seen(twin, monkeypatch):
    """A := 0 after resampling, and the mean weight of the walkers drawn instead of all."""
    module = sys.modules["pushforward.drivers.simulation"]
    real = module.reset_weights

    def broken(log_weights, resampled):
        if twin == "zero":
            return jax.tree.map(lambda a: jnp.where(resampled, 0.0, a), log_weights)
        weights = log_weights.value
        index, _ = Multinomial(1.0)(weights, key=jax.random.key(0))
        return real(jax.tree.map(lambda a: a[index], log_weights), resampled)

    monkeypatch.setattr(module, "reset_weights", broken)
    samples = runs(Systematic(1.0), steps=7 + len(twin) % 2)  # shapes of their own: traced anew
    assert abs(sigmas(samples)) > 8


def test_error_bars_of_populations_are_honest():
    """log Z and a mean of 40 runs of 25 populations: z-scores of unit size."""
    scores = {"log_z": [], "mean": []}
    samples = runs(Systematic(0.8))
    from pushforward.drivers import Samples

    for k in range(RUNS // 25):
        part = slice(25 * WALKERS * k, 25 * WALKERS * (k + 1))
        some = Samples(
            samples.x[part], samples.log_weight[part], record={"resampled": np.ones(3)}, draws={},
            moments={}, weighted=True, populations=25, stacked=False,
        )  # fmt: skip
        log_z, mean = some.log_z, some.mean(lambda x: 1.0 * (x[0] > 0))
        scores["log_z"].append((log_z.value - np.log(EXACT)) / log_z.error)
        scores["mean"].append(float((mean.value - RIGHT) / mean.error))
    for name, each in scores.items():
        assert 0.75 < np.std(each) < 1.4, name
        assert abs(np.mean(each)) < 0.5, name
