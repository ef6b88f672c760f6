"""Regression along an interpolant: floors, weights and predictions against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.networks import LabelDropout
from pushforward.objectives import LikelihoodWeight, Regression, VelocityWeight
from pushforward.paths import (
    AbstractInterpolant,
    Data,
    ExactVelocity,
    Linear,
    Noise,
    Predictor,
    Score,
    Trigonometric,
    UniformTime,
    VariancePreserving,
    Velocity,
)
from pushforward.sources import Dequantise, IndependentPairs, Pair
from pushforward.targets import Gaussians, Normal, asymmetric_mixture

PATHS = {"Linear": Linear(0.8), "GVP": Trigonometric(0.8), "VP": VariancePreserving(base_scale=0.8)}


def network(t, x, *, context=None, key=None):
    return 0.3 * x + 0.1 * jnp.sin(x) * (1 + t)


def pair(t=0.37, context=None):
    rng = np.random.default_rng(0)
    x0, x1 = (jnp.asarray(rng.normal(size=5)) for _ in range(2))
    return Pair(scalar(t), x0, x1, context)


@pytest.mark.parametrize("name", PATHS)
def test_the_velocity_weight_makes_losses_of_noise_and_score_those_of_the_velocity(name):
    """The same function, read as noise, score or velocity, has one and the same weighted loss."""
    path, key = PATHS[name], jax.random.key(0)

    def converted(prediction):
        def velocity(t, x, *, context=None, key=None):
            return Predictor(network, path, prediction)(t, x).velocity

        return velocity

    for prediction in (Noise(), Score()):
        weighted, _ = Regression(path, prediction, VelocityWeight())(network, pair(), key=key)
        plain, info = Regression(path)(converted(prediction), pair(), key=key)
        np.testing.assert_allclose(weighted, plain, rtol=1e-12)
        assert info["square"] == plain
    # Twin: the likelihood weight does not.
    other, _ = Regression(path, Noise(), LikelihoodWeight())(network, pair(), key=key)
    assert abs(other / plain - 1) > 0.05


def test_losses_by_hand():
    path, sample, key = Linear(0.8), pair(), jax.random.key(0)
    t, x0, x1 = sample.t, sample.x0, sample.x1
    r = network(t, (1 - t) * x0 + t * x1)
    by_hand = {
        Velocity: r - (x1 - x0),
        Noise: r - x0,
        Score: (1 - t) * 0.64 * r + x0,
        Data: r - x1,
    }
    for prediction, residual in by_hand.items():
        loss, _ = Regression(path, prediction())(network, sample, key=key)
        np.testing.assert_allclose(loss, jnp.mean(residual**2), rtol=1e-14)
    loss, info = Regression(path, Noise(), LikelihoodWeight())(network, sample, key=key)
    np.testing.assert_allclose(loss, info["square"] / ((1 - t) * t), rtol=1e-14)


@pytest.mark.parametrize(("path", "std"), [(Linear(1.0), 0.4), (Trigonometric(1.0), 1.0)])
def test_the_loss_of_the_exact_velocity_is_the_floor(path, std):
    """E |v − İ|² is (π/2) s0 s1 along straight lines, (π/2)² along the cosine path at s1 = 1."""
    law = Gaussians(jnp.zeros(1), jnp.array([[1.5]]), jnp.array([[std**2]]))
    source, num = IndependentPairs(Normal(1), law), 40_000
    objective = Regression(path)

    @eqx.filter_jit
    def losses(model):
        batch, _, _ = source.draw((), None, num, progress=jnp.zeros(()), key=jax.random.key(0))
        return jax.vmap(lambda s: objective(model, s, key=jax.random.key(1))[0])(batch)

    exact = ExactVelocity(path, law)
    found = np.asarray(losses(exact))
    floor = (np.pi / 2) ** 2 if isinstance(path, Trigonometric) else np.pi / 2 * std
    error = found.std() / np.sqrt(num)
    assert abs(found.mean() - floor) < 4 * error
    # Twin: any other function lies above.
    off = np.asarray(losses(lambda t, x, *, context=None, key=None: 0.6 * exact(t, x)))
    assert off.mean() - floor > 8 * error


class Forecast(AbstractInterpolant):
    """A path whose drift is told x0."""

    def state(self, t, x0, x1, z):
        return (1 - t) * x0 + t * x1 + (1 - t) * jnp.sqrt(t) * z

    def target(self, t, x0, x1, z):
        return x1 - x0 - jnp.sqrt(t) * z

    def known(self, x0):
        return (x0,)


def test_a_path_may_tell_its_drift_the_start():
    """The one Regression serves velocities and Föllmer drifts; z is the objective's own."""
    sample, key, seen = pair(), jax.random.key(3), []

    def drift(t, x, x0, *, context=None, key=None):
        seen.append(x0)
        return jnp.zeros_like(x)

    loss, _ = Regression(Forecast())(drift, sample, key=key)
    np.testing.assert_array_equal(seen[0], sample.x0)
    z = jax.random.normal(jax.random.fold_in(key, 0), (5,))
    by_hand = jnp.mean((sample.x1 - sample.x0 - jnp.sqrt(sample.t) * z) ** 2)
    np.testing.assert_allclose(loss, by_hand, rtol=1e-14)


