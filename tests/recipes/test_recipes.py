"""Recipes only assemble: untrained they are the classical algorithm, trained they stay exact."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pushforward._errors import InputError
from pushforward.drivers import fit, simulate
from pushforward.dynamics import Langevin, Transport, compose
from pushforward.estimators import Systematic
from pushforward.mcmc import HMC
from pushforward.networks import DriftMLP, Zero
from pushforward.objectives import ExactDivergence, HutchinsonDivergence
from pushforward.paths import Annealing, ExponentialWarp, LocalVariance, uniform_times
from pushforward.recipes import LocalStep, length_scales, nets, smc, tune_epsilon
from pushforward.spaces import Euclidean
from pushforward.targets import Energy, Normal

KEY = jax.random.key(0)
MEAN, SCALE = np.array([3.0, -1.0]), np.array([0.5, 2.0])
LOG_Z = float(np.log(2 * np.pi * SCALE.prod()))


def unnormalised(x):
    return 0.5 * jnp.sum(((x - MEAN) / SCALE) ** 2)


TARGET = Energy(unnormalised, Euclidean((2,)))
BASE = Normal((2,), 0.0, 4.0)
WARP = ExponentialWarp(3.0)
PATH, VARIANCE = Annealing(BASE, TARGET, WARP), LocalVariance(WARP, 4.0, 0.7)


def small(**options):
    """A recipe without pilot chains, and with a small network."""
    drift = DriftMLP(2, width=16, depth=1, scale=4.0, out_scale=2.0, key=KEY)
    options = {"path": PATH, "variance": VARIANCE, "drift": drift, "walkers": 64} | options
    return nets(TARGET, BASE, refresh=20, steps=30, **options)


def test_pilot_chains_measure_length_scales():
    scales = length_scales(TARGET, key=KEY)
    np.testing.assert_allclose(scales.base.mean, MEAN, atol=4 * SCALE.max() / 1000**0.5)
    np.testing.assert_allclose(scales.spread, 2 * SCALE, rtol=4 / 2000**0.5)
    assert scales.wide == pytest.approx(2 * SCALE.prod() ** 0.5, rel=0.1)
    assert scales.narrow == pytest.approx((2 / (SCALE**-2).sum()) ** 0.5, rel=0.1)
    assert scales.kappa == pytest.approx(2 * np.log(scales.wide / scales.narrow))
    given = length_scales(TARGET, BASE, chains=200, rounds=4, key=KEY)
    assert given.base is BASE
    np.testing.assert_array_equal(given.spread, [4.0, 4.0])


def test_untrained_is_annealed_importance_sampling():
    recipe = small()
    classical = compose(Transport(PATH), HMC(PATH, LocalStep(VARIANCE), 5))
    options = {"times": recipe.times, "key": KEY}
    ours = simulate(recipe.kernel(recipe.model), 50, **options)
    theirs = simulate(classical, 50, **options)
    np.testing.assert_allclose(ours.log_weight, theirs.log_weight, rtol=1e-10)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-10)


def test_a_short_training_moves_the_model_alone_and_leaves_the_weights_exact():
    recipe = small()
    before = jax.tree.map(np.array, eqx.filter(recipe, eqx.is_array))
    model, history = fit(
        recipe.model, recipe.objective, recipe.source, steps=200, batch=128,
        optimiser=optax.adam(3e-3), key=KEY,
    )  # fmt: skip
    after = jax.tree.map(np.array, eqx.filter(recipe, eqx.is_array))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))  # law 9, T13
    loss = history.metrics["loss"]
    assert loss[-20:].mean() < 0.7 * loss[:20].mean()
    plain = simulate(recipe.kernel(recipe.model), 2000, times=recipe.times, key=KEY)
    taught = simulate(recipe.kernel(model), 2000, times=recipe.times, key=KEY)
    for samples in (plain, taught):
        assert abs(samples.log_z.value - LOG_Z) < 4 * samples.log_z.error
        mean = samples.mean()
        assert (np.abs(mean.value - MEAN) < 4 * np.asarray(mean.error)).all()


def test_resampled_populations_find_log_z():
    samples = simulate(
        smc(PATH, LocalStep(VARIANCE)), 1600, times=uniform_times(20), resample=Systematic(0.7),
        populations=16, key=KEY,
    )  # fmt: skip
    assert samples.record["resampled"].sum() > 0
    assert abs(samples.log_z.value - LOG_Z) < 4 * samples.log_z.error < 0.4


def test_a_noise_curve_is_the_runs_it_stands_for():
    epsilons = [0.5, 2.0, 8.0]
    kernel = eqx.Partial(Langevin, PATH, Zero())
    curve = tune_epsilon(kernel, epsilons, steps=25, walkers=32, key=KEY)
    for k, epsilon in enumerate(epsilons):
        one = simulate(
            Langevin(PATH, epsilon=epsilon), 32, times=uniform_times(25), key=KEY,
            index=jnp.arange(32 * k, 32 * k + 32),
        )  # fmt: skip
        assert curve["ess"][k] == pytest.approx(one.ess, rel=1e-9)
        assert curve["log_z"][k] == pytest.approx(one.log_z.value, rel=1e-9)
        assert curve["log_z_error"][k] == pytest.approx(one.log_z.error, rel=1e-9)
    np.testing.assert_array_equal(curve["epsilon"], epsilons)


def test_many_dimensions_are_sampled_without_a_jacobian():
    few = small()
    assert isinstance(few.objective.divergence, ExactDivergence)
    space = (65,)
    target = Energy(lambda x: 0.5 * jnp.sum(x**2), Euclidean(space))
    base = Normal(space, 0.0, 2.0)
    many = nets(
        target, base, path=Annealing(base, target), variance=LocalVariance(WARP, 2.0, 1.0),
        drift=DriftMLP(65, width=4, depth=1, scale=1.0, key=KEY),
    )  # fmt: skip
    assert isinstance(many.objective.divergence, HutchinsonDivergence)
    assert isinstance(many.kernel(many.model), Langevin)


@pytest.mark.parametrize("alone", [{"path": PATH}, {"variance": VARIANCE}])
def test_half_a_path_is_refused(alone):
    with pytest.raises(InputError, match="give both path and variance, or neither"):
        nets(TARGET, BASE, **alone)
