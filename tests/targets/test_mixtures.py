"""Mixtures: frozen constants, exact moments, and how modes are counted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.targets import (
    Mixture,
    Normal,
    StudentT,
    gaussian_mixture,
    gmm40,
    mt_uniform,
    student_mixture,
)


def moments(mixture):
    """Return E x and E|x|² of a mixture of normals in R^d."""
    weights, normals = np.exp(mixture.log_weights), mixture.components
    means, scales = np.asarray(normals.mean), np.reshape(normals.scale, (len(weights), -1))
    return weights @ means, weights @ np.sum(means**2 + scales**2 * np.ones_like(means), 1)


@pytest.fixture(scope="module")
def samples():
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(7), 20_000)
        mixture = gmm40()
        return eqx.filter_jit(jax.vmap(lambda key: mixture.sample(key=key)))(keys)


def test_gmm40_is_the_published_one_bit_for_bit():
    mixture = gmm40()
    first = np.array(
        [[-0.2994728, 21.457745], [-32.921806, -29.437561], [-15.406175, 10.7262945]], np.float32
    )
    means = np.asarray(mixture.components.mean)
    assert means.shape == (40, 2)
    np.testing.assert_array_equal(means[:3], first.astype(np.float64))
    np.testing.assert_array_equal(mixture.components.scale, np.full(40, 1.3132616875182228))
    np.testing.assert_allclose(jnp.exp(mixture.log_weights), 1 / 40, rtol=1e-14)


def test_gmm40_moments():
    mean, second = moments(gmm40())
    np.testing.assert_allclose(mean, [-2.14051294, 1.2400383], atol=5e-9)
    np.testing.assert_allclose(second, 1071.369916283017, rtol=1e-14)


def test_mode_weights_by_quadrature():
    """T15: responsibilities integrate to 1/40; cells of the nearest centre do not (overlap)."""
    mixture = gmm40()
    line = jnp.linspace(-50, 50, 501)
    points = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)

    def shares(x):
        squares = jnp.sum((x - mixture.components.mean) ** 2, 1)
        nearest = jax.nn.one_hot(jnp.argmin(squares), 40)
        return jnp.exp(-mixture(x)) * jnp.stack([mixture.responsibilities(x), nearest])

    with jax.numpy_rank_promotion("allow"):
        rows = jax.lax.map(shares, points, batch_size=501)
    by_responsibility, by_nearest = np.asarray(rows.sum(0)) * 0.2**2
    np.testing.assert_allclose(by_responsibility, 1 / 40, rtol=1e-12)
    np.testing.assert_allclose(by_nearest.sum(), 1, rtol=1e-12)
    assert abs(40 * by_nearest - 1).max() > 0.02  # twin: 2.5 % of a mode is miscounted


def test_sample_moments(samples):
    num = len(samples)
    error = np.asarray(samples).mean(0) - moments(gmm40())[0]
    assert np.all(np.abs(error) < 4.5 * np.asarray(samples).std(0) / np.sqrt(num))
    squares = np.sum(np.asarray(samples) ** 2, 1)
    assert abs(squares.mean() - 1071.369916283017) < 4.5 * squares.std() / np.sqrt(num)


def test_exact_samples_visit_every_mode_equally(samples):
    """T15: mean responsibilities of exact samples are 1/40 within multinomial error."""
    num = len(samples)
    shares = np.asarray(jax.vmap(gmm40().responsibilities)(samples)).mean(0)
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-12)
    assert np.all(np.abs(shares - 1 / 40) < 4.5 * np.sqrt(1 / 40 / num))

    without_one = np.asarray(samples)[shares.argmax() != _labels(samples)]
    shares = np.asarray(jax.vmap(gmm40().responsibilities)(jnp.asarray(without_one))).mean(0)
    assert not np.all(np.abs(shares - 1 / 40) < 4.5 * np.sqrt(1 / 40 / num))  # twin: a mode lost


def _labels(samples):
    return np.asarray(jax.vmap(gmm40().responsibilities)(samples)).argmax(1)


def test_responsibilities_are_bayes():
    mixture = Mixture.of([Normal(1, -1.0, 0.5), Normal(1, 2.0, 1.0)], jnp.log(jnp.array([3.0, 1])))
    x = jnp.array([0.4])
    joint = np.array([0.75, 0.25]) * np.exp([-Normal(1, -1.0, 0.5)(x), -Normal(1, 2.0, 1.0)(x)])
    np.testing.assert_allclose(mixture.responsibilities(x), joint / joint.sum(), rtol=1e-13)
    np.testing.assert_allclose(mixture(x), -np.log(joint.sum()), rtol=1e-13)


def test_far_from_every_mode_the_gradient_stays_exact():
    mixture = gaussian_mixture(64)
    x = 6 * mixture.components.mean[0]
    k = int(jnp.argmax(mixture.responsibilities(x)))
    np.testing.assert_allclose(jax.grad(mixture)(x), x - mixture.components.mean[k], rtol=1e-12)


def test_frozen_constants():
    means = gaussian_mixture(36).components.mean
    np.testing.assert_allclose(means[0, :3], [2.576316, -2.20689118, -0.96930742], atol=5e-9)
    for dim, smallest in ((36, 19.18), (64, 28.36), (128, 40.18), (200, 52.15)):
        means = np.asarray(gaussian_mixture(dim).components.mean)
        distances = np.linalg.norm(means[:, None] - means, axis=-1)[np.triu_indices(8, 1)]
        np.testing.assert_allclose(distances.min(), smallest, atol=5e-3)

    student = student_mixture()
    assert isinstance(student.components, StudentT)
    assert student.space.shape == (50,)
    means = np.asarray(student.components.mean)
    np.testing.assert_allclose(means[0, :3], [2.29390144, -2.37974286, 2.74228692], atol=5e-9)
    distances = np.linalg.norm(means[:, None] - means, axis=-1)[np.triu_indices(10, 1)]
    np.testing.assert_allclose(distances.min(), 45.634, atol=5e-4)


def test_mt_uniform_has_24_bits():
    u = mt_uniform(5, (1000,))
    assert u.dtype == np.float64
    assert np.all((u >= 0) & (u < 1))
    np.testing.assert_array_equal(u * 2**24, np.floor(u * 2**24))
    np.testing.assert_array_equal(mt_uniform(5, (10, 100)).ravel(), u)


def test_a_component_of_weight_zero_is_never_drawn():
    mixture = Mixture.of([Normal(1, -5.0), Normal(1, 5.0)], jnp.array([-jnp.inf, 2.0]))
    x = jnp.array([0.3])
    np.testing.assert_allclose(mixture(x), Normal(1, 5.0)(x), rtol=1e-14)
    np.testing.assert_allclose(jax.grad(mixture)(x), x - 5, rtol=1e-13)
    keys = jax.random.split(jax.random.key(0), 500)
    assert jax.vmap(lambda key: mixture.sample(key=key))(keys).min() > 0


def test_bad_mixtures_are_refused():
    stacked = eqx.filter_vmap(lambda m: Normal(2, m))(jnp.zeros((3, 2)))
    with pytest.raises(InputError, match="ONE stacked module"):
        Mixture(Normal(2))
    with pytest.raises(InputError, match=r"shape \(2,\), expected \(3,\)"):
        Mixture(stacked, jnp.zeros(2))
    with pytest.raises(InputError, match="not all -inf"):
        Mixture(stacked, jnp.full(3, -jnp.inf))
    with pytest.raises(InputError, match="not all -inf"):
        Mixture(stacked, jnp.array([0.0, jnp.nan, 0.0]))
    with pytest.raises(InputError, match="Normal, StudentT"):
        Mixture.of([Normal(2), StudentT(2)])
    with pytest.raises(InputError, match="one class"):
        Mixture.of([Normal(2), Normal(3)])
