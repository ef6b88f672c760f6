"""The recipe: untrained it is annealed heat bath, bit for bit; trained it is better and exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward as pf
from pushforward._errors import InputError

COUPLING, LOG_Z = 0.4407, 9.020404913671548  # 3 x 3


@pytest.fixture(scope="module")
def recipe():
    return pf.recipes.leaps(pf.targets.Ising((3, 3), COUPLING), channels=4, steps=8)


def test_untrained_it_is_annealed_heat_bath_bit_for_bit(recipe):
    plain = pf.dynamics.Jump(recipe.kernel(recipe.model).path, delta=1.0)
    ours, theirs = (
        pf.simulate(kernel, 100, times=recipe.times, key=jax.random.key(0))
        for kernel in (recipe.kernel(recipe.model), plain)
    )
    np.testing.assert_array_equal(ours.x, theirs.x)
    np.testing.assert_array_equal(ours.log_weight, theirs.log_weight)
    np.testing.assert_array_equal(ours.record["info.jumps"], theirs.record["info.jumps"])
    assert len(np.unique(np.asarray(ours.log_weight))) > 50


def test_a_short_training_moves_the_loss_and_keeps_the_weights_exact(recipe):
    model, history = pf.fit(
        recipe.model, recipe.objective, recipe.source, steps=60, batch=64, key=jax.random.key(1)
    )
    loss = history.metrics["loss"]
    assert loss[-10:].mean() < 0.5 * loss[:10].mean()
    assert np.abs(np.asarray(model.drift.readout.layers[-1].weight)).max() > 1e-3
    samples = pf.simulate(recipe.kernel(model), 2000, times=recipe.times, key=jax.random.key(2))
    assert abs(float(samples.log_z.value) - LOG_Z) < 4.5 * float(samples.log_z.error)


@pytest.mark.slow
def test_the_critical_torus_is_learned():
    """4 x 4: ESS from .01 to above .97, log Z within 4 standard errors."""
    import optax

    recipe = pf.recipes.leaps(pf.targets.Ising((4, 4), COUPLING), steps=24)
    model, _ = pf.fit(
        recipe.model, recipe.objective, recipe.source, steps=360, batch=400,
        optimiser=optax.adam(optax.cosine_decay_schedule(6e-3, 360)),
        ema=pf.drivers.EMA(0.99, ramp=True), key=jax.random.key(1),
    )  # fmt: skip
    samples = pf.simulate(recipe.kernel(model), 2000, times=recipe.times, key=jax.random.key(2))
    assert samples.ess > 0.97
    assert abs(float(samples.log_z.value) - 15.52224628670664) < 4 * float(samples.log_z.error)


def test_targets_with_a_field_are_refused_by_the_symmetric_network():
    with pytest.raises(InputError, match="symmetric=False"):
        pf.recipes.leaps(pf.targets.Ising((3, 3), COUPLING, 0.2))
    with pytest.raises(InputError, match="Spins"):
        pf.recipes.leaps(pf.targets.Normal(2))  # pyright: ignore[reportArgumentType]


def test_any_function_of_spins_is_a_target():
    energy = pf.targets.from_log_density(
        lambda x: 0.3 * jnp.sum(x[0] * x[1]) + 0.1 * jnp.sum(x), space=pf.spaces.Spins((2, 3))
    )
    recipe = pf.recipes.leaps(energy, symmetric=False, channels=2, steps=4)
    assert not recipe.model.drift.odd
    assert recipe.initial.space == energy.space
