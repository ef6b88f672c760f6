"""R^n: reference draws, refusals, gradients and divergences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import AbstractManifold, AbstractSpace, Euclidean


def test_shapes():
    assert Euclidean(3).shape == (3,)
    assert Euclidean((2, 3)).dim == 6
    assert Euclidean(()).dim == 1
    assert isinstance(Euclidean(2), AbstractManifold)
    assert isinstance(Euclidean(2), AbstractSpace)
    with pytest.raises(InputError, match="positive extents"):
        Euclidean((2, 0))


def test_reference_and_noise_are_standard_normal():
    space = Euclidean((2, 3))
    keys = jax.random.split(jax.random.key(0), 20_000)
    for draw in (lambda k: space.reference(key=k), lambda k: space.noise(jnp.ones((2, 3)), key=k)):
        x = np.asarray(jax.vmap(draw)(keys))
        assert x.shape == (20_000, 2, 3)
        np.testing.assert_allclose(x.mean(0), 0, atol=5 / np.sqrt(20_000))
        np.testing.assert_allclose((x**2).mean(0), 1, atol=5 * np.sqrt(2 / 20_000))


def test_refusals_say_what_to_write():
    space = Euclidean(2)
    space.check(jnp.zeros(2))
    with pytest.raises(InputError, match="astype"):
        space.check(jnp.zeros(2, int))
    with pytest.raises(InputError, match="vmap"):
        space.check(jnp.zeros((7, 2)))
    with pytest.raises(InputError, match=r"x0 has shape \(3,\), expected \(2,\)"):
        space.check(jnp.zeros(3), "x0")


def test_geometry_is_flat():
    space = Euclidean((2, 2))
    x, v = jnp.ones((2, 2)), jnp.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(space.retract(x, v), x + v)
    assert space.inner(x, v) == 10
    np.testing.assert_array_equal(space.project(x), x)
    gradient, aux = space.gradient(lambda y: (jnp.sum(y**3), y), v, has_aux=True)
    np.testing.assert_allclose(gradient, 3 * v**2)
    np.testing.assert_array_equal(aux, v)
    np.testing.assert_allclose(space.gradient(lambda y: jnp.sum(y**3), v), 3 * v**2)


def _field(x):
    return jnp.stack([x[0] ** 2 * x[1], jnp.sin(x[0]) + x[1] ** 3])


def test_divergence_is_exact():
    x = jnp.array([0.7, -1.2])
    exact = 2 * x[0] * x[1] + 3 * x[1] ** 2
    np.testing.assert_allclose(Euclidean(2).divergence(_field, x), exact, rtol=1e-14)
    on_lattice = Euclidean((2, 1)).divergence(lambda y: _field(y[:, 0])[:, None], x[:, None])
    np.testing.assert_allclose(on_lattice, exact, rtol=1e-14)


def test_a_probe_is_unbiased_and_its_square_is_not():
    space, x, num = Euclidean(2), jnp.array([0.7, -1.2]), 4_000
    exact = float(space.divergence(_field, x))
    keys = jax.random.split(jax.random.key(1), num)
    probes = np.asarray(jax.vmap(lambda k: space.divergence(_field, x, key=k))(keys))

    def z(values, truth):
        return abs(values.mean() - truth) / (values.std() / np.sqrt(len(values)))

    assert z(probes, exact) < 4.5
    assert z(probes[: num // 2] * probes[num // 2 :], exact**2) < 4.5
    assert z(probes**2, exact**2) > 10  # twin: the square of one probe is biased
