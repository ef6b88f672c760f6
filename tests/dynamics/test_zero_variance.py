"""With the exact drift the log-weight is the same for every walker: every sign found at once.

In continuous time dA = r dt with r = div b − b·∇U − ∂_t U, and r = −∂_t F at the exact drift.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.walkers import ess, log_z, log_z_error, path_of, run, weighted_mean

from pushforward.dynamics import ContinuousTime, Langevin, transport_rate
from pushforward.dynamics.langevin import AbstractWeight
from pushforward.paths import MixturePath, ParameterPath, uniform_times
from pushforward.targets import FreeField, Normal, Phi4, gmm40, lattice_laplacian

LOG_S = math.log(0.3)


class FlippedDivergence(AbstractWeight):
    """The broken twin: r with the sign of div b flipped."""

    num_divergences = 1

    def increment(self, kernel, t, x, left, t_next, right, noise):
        divergence = kernel.path.space.divergence(lambda y: kernel.drift(t, y), x)
        return (t_next - t) * (kernel.log_weight_rate(t, x) - 2 * divergence)


# N(0, 1) -> N(3, .3²), widths shrinking geometrically, energies bare.
LINE = path_of(lambda t, x: jnp.sum((x - 3 * t) ** 2) / (2 * jnp.exp(2 * LOG_S * t)), Normal(1))


def line_drift(t, x, g=None):
    return 3 + LOG_S * (x - 3 * t)


@eqx.filter_jit
def rates(path, drift, t, x):
    """Return r_t at points x (times, points, ...)."""
    return jax.vmap(
        lambda s, points: jax.vmap(lambda y: transport_rate(path, drift, s, y))(points)
    )(t, x)


def test_moving_gaussian_has_a_constant_rate():
    t = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    x = 3 * t[:, None] + np.exp(LOG_S * t[:, None]) * np.linspace(-4, 4, 33)
    np.testing.assert_allclose(rates(LINE, line_drift, t, x[..., None]), LOG_S, rtol=0, atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_moving_gaussian_has_constant_weights(epsilon):
    kernel = Langevin(LINE, line_drift, epsilon, ContinuousTime())
    log_weights = run(kernel, uniform_times(16), 64).log_weight[:, -1]
    assert np.var(log_weights) < 1e-20
    assert abs(log_z(log_weights) + 1.2039728043259361) < 1e-12


def test_twin_flipped_divergence_is_seen():
    kernel = Langevin(LINE, line_drift, 0.3, FlippedDivergence())
    log_weights = run(kernel, uniform_times(16), 64).log_weight[:, -1]
    assert abs(log_z(log_weights) + 1.2039728043259361) > 1


def test_multivariate_gaussian():
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(2, 3, 3))
    s0, s1 = (a @ a.T + 0.3 * np.eye(3) for a in factors)
    shift = rng.normal(size=3)

    def moments(t):
        return jnp.sin(2 * t) * shift, (1 - t) * s0 + t * s1

    def energy(t, x):
        mu, sigma = moments(t)
        return 0.5 * (x - mu) @ jnp.linalg.solve(sigma, x - mu)

    def drift(t, x, g=None):
        mu, sigma = moments(t)
        return 2 * jnp.cos(2 * t) * shift + 0.5 * (s1 - s0) @ jnp.linalg.solve(sigma, x - mu)

    path, t = path_of(energy, Normal(3)), np.array([0.0, 0.3, 0.8])
    x = rng.normal(size=(3, 50, 3))
    exact = [0.5 * np.trace(np.linalg.solve((1 - u) * s0 + u * s1, s1 - s0)) for u in t]
    np.testing.assert_allclose(
        rates(path, drift, t, x), np.broadcast_to(np.array(exact)[:, None], (3, 50)), atol=1e-11
    )
    # Twin: Σ' Σ^{-1} instead of half of it.
    wrong = rates(path, lambda s, y, g: 2 * drift(s, y), t, x)
    assert np.std(wrong, axis=1).min() > 0.1


MIXTURE = MixturePath(gmm40(), 5.0)


def test_mixture_path_has_no_rate():
    t = jnp.array([0.1, 0.5, 0.9])
    keys = jax.random.split(jax.random.key(2), (3, 100))
    x = jax.jit(jax.vmap(lambda s, ks: jax.vmap(lambda k: MIXTURE.at(s).sample(key=k))(ks)))(
        t, keys
    )
    np.testing.assert_allclose(rates(MIXTURE, MIXTURE.exact_drift, t, x), 0, rtol=0, atol=1e-9)
    # Anywhere else too: in the gaps between the modes the responsibilities compete.
    far = np.random.default_rng(3).uniform(-45, 45, (3, 100, 2))
    np.testing.assert_allclose(rates(MIXTURE, MIXTURE.exact_drift, t, far), 0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 20.0])
def test_mixture_path_keeps_its_weights_along_any_trajectory(epsilon):
    kernel = Langevin(MIXTURE, MIXTURE.exact_drift, epsilon, ContinuousTime())
    log_weight = run(kernel, uniform_times(20), 64).log_weight
    assert np.all(np.isfinite(log_weight))
    for column in log_weight.T:
        assert abs(ess(column) - 1) < 1e-9
        assert abs(log_z(column)) < 1e-9


def test_twin_half_a_drift_loses_the_mixture():
    kernel = Langevin(
        MIXTURE, lambda t, x, g: 0.5 * MIXTURE.exact_drift(t, x), 1.0, ContinuousTime()
    )
    assert ess(run(kernel, uniform_times(20), 64).log_weight[:, -1]) < 0.2


SHAPE, HAT = (8, 8), lattice_laplacian((8, 8))
FREE = ParameterPath(lambda m2: Phi4(SHAPE, m2, 0.0), lambda t: 1 - 0.75 * t, FreeField(SHAPE, 1.0))


def free_drift(t, x, g=None):
    """b_k = −½ (dm²/dt) φ_k / w_k."""
    w = (1 - 0.75 * t) + HAT
    return jnp.fft.ifftn(jnp.fft.fftn(x) * (0.375 / w).astype(complex)).real


def test_free_field_rate_integrates_to_log_z():
    """∫ r dt along ANY curve is log Z_1/Z_0: here at random fields of no particular law."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    x = np.random.default_rng(4).normal(size=(20, 1, *SHAPE))
    rate = rates(FREE, free_drift, 0.5 + 0.5 * nodes, x)[:, 0]
    total = float(0.5 * weights @ np.asarray(rate))
    assert total == pytest.approx(-4.333314554284801 + 11.62288525733263, abs=1e-9)


def test_free_field_has_constant_weights():
    kernel = Langevin(FREE, free_drift, 0.2, ContinuousTime())
    log_weight = run(kernel, uniform_times(10), 16).log_weight
    for column in log_weight.T:
        assert abs(ess(column) - 1) < 1e-9


def test_free_field_moments_with_exact_weights():
    paths = run(Langevin(FREE, free_drift, 0.2), uniform_times(50), 1000)
    log_weights = paths.log_weight[:, -1]
    assert ess(log_weights) > 0.5
    assert abs(log_z(log_weights) - 7.289570703047829) < 4 * log_z_error(log_weights)
    phi2, error = weighted_mean((paths.x[:, -1] ** 2).mean((1, 2)), log_weights)
    assert abs(phi2 - 0.19275059454454324) < 4 * error
