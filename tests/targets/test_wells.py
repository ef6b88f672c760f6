"""Double wells, the funnel, and the one-dimensional references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles.drift_1d import drift_1d

from pushforward._errors import InputError
from pushforward.targets import DoubleWell, Funnel, ManyWell, Normal
from pushforward.targets.exact import well_log_z, well_mean


def test_asymmetric_double_well():
    well = DoubleWell()
    x = jnp.array([0.7])
    np.testing.assert_allclose(well(x), 0.7**4 - 6 * 0.7**2 - 0.35, rtol=1e-14)
    np.testing.assert_allclose(well_log_z(well), 9.37454117386919, rtol=1e-14)
    np.testing.assert_allclose(well_mean(lambda x: x, well), 1.187960983376147, rtol=1e-12)
    np.testing.assert_allclose(well_mean(np.square, well), 2.95980609049, rtol=1e-11)
    np.testing.assert_allclose(well_mean(lambda x: x < 0, well), 0.155692903789, atol=1e-10)


def test_many_well():
    """U of 16 pairs is 16 wells and 16 bare normals: log Z adds up."""
    energy = ManyWell()
    assert energy.space.shape == (32,)
    log_z = 16 * (well_log_z(DoubleWell()) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(log_z, 164.69567531318, rtol=1e-13)

    x = jax.random.normal(jax.random.key(0), (32,))
    pairs = np.asarray(x).reshape(16, 2)
    a, b = pairs[:, 0], pairs[:, 1]
    np.testing.assert_allclose(energy(x), np.sum(a**4 - 6 * a**2 - a / 2 + b**2 / 2), rtol=1e-13)


def test_many_well_by_quadrature():
    a, b = jnp.linspace(-5, 5, 401), jnp.linspace(-9, 9, 361)
    points = jnp.stack(jnp.meshgrid(a, b), -1).reshape(-1, 2)
    weights = jnp.exp(-jax.vmap(ManyWell(1))(points)) * 0.025 * 0.05
    np.testing.assert_allclose(jnp.log(jnp.sum(weights)), 164.69567531318 / 16, rtol=1e-12)
    mean = jnp.sum(weights * points[:, 0]) / jnp.sum(weights)
    np.testing.assert_allclose(mean, 1.187960983376147, rtol=1e-10)


def test_funnel_is_normalised():
    """In (x_0, x_1 e^{−x_0/2}) the 2-D funnel is smooth: quadrature there, with the Jacobian."""
    neck, ratio = jnp.linspace(-30, 30, 301), jnp.linspace(-10, 10, 201)
    grid = jnp.stack(jnp.meshgrid(neck, ratio), -1).reshape(-1, 2)

    def density(u):
        x = jnp.stack([u[0], u[1] * jnp.exp(u[0] / 2)])
        return jnp.exp(-Funnel(2)(x) + u[0] / 2)

    weights = jax.vmap(density)(grid) * 0.2 * 0.1
    np.testing.assert_allclose(jnp.sum(weights), 1, rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(weights * grid[:, 0] ** 2), 9, rtol=1e-12)


def test_funnel_samples():
    energy, num = Funnel(10), 20_000
    keys = jax.random.split(jax.random.key(2), num)
    x = np.asarray(jax.vmap(lambda key: energy.sample(key=key))(keys))
    assert x.shape == (num, 10)
    assert abs((x[:, 0] ** 2).mean() - 9) < 4.5 * 9 * np.sqrt(2 / num)
    inside = x[:, 1:] * np.exp(-x[:, :1] / 2)
    np.testing.assert_allclose((inside**2).mean(0), 1, atol=4.5 * np.sqrt(2 / num))
    twin = x[:, 1:] * np.exp(-x[:, :1])  # a standard deviation e^{x_0} instead of the variance
    assert abs((twin**2).mean() - 1) > 1


def test_bad_funnels_are_refused():
    with pytest.raises(InputError, match="dim >= 2"):
        Funnel(1)
    with pytest.raises(InputError, match="positive"):
        Funnel(3, scale=0.0)


def test_quadrature_refuses_what_it_cannot_see():
    with pytest.raises(InputError, match="wider interval"):
        well_log_z(Normal(1, 0.0, 5.0))
    with pytest.raises(InputError, match="one coordinate"):
        well_log_z(Normal(2))
    np.testing.assert_allclose(well_log_z(lambda x: 0.5 * x**2), 0.5 * np.log(2 * np.pi))


def test_drift_of_a_moving_gaussian():
    """b = m' + (s'/s)(x − m) for N(m(t), s(t)²), far into the tails."""

    def energy(t, x):
        return 0.5 * ((x - 2 * t) / jnp.exp(-t)) ** 2

    t = 0.4
    x = np.linspace(-4, 5, 41)
    exact = 2 - (x - 2 * t)
    np.testing.assert_allclose(drift_1d(energy, t, x), exact, rtol=0, atol=1e-9)
    assert drift_1d(energy, t, x.reshape(41, 1)).shape == (41, 1)


def test_drift_solves_the_continuity_equation():
    """r + ∂_t F = 0 on the linear path from a normal to the asymmetric well."""
    well = DoubleWell()

    def energy(t, x):
        return (1 - t) * x**2 / 4.5 + t * well(x[None])

    t, step = 0.6, 1e-4
    x = np.linspace(-2.7, 2.7, 23)
    b, ahead, behind = (drift_1d(energy, t, x + h, cells=400) for h in (0.0, step, -step))
    divergence = (ahead - behind) / (2 * step)
    gradient = jax.vmap(jax.grad(lambda y: energy(t, y)))(jnp.asarray(x))
    rate = jax.vmap(jax.grad(lambda s, y: energy(s, y)), (None, 0))(t, jnp.asarray(x))
    log_z = [
        well_log_z(lambda y, s=s: np.asarray(jax.vmap(lambda q: energy(s, q))(jnp.asarray(y))))
        for s in (t + step, t - step)
    ]
    rate_of_free_energy = -(log_z[0] - log_z[1]) / (2 * step)
    residual = divergence - b * gradient - rate + rate_of_free_energy
    np.testing.assert_allclose(residual, 0, atol=2e-5)
    wrong = -divergence - b * gradient - rate + rate_of_free_energy
    assert abs(wrong).max() > 1  # twin: the sign of the divergence
