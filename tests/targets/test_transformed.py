"""Bounded parameters: determinants, round trips, evidences; eight schools to eleven digits."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.targets import (
    Bounded,
    Energy,
    LowerTriangular,
    Parameters,
    Positive,
    Real,
    Simplex,
    Transformed,
)
from pushforward.targets.exact import well_log_z, well_mean


def test_values_are_allowed():
    x = 3 * jax.random.normal(jax.random.key(5), (100, 6))

    def values(constraint):
        return np.asarray(jax.vmap(lambda u: constraint.forward(u[: constraint.dim])[0])(x))

    assert np.all(values(Positive(3)) > 0)
    bounded = values(Bounded(-1.0, 4.0, (2, 2)))
    assert np.all((bounded > -1) & (bounded < 4))
    simplex = values(Simplex(5))
    assert np.all(simplex > 0)
    np.testing.assert_allclose(simplex.sum(1), 1, rtol=1e-14)
    factor = values(LowerTriangular(3))
    assert np.all(np.diagonal(factor, axis1=1, axis2=2) > 0)
    np.testing.assert_array_equal(factor, np.tril(factor))


def test_zero_is_a_natural_middle():
    np.testing.assert_allclose(Simplex(4).forward(jnp.zeros(3))[0], 1 / 4, rtol=1e-14)
    np.testing.assert_allclose(Bounded(2.0, 4.0).forward(jnp.zeros(1))[0], 3)
    np.testing.assert_array_equal(LowerTriangular(3).forward(jnp.zeros(6))[0], np.eye(3))
    assert Positive().forward(jnp.zeros(1))[0] == 1


def test_gamma_evidence_by_quadrature():
    """∫ τ² e^{−3τ} dτ = Γ(3)/3³ and the mean 1, through log τ. Twin: no determinant."""
    energy = Transformed.from_log_density(lambda tau: 2 * jnp.log(tau) - 3 * tau, Positive())
    np.testing.assert_allclose(well_log_z(energy, -30, 10), math.log(2 / 27), atol=1e-12)
    np.testing.assert_allclose(well_mean(np.exp, energy, -30, 10), 1.0, rtol=1e-12)
    dropped = Energy(lambda x: energy.energy(energy.constrain(x)), energy.space)
    assert abs(well_log_z(dropped, -30, 10) - math.log(2 / 27)) > 0.3


def test_beta_evidence_by_quadrature():
    """B(2, 3) scaled to (−1, 3), and E y. Twin: no determinant."""

    def log_density(y):
        u = (y + 1) / 4
        return jnp.log(u) + 2 * jnp.log1p(-u)

    energy = Transformed.from_log_density(log_density, Bounded(-1.0, 3.0))
    exact = math.log(4 / 12)
    np.testing.assert_allclose(well_log_z(energy, -30, 30), exact, atol=1e-11)
    mean = well_mean(lambda x: -1 + 4 / (1 + np.exp(-x)), energy, -30, 30)
    np.testing.assert_allclose(mean, -1 + 4 * 2 / 5, rtol=1e-10)
    dropped = Energy(lambda x: energy.energy(energy.constrain(x)), energy.space)
    assert abs(well_log_z(dropped, -30, 30) - exact) > 0.3


def test_dirichlet_evidence_by_quadrature():
    """Dirichlet(2, 3, 4) on the triangle: Γ(2)Γ(3)Γ(4)/Γ(9). Twin: no determinant."""
    powers = jnp.array([1.0, 2.0, 3.0])
    energy = Transformed.from_log_density(lambda w: jnp.sum(powers * jnp.log(w)), Simplex(3))
    line = jnp.linspace(-25, 25, 501)
    points = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)

    def log_z(fn):
        return float(jax.nn.logsumexp(-jax.vmap(fn)(points)) + 2 * jnp.log(0.1))

    exact = math.lgamma(2) + math.lgamma(3) + math.lgamma(4) - math.lgamma(9)
    np.testing.assert_allclose(log_z(lambda x: energy(x)), exact, atol=1e-10)
    assert abs(log_z(lambda x: energy.energy(energy.constrain(x))) - exact) > 0.5


def test_wishart_evidence_by_quadrature():
    """A density of Σ = L Lᵀ takes the factor 2^n Π L_ii^{n−i}: Γ_2(ν/2) for the Wishart law."""
    df, size = 6.0, 2

    def log_density(factor):
        diagonal = jnp.diagonal(factor)
        log_det = 2 * jnp.sum(jnp.log(diagonal))
        powers = jnp.arange(size, 0, -1.0)
        to_factor = size * math.log(2) + jnp.sum(powers * jnp.log(diagonal))
        return 0.5 * (df - size - 1) * log_det - 0.5 * jnp.sum(factor**2) + to_factor

    energy = Transformed.from_log_density(log_density, LowerTriangular(size))
    logs, free = jnp.linspace(-7, 3, 101), jnp.linspace(-9, 9, 91)
    axes = jnp.meshgrid(logs, free, logs, indexing="ij")  # L_00, L_10, L_11
    points = jnp.stack(axes, -1).reshape(-1, 3)
    energies = jax.vmap(lambda x: energy(x))(points)
    log_z = jax.nn.logsumexp(-energies) + math.log(0.1 * 0.1 * 0.2)
    gamma_2 = 0.5 * math.log(math.pi) + math.lgamma(df / 2) + math.lgamma((df - 1) / 2)
    np.testing.assert_allclose(log_z, 0.5 * df * size * math.log(2) + gamma_2, atol=1e-8)


def test_blocks_are_laid_out_as_written():
    energy = Transformed(
        lambda p: 0.0 * p["mu"], {"theta": Real(3), "mu": Real(), "tau": Positive()}
    )
    values = energy.constrain(jnp.arange(5.0))
    np.testing.assert_array_equal(values["theta"], [0, 1, 2])
    assert values["mu"] == 3
    np.testing.assert_allclose(values["tau"], np.exp(4))
    np.testing.assert_allclose(energy.unconstrain(values), np.arange(5.0), rtol=1e-15)
    many = jax.vmap(energy.constrain)(jnp.ones((7, 5)))
    assert many["theta"].shape == (7, 3)


def test_bad_blocks_are_refused():
    with pytest.raises(InputError, match=r"such as Positive\(\)"):
        Parameters({"tau": Positive})
    with pytest.raises(InputError, match=r"such as Real\(\)"):
        Parameters({"tau": 3})
    with pytest.raises(InputError, match="no parameters"):
        Parameters({})
    with pytest.raises(InputError, match="dictionary such as"):
        Transformed(lambda x: x, jnp.exp)
    with pytest.raises(InputError, match="expected \\['a', 'b'\\]"):
        Parameters({"a": Real(), "b": Real()}).inverse({"a": 1.0})
    with pytest.raises(InputError, match=r"Real has shape \(2,\), expected \(3,\)"):
        Real(3).inverse(jnp.zeros(2))
    with pytest.raises(InputError, match="finite lower < upper"):
        Bounded(1.0, 1.0)
    with pytest.raises(InputError, match="half line"):
        Bounded(0.0, jnp.inf)
    with pytest.raises(InputError, match=r"shape=\(2,\)"):
        Bounded(jnp.zeros(2), 1.0)
    with pytest.raises(InputError, match="size is 1, expected an integer >= 2"):
        Simplex(1)
    with pytest.raises(InputError, match="size is 0"):
        LowerTriangular(0)


def test_a_bad_density_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="expected a scalar"):
        Transformed.from_log_density(lambda p: -p["a"], {"a": Positive(2)})
    with pytest.raises(InputError, match="nan"):
        Transformed.from_log_density(lambda p: jnp.log(-p["a"]), {"a": Positive()})


Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
S = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
LOG_EVIDENCE = -31.311347352293


def _normal(x, mean, scale):
    return -0.5 * ((x - mean) / scale) ** 2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi)


def eight_schools(p):
    """Log joint density of the eight schools, centred."""
    mu, tau, theta = p["mu"], p["tau"], p["theta"]
    prior = _normal(mu, 0.0, 5.0) + jnp.log(2 / (5 * math.pi)) - jnp.log1p((tau / 5) ** 2)
    return (
        prior
        + jnp.sum(_normal(theta, mu, tau))
        + jnp.sum(_normal(jnp.asarray(Y), theta, jnp.asarray(S)))
    )


def _quadrature(log_weights, step, means):
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    log_z = float(top + np.log(weights.sum() * step))
    return log_z, [float(weights @ m / weights.sum()) for m in means]


def test_eight_schools_reference():
    """θ and μ are integrated in closed form, log τ on a grid."""
    step = 0.01
    log_tau = np.arange(-40, 40, step)
    tau = np.exp(log_tau)
    spread = S[:, None] ** 2 + tau**2
    precision = 1 / 25 + np.sum(1 / spread, 0)
    mean = np.sum(Y[:, None] / spread, 0) / precision
    quadratic = np.sum(Y[:, None] ** 2 / spread, 0) - precision * mean**2
    log_likelihood = -0.5 * (
        quadratic + np.sum(np.log(2 * np.pi * spread), 0) + np.log(25 * precision)
    )
    log_prior = np.log(2 / (5 * np.pi)) - np.log1p((tau / 5) ** 2) + log_tau
    shrink = tau**2 / spread
    theta = shrink * Y[:, None] + (1 - shrink) * mean
    log_z, (mu, mu2, tau_mean, theta_1, theta_5) = _quadrature(
        log_likelihood + log_prior,
        step,
        [mean, mean**2 + 1 / precision, np.minimum(tau, 1e300), theta[0], theta[4]],
    )
    np.testing.assert_allclose(log_z, LOG_EVIDENCE, atol=1e-11)
    np.testing.assert_allclose(mu, 4.396820713833, atol=1e-11)
    np.testing.assert_allclose(np.sqrt(mu2 - mu**2), 3.317704463140, atol=1e-11)
    np.testing.assert_allclose(tau_mean, 3.597705484098, atol=1e-11)
    np.testing.assert_allclose([theta_1, theta_5], [6.2118842, 3.61547702], atol=5e-8)


def test_eight_schools_energy_has_that_evidence():
    """Given log τ the energy is quadratic in (μ, θ), so Laplace is exact; log τ on a grid."""
    energy = Transformed.from_log_density(
        eight_schools, {"mu": Real(), "tau": Positive(), "theta": Real(8)}
    )
    assert energy.space.shape == (10,)

    def log_marginal(fn):
        def at(log_tau):
            def rest(u):
                return fn(jnp.concatenate([u[:1], log_tau[None], u[1:]]))

            origin = jnp.zeros(9)
            gradient, hessian = jax.grad(rest)(origin), jax.hessian(rest)(origin)
            least = rest(origin) - 0.5 * gradient @ jnp.linalg.solve(hessian, gradient)
            log_det = jnp.linalg.slogdet(hessian)[1]
            mu = -jnp.linalg.solve(hessian, gradient)[0]
            return -least + 4.5 * math.log(2 * math.pi) - 0.5 * log_det, mu

        return eqx.filter_jit(lambda grid: jax.vmap(at)(grid))

    step = 0.05
    grid = jnp.arange(-12.0, 12.0, step)
    log_weights, mu = map(np.asarray, log_marginal(lambda x: energy(x))(grid))
    log_z, (mu_mean,) = _quadrature(log_weights, step, [mu])
    np.testing.assert_allclose(log_z, LOG_EVIDENCE, atol=5e-5)  # e^{−12} of the prior is cut
    np.testing.assert_allclose(mu_mean, 4.396820713833, atol=5e-4)

    dropped = log_marginal(lambda x: energy.energy(energy.constrain(x)))(grid)[0]
    assert abs(_quadrature(np.asarray(dropped), step, [])[0] - LOG_EVIDENCE) > 0.1  # twin