def test_dropped_labels_reach_the_model():
    objective = Regression(Linear(), dropout=LabelDropout(7, 0.5))
    sample = pair(context=jnp.asarray(2))

    def model(t, x, *, context, key):
        return jnp.full_like(x, 1.0) * context.astype(x.dtype)

    keys = jax.random.split(jax.random.key(0), 64)
    losses = np.asarray(jax.vmap(lambda k: objective(model, sample, key=k)[0])(keys))
    expected = [float(jnp.mean((label - sample.x1 + sample.x0) ** 2)) for label in (2.0, 7.0)]
    assert set(losses.round(10)) == set(np.round(expected, 10))


def test_pairs_are_independent_and_keep_their_labels():
    data = np.arange(12.0).reshape(6, 2)
    source = IndependentPairs(Normal(2), data, UniformTime(0.2, 0.4), labels=np.arange(6))
    batch, _, _ = source.draw((), None, 3000, progress=jnp.zeros(()), key=jax.random.key(0))
    np.testing.assert_array_equal(batch.x1[:, 0], 2.0 * np.asarray(batch.context))
    counts = np.bincount(batch.context)
    assert np.sum((counts - 500) ** 2 / 500) < 25
    assert 0.2 <= batch.t.min() < batch.t.max() < 0.4
    correlation = np.corrcoef(np.asarray(batch.x0[:, 0]), np.asarray(batch.x1[:, 0]))[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(3000)
    few, _, _ = source.draw((), None, 5, progress=jnp.zeros(()), key=jax.random.key(0))
    np.testing.assert_array_equal(few.x0, batch.x0[:5])


def test_dequantised_levels_fill_the_interval():
    digits = np.repeat(np.arange(17, dtype=np.uint8), 50)[:, None]
    source = IndependentPairs(Normal(1), digits, augment=Dequantise(17))
    batch, _, _ = source.draw((), None, 4000, progress=jnp.zeros(()), key=jax.random.key(1))
    x = np.sort(np.asarray(batch.x1[:, 0]))
    uniform = np.linspace(-1, 1, 4000)
    assert x[0] >= -1
    assert x[-1] < 1
    assert np.abs(x - uniform).max() < 2 * 1.95 / np.sqrt(4000)  # Kolmogorov, 0.1 %


def test_what_is_refused():
    law = asymmetric_mixture()
    with pytest.raises(InputError, match=r"write Regression\(path\)"):
        Regression(Forecast(), Noise())
    with pytest.raises(InputError, match="expected the same shape"):
        Regression(Linear())(lambda t, x, **_: x[:2], pair(), key=jax.random.key(0))
    with pytest.raises(InputError, match="Dequantise"):
        IndependentPairs(Normal(2), np.arange(12).reshape(6, 2))
    with pytest.raises(InputError, match="labels have lengths"):
        IndependentPairs(Normal(2), np.zeros((6, 2)), labels=np.arange(5))
    with pytest.raises(InputError, match="labels belong to arrays"):
        IndependentPairs(Normal(2), law, labels=np.arange(5))
    with pytest.raises(InputError, match="row of the data"):
        IndependentPairs(Normal(2), np.zeros((6, 3)))
