"""Point-mass paths: all that follows from one b, the noise of smallest KL, exact drifts.

The drift, score and velocity of Gaussian and mixture laws are derived here anew, from log densities
of I_t, and compared to 1e-10.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.paths import (
    BrownianBridgePoint,
    ExactDrift,
    FollmerEpsilon,
    LinearPoint,
    MatchedEpsilon,
    PointMass,
    QuadraticPoint,
)
from pushforward.targets import GaussianConditional, JumpConditional, MixtureConditional

HALF_PI = 0.5 * np.pi
PATHS = {
    "linear": LinearPoint(1.3),
    "quadratic": QuadraticPoint(0.7),
    "bridge": BrownianBridgePoint(1.1),
    "trigonometric": PointMass(
        lambda t: jnp.cos(HALF_PI * t), lambda t: jnp.sin(HALF_PI * t), lambda t: 1 - t**2
    ),
    "negative gap": PointMass(
        lambda t: 1 - t, lambda t: t, lambda t: (1 - t) * (1 + 16 * t**2)
    ),
}  # fmt: skip
COVARIANCE = np.array([[1.0, 0.3], [0.3, 0.4]])
GAUSSIAN = GaussianConditional(0.8, [0.5, -0.2], COVARIANCE)
LAWS = {
    "Gaussian": GAUSSIAN,
    "mixture": MixtureConditional.of(
        [0.3, 0.7],
        [GaussianConditional(0.5, [1.0, 0.0], COVARIANCE),
         GaussianConditional(-0.2, [-1.0, 0.4], np.eye(2) * 0.2 + 0.05)],
    ),
    "jump": JumpConditional(),
}  # fmt: skip
X0, X = jnp.array([1.5, -0.7]), jnp.array([0.4, 0.9])
TIMES = (0.05, 0.3, 0.5, 0.95)
every = pytest.mark.parametrize("name", PATHS)


def covariances(law):
    """Return the dense covariances of a mixture."""
    axes = jnp.broadcast_to(jnp.eye(2), (len(law.means), 2, 2)) if law.axes is None else law.axes
    return jnp.einsum("kab,kb,kcb->kac", axes, law.variances, axes)


def log_density(path, conditional, t, x, x0):
    """Return log ρ_t(x|x0), dense linear algebra and nothing else."""
    law = conditional(x0)
    alpha, beta, sigma = path.values(t)
    total = beta**2 * covariances(law) + t * sigma**2 * jnp.eye(2)[None]
    away = x[None] - (alpha * x0)[None] - beta * law.means
    solved = jnp.linalg.solve(total, away[:, :, None])[:, :, 0]
    log_det = jnp.linalg.slogdet(2 * np.pi * total)[1]
    terms = law.log_weights - 0.5 * (jnp.sum(away * solved, axis=1) + log_det)
    return jax.nn.logsumexp(terms)


@eqx.filter_jit
def everything(path, conditional, t, x, x0):
    """Return b, the score of the law, and what the path reads off b."""
    b = ExactDrift(path, conditional)(t, x, x0)
    score = jax.grad(lambda y: log_density(path, conditional, t, y, x0))(x)
    return {
        "b": b,
        "score of the law": score,
        "score": path.score(t, x, x0, b),
        "data": path.data(t, x, x0, b),
        "noise": path.noise(t, x, x0, b),
        "known": path.known_drift(t, x, x0),
        "gap": path.follmer_gap(t),
        "wronskian": path.wronskian(t),
        "values": path.values(t),
        "rates": path.values_and_rates(t)[1],
    }


@every
@pytest.mark.parametrize("law", LAWS)
def test_decodings(name, law):
    """Score, E[x1], E[W], the Föllmer drift, all from one b, against the law's own gradient."""
    path, conditional = PATHS[name], LAWS[law]
    for t in TIMES:
        t = jnp.asarray(t)
        e = everything(path, conditional, t, X, X0)
        (alpha, beta, sigma), (dalpha, dbeta, dsigma) = e["values"], e["rates"]
        s, b, scale = e["score of the law"], e["b"], 1 + np.abs(e["score of the law"]).max()
        np.testing.assert_allclose(e["score"], s, rtol=0, atol=1e-10 * scale)
        # A, c and D as the paper writes them
        d = dbeta * sigma - beta * dsigma
        c = dbeta * X + (beta * dalpha - dbeta * alpha) * X0
        np.testing.assert_allclose(e["wronskian"], d, rtol=1e-13)
        assert d > 0
        np.testing.assert_allclose((beta * b - c) / (t * sigma * d), s, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(e["noise"], -t * sigma * s, rtol=0, atol=1e-10 * scale)
        together = alpha * X0 + beta * e["data"] + sigma * e["noise"]
        np.testing.assert_allclose(together, X, rtol=0, atol=1e-10 * scale)
        # the Föllmer drift
        gap = 2 * t * sigma * (sigma * dbeta / beta - dsigma) - sigma**2
        np.testing.assert_allclose(e["gap"], gap, rtol=0, atol=1e-10)
        follmer = b + (0.5 * abs(gap) - 0.5 * sigma**2) * s
        known = c / beta + max(gap, 0) * s
        np.testing.assert_allclose(follmer, known, rtol=0, atol=1e-10 * scale)


@every
def test_drift_is_the_flow_plus_half_the_noise(name):
    """b = v + ½σ² s, v = μ' + ½ Σ' Σ⁻¹ (x − μ) of a Gaussian law, by JVP of its moments."""
    path = PATHS[name]
    law = GAUSSIAN(X0)
    covariance = covariances(law)[0]

    def moments(t):
        alpha, beta, sigma = path.values(t)
        return alpha * X0 + beta * law.means[0], beta**2 * covariance + t * sigma**2 * jnp.eye(2)

    @jax.jit
    def both(t):
        (mean, cov), (dmean, dcov) = jax.jvp(moments, (t,), (jnp.ones(()),))
        velocity = dmean + 0.5 * dcov @ jnp.linalg.solve(cov, X - mean)
        score = -jnp.linalg.solve(cov, X - mean)
        return ExactDrift(path, GAUSSIAN)(t, X, X0), velocity + 0.5 * path.variance(t) * score

    for t in TIMES:
        np.testing.assert_allclose(*both(jnp.asarray(t)), rtol=0, atol=1e-10)


@every
@pytest.mark.parametrize("law", LAWS)
def test_limits(name, law):
    path, conditional = PATHS[name], LAWS[law]
    zero, one = jnp.zeros(()), jnp.ones(())

    @eqx.filter_jit
    def drift(t, x, x0):
        return ExactDrift(path, conditional)(t, x, x0), path.values_and_rates(t)[1]

    b, (dalpha, dbeta, _) = drift(zero, X0, X0)
    expected = dalpha * X0 + dbeta * conditional(X0).mean()
    np.testing.assert_allclose(b, expected, rtol=0, atol=1e-12)
    near = drift(jnp.asarray(1e-12), X0, X0)[0]
    np.testing.assert_allclose(near, expected, rtol=0, atol=1e-9)
    if name == "bridge":  # σ' is infinite at t = 1
        return
    b, (dalpha, dbeta, _) = drift(one, X, X0)
    np.testing.assert_allclose(b, dalpha * X0 + dbeta * X, rtol=0, atol=1e-10)


def test_the_table_of_the_members():
    """Aβ, g_F², w at g = σ and at g_F, as printed, at scales other than 1."""
    t = np.array([0.1, 0.5, 0.8])
    for a in (1.0, 0.3):
        rows = [
            (LinearPoint(a), (
                1 / (a**2 * (1 - t)), a**2 * (1 - t**2),
                1 / (a**2 * (1 - t) ** 2), (1 + t) / (a**2 * (1 - t)),
            )),
            (QuadraticPoint(a), (
                1 / (a**2 * (1 - t) * (2 - t)), a**2 * (1 - t) * (3 - t),
                1 / (a**2 * (1 - t) ** 2), (3 - t) / (a**2 * (1 - t) * (2 - t) ** 2),
            )),
            (BrownianBridgePoint(a), (
                2 / (a**2 * (2 - t)), a**2 + 0 * t,
                1 / (a**2 * (1 - t)), 4 / (a**2 * (2 - t) ** 2),
            )),
        ]  # fmt: skip
        for path, (a_beta, gap, at_sigma, at_follmer) in rows:
            found = jax.vmap(
                lambda s, path=path: (
                    1 / path.gain(s),
                    path.follmer_gap(s),
                    path.kl_weight(s, MatchedEpsilon().value(path, s)),
                    path.kl_weight(s, FollmerEpsilon().value(path, s)),
                )
            )(jnp.asarray(t))
            for ours, theirs in zip(found, (a_beta, gap, at_sigma, at_follmer), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("kind", [LinearPoint, QuadraticPoint, BrownianBridgePoint])
def test_closed_forms_are_those_of_the_general_path(kind):
    path = kind(0.6)
    same = PointMass(*(lambda t, k=k: path.values(t)[k] for k in range(3)))
    for t in TIMES:
        t = jnp.asarray(t)
        np.testing.assert_allclose(path.gain(t), same.gain(t), rtol=1e-12)
        np.testing.assert_allclose(path.follmer_gap(t), same.follmer_gap(t), rtol=1e-11)
    assert np.isfinite(path.follmer_gap(jnp.zeros(())))
    assert np.isfinite(path.gain(jnp.ones(())))


def test_numbers_of_the_quadratic_path():
    path = QuadraticPoint()
    t = jnp.array([0.1, 0.5, 0.8])
    gap = path.follmer_gap(t)
    np.testing.assert_allclose(gap, [2.61, 1.25, 0.44], rtol=1e-13)
    np.testing.assert_allclose(
        path.kl_weight(t, 0.5 * gap),
        [0.8925823330255462, 2.2222222222222222, 7.638888888888889], rtol=1e-13,
    )  # fmt: skip
    np.testing.assert_allclose(
        path.kl_weight(t, 0.5 * path.variance(t)), [1 / 0.81, 4, 25], rtol=1e-13
    )


@every
def test_the_follmer_noise_has_the_smallest_weight(name):
    path = PATHS[name]
    for t in (0.1, 0.3, 0.8):
        t = jnp.asarray(t)
        best = abs(float(path.follmer_gap(t)))
        grid = np.linspace(0, 4 * best, 10**5 + 1)[1:]
        weights = jax.vmap(lambda g2, t=t: path.kl_weight(t, 0.5 * g2))(jnp.asarray(grid))
        assert abs(grid[np.argmin(weights)] - best) <= grid[1] - grid[0]


def test_where_the_gap_is_negative_the_drift_is_known():
    path = PATHS["negative gap"]
    gap = jax.vmap(path.follmer_gap)
    assert abs(float(path.follmer_gap(jnp.asarray(0.3))) + 1.46888) < 1e-10
    inside, outside = jnp.linspace(0.192, 0.531, 50), jnp.array([0.1, 0.19, 0.533, 0.9])
    assert (gap(inside) < 0).all()
    assert (gap(outside) > 0).all()
    t = jnp.asarray(0.3)
    epsilon = FollmerEpsilon().value(path, t)
    assert abs(path.kl_weight(t, epsilon)) < 1e-25
    b = ExactDrift(path, GAUSSIAN)(t, X, X0)
    drift = b + (epsilon - 0.5 * path.variance(t)) * path.score(t, X, X0, b)
    np.testing.assert_allclose(drift, path.known_drift(t, X, X0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("path", "integral", "pointwise"),
    [
        (LinearPoint(), 0.9142425426232079, [0.7272727272727273, 1, 1.1428571428571428]),
        (QuadraticPoint(), 0.8093764942511823, [0.1678082191780822, 0.9, 1.6071428571428572]),
    ],
)
def test_floor_of_the_loss(path, integral, pointwise):
    """E|b − R|² = Var(R|I), by the covariance of (R, I) and by its integral over t; C = ½."""

    def floor(t):
        (_, beta, sigma), (_, dbeta, dsigma) = path.values_and_rates(t)
        total = 0.5 * beta**2 + t * sigma**2
        cross = 0.5 * beta * dbeta + t * sigma * dsigma
        return 0.5 * dbeta**2 + t * dsigma**2 - cross**2 / total

    np.testing.assert_allclose(jax.vmap(floor)(jnp.array([0.25, 0.5, 0.75])), pointwise, rtol=1e-14)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    mean = 0.5 * weights @ np.asarray(jax.vmap(floor)(jnp.asarray(0.5 * (nodes + 1))))
    np.testing.assert_allclose(mean, integral, rtol=1e-12)


@pytest.mark.parametrize("path", [LinearPoint(), QuadraticPoint()])
def test_least_squares_recovers_the_drift(path):
    """Coefficients of (x, x0, 1) within 4 s.e. at fixed t, residual at the floor; OU, θ = τ = 1."""
    gain, variance, num = np.exp(-1.0), -0.5 * np.expm1(-2.0), 200_000
    rng = np.random.default_rng(0)
    x0 = np.sqrt(0.5) * rng.normal(size=num)
    x1 = gain * x0 + np.sqrt(variance) * rng.normal(size=num)
    drift = ExactDrift(path, GaussianConditional(gain, [0.0], variance))
    for t in (0.25, 0.5, 0.75):
        t, z = jnp.asarray(t), rng.normal(size=num)
        x, target = (np.asarray(f(t, x0, x1, z)) for f in (path.state, path.target))
        features = np.stack([x, x0, np.ones(num)], axis=1)
        found = np.linalg.lstsq(features, target, rcond=None)[0]
        residual = target - features @ found
        error = np.sqrt(np.diag(np.linalg.inv(features.T @ features)) * residual.var())
        zero = drift(t, jnp.zeros(1), jnp.zeros(1))[0]
        exact = [drift(t, jnp.ones(1), jnp.zeros(1))[0] - zero,
                 drift(t, jnp.zeros(1), jnp.ones(1))[0] - zero, zero]  # fmt: skip
        assert np.abs((found - np.array(exact)) / error).max() < 4
        (_, beta, sigma), (_, dbeta, dsigma) = path.values_and_rates(t)
        total = variance * beta**2 + t * sigma**2
        cross = variance * beta * dbeta + t * sigma * dsigma
        floor = variance * dbeta**2 + t * dsigma**2 - cross**2 / total
        assert abs(residual.var() - floor) < 4 * floor * np.sqrt(2 / num)
        # Twin: regressing dI/dt instead of R gives another drift.
        wrong = target + np.asarray(sigma * z / (2 * jnp.sqrt(t)))
        found = np.linalg.lstsq(features, wrong, rcond=None)[0]
        assert np.abs((found - np.array(exact)) / error).max() > 10


def test_epsilons():
    path, t = LinearPoint(2.0), jnp.asarray(0.5)
    assert MatchedEpsilon().value(path, t) == 0.5
    assert FollmerEpsilon().value(path, t) == 1.5
    assert FollmerEpsilon(0.25).value(path, t) == 0.375


def test_bad_paths():
    with pytest.raises(InputError, match="expected 1, 0, positive and 0, 1, 0"):
        PointMass(lambda t: 1 - t, lambda t: t, lambda t: 1 + t)
