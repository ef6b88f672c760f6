"""A forecaster is assembled, trained by the same Regression, rolled out and saved."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pushforward as pf
from pushforward._errors import InputError
from pushforward._tree import trainable
from pushforward.dynamics import AffineReference, Endpoint, Lead, PointDrift, PointForecast
from pushforward.dynamics.systems import OrnsteinUhlenbeck
from pushforward.networks import PointMLP
from pushforward.objectives import Regression
from pushforward.paths import ExactDrift, LinearPoint, QuadraticPoint, uniform_times
from pushforward.sources import Arrays, Pair, PairSimulator
from pushforward.targets import GaussianConditional, JumpConditional, MixtureConditional

OU = OrnsteinUhlenbeck(dim=2)


class Affine(eqx.Module):
    """b̂ = A x + B x0 + c, one number each: linear regression at a fixed time."""

    weights: jax.Array

    def __call__(self, t, x, x0, *, context=None, key=None):
        return self.weights[0] * x + self.weights[1] * x0 + self.weights[2]


def pairs(path, num, t=None, seed=0):
    """Return pairs of OU; all at time t if given."""
    source = PairSimulator(OrnsteinUhlenbeck())
    drawn, _, _ = source.draw((), None, num, progress=jnp.zeros(()), key=jax.random.key(seed))
    return drawn if t is None else eqx.tree_at(lambda p: p.t, drawn, jnp.full(num, t))


@eqx.filter_jit
def losses(objective, model, batch, key):
    keys = jax.random.split(key, len(batch.t))
    return jax.vmap(lambda p, k: objective(model, p, key=k)[0])(batch, keys)


@pytest.mark.parametrize("path", [LinearPoint(), QuadraticPoint()])
def test_a_trained_drift_reaches_the_floor_and_the_exact_coefficients(path):
    """At fixed t, by `fit`: the loss ends within 4 s.e. of Var(R|I), and never lies below it."""
    t, num = 0.5, 100_000
    objective = Regression(path)
    source = Arrays(pairs(path, num, t))
    model, _ = pf.fit(
        Affine(jnp.zeros(3)), objective, source, steps=500, batch=512,
        optimiser=optax.adam(optax.cosine_decay_schedule(0.05, 500)), key=jax.random.key(1),
    )  # fmt: skip
    exact = ExactDrift(path, OrnsteinUhlenbeck().exact_conditional)
    fresh, key = pairs(path, num, t, seed=7), jax.random.key(2)
    learned = np.asarray(losses(objective, model, fresh, key))
    floor = np.asarray(losses(objective, exact, fresh, key))
    variance = -0.5 * np.expm1(-2.0)
    (_, beta, sigma), (_, dbeta, dsigma) = path.values_and_rates(jnp.asarray(t))
    cross = variance * beta * dbeta + t * sigma * dsigma
    printed = variance * dbeta**2 + t * dsigma**2 - cross**2 / (variance * beta**2 + t * sigma**2)
    error = floor.std() / np.sqrt(num)
    assert abs(floor.mean() - printed) < 4 * error
    assert abs(learned.mean() - printed) < 4 * error
    at, zero = jnp.asarray(t), jnp.zeros(1)
    c = exact(at, zero, zero)[0]
    expected = [exact(at, jnp.ones(1), zero)[0] - c, exact(at, zero, jnp.ones(1))[0] - c, c]
    np.testing.assert_allclose(model.weights, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("path", "floor"),
    [(LinearPoint(), 0.9142425426232079), (QuadraticPoint(), 0.8093764942511823)],
)
def test_the_loss_of_the_exact_drift_is_the_floor(path, floor):
    """Uniform t, C = ½: the printed integral; b off by (1 − t)/2 costs its mean square more."""
    num, objective = 200_000, Regression(path)
    law = GaussianConditional(0.0, [0.9], 0.5)
    keys = jax.random.split(jax.random.key(3), 3)
    t, x0 = jax.random.uniform(keys[0], (num,)), jax.random.normal(keys[1], (num, 1))
    x1 = 0.9 + np.sqrt(0.5) * jax.random.normal(keys[2], (num, 1))
    batch, exact = Pair(t, x0, x1), ExactDrift(path, law)
    found = np.asarray(losses(objective, exact, batch, jax.random.key(4)))
    error = found.std() / np.sqrt(num)
    assert abs(found.mean() - floor) < 4 * error

    def off(t, x, x0, *, context=None, key=None):
        return exact(t, x, x0) + 0.5 * (1 - t)

    worse = np.asarray(losses(objective, off, batch, jax.random.key(4)))
    assert abs(worse.mean() - floor - 1 / 12) < 4 * error
    assert abs(worse.mean() - floor) > 4 * error


def test_the_recipe_trains_rolls_out_and_returns_from_disk(tmp_path):
    recipe = pf.recipes.forecaster(
        PairSimulator(OU), width=16, depth=1, steps=5, key=jax.random.key(0)
    )
    model, history = pf.fit(
        recipe.model, recipe.objective, recipe.source, steps=30, batch=64, key=jax.random.key(1)
    )
    assert np.isfinite(history.metrics["loss"]).all()
    lead = Lead(recipe.kernel(model), recipe.times)
    start = jnp.zeros((3, 2))
    forecast = pf.simulate(lead, start, steps=4, key=jax.random.key(2))
    pf.save(tmp_path / "model.safetensors", model)
    again = Lead(recipe.kernel(pf.load(tmp_path / "model.safetensors", recipe.model)), lead.times)
    same = pf.simulate(again, start, steps=4, key=jax.random.key(2))
    np.testing.assert_array_equal(forecast.x, same.x)
    assert recipe.initial.space == OU.path.space


def test_parametrisations():
    path, x, x0 = QuadraticPoint(), jnp.array([0.4, 1.0]), jnp.array([-1.0, 0.3])
    network = PointMLP(2, width=8, depth=1, num_context=3, key=jax.random.key(0))
    t, told = jnp.asarray(0.3), {"a": jnp.ones(2), "b": jnp.zeros((), int)}
    assert (PointDrift(network)(t, x, x0, context=told) == 0).all()
    model = PointDrift(network, Endpoint(path))
    np.testing.assert_allclose(model(t, x, x0, context=told), 0.6 * x - x0, rtol=1e-14)
    law = GaussianConditional(0.5, [0.0, 0.0], 0.4)
    one = jnp.ones(())
    exact = ExactDrift(path, law)(one, x, x0)
    np.testing.assert_allclose(model(one, x, x0, context=told), exact, rtol=1e-12)
    y0 = jax.random.normal(jax.random.key(1), (4000, 2))
    y1 = 0.5 * y0 + jnp.sqrt(0.4) * jax.random.normal(jax.random.key(2), (4000, 2))
    fitted = AffineReference.fit(path, y0, y1).reference.value.conditional
    np.testing.assert_allclose(fitted.gain, 0.5, atol=0.05)
    np.testing.assert_allclose(fitted.variances, 0.4, atol=0.04)
    # training leaves what was fitted alone
    assert not any(jax.tree.leaves(trainable(AffineReference.fit(path, y0, y1))))


def test_context_of_the_pairs_reaches_the_network():
    future, told = jnp.arange(8.0)[:, None], jnp.ones((8, 3))
    source = Arrays(Pair(jnp.linspace(0, 1, 8), jnp.zeros((8, 1)), future, told))
    recipe = pf.recipes.forecaster(source, LinearPoint(), width=8, depth=1)
    model, _ = pf.fit(
        recipe.model, recipe.objective, source, steps=3, batch=4, key=jax.random.key(0)
    )
    kernel = recipe.kernel(model)
    assert isinstance(kernel, PointForecast)
    context = jnp.ones((2, 3))
    samples = pf.simulate(
        kernel, jnp.zeros((2, 1)), times=uniform_times(2), context=context, key=jax.random.key(0)
    )
    assert samples.x.shape == (2, 1)


def test_what_is_refused():
    with pytest.raises(InputError, match="expected Pair"):
        pf.recipes.forecaster(Arrays((jnp.zeros((4, 1)), jnp.ones((4, 1)))))
    flat = Arrays(Pair(jnp.zeros(4), jnp.zeros((4, 1)), jnp.zeros((4, 1))))
    with pytest.raises(InputError, match="nothing to forecast"):
        pf.recipes.forecaster(flat)
    with pytest.raises(InputError, match=r"initial=system\.path"):
        PairSimulator(OU, initial=3.0)
    with pytest.raises(InputError, match=r"expected \(d,\)"):
        GaussianConditional(1.0, 0.0, 1.0)
    with pytest.raises(InputError, match="positive definite"):
        GaussianConditional(1.0, [0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(InputError, match="one positive number"):
        MixtureConditional.of([1.0], [])
    with pytest.raises(InputError, match="integer >= 2"):
        JumpConditional(num_wells=1)
