"""Affine paths: coefficients, targets and conversions against SiT's own code and against algebra.

`sit_transport.npz` holds numbers of the published implementation in float64; "alpha" there is our
β, "sigma" our α.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.paths import (
    AbstractInterpolant,
    ConstantEpsilon,
    Data,
    DecreasingEpsilon,
    EpsilonFunction,
    Linear,
    LinearEpsilon,
    LogitNormal,
    Noise,
    NoiseLevel,
    Predictor,
    Score,
    ScoreSDE,
    SinSquaredEpsilon,
    Trigonometric,
    UniformTime,
    VariancePreserving,
    Velocity,
    ZeroEpsilon,
)

DATA = np.load(Path(__file__).parents[1] / "data" / "sit_transport.npz", allow_pickle=False)
PATHS = {"Linear": Linear(), "GVP": Trigonometric(), "VP": VariancePreserving()}
WIDE = {"Linear": Linear(1.7), "GVP": Trigonometric(0.6), "VP": VariancePreserving(0.2, 11.0, 1.3)}
PREDICTIONS = {"velocity": Velocity(), "noise": Noise(), "score": Score()}
EPSILONS = {
    "constant": ConstantEpsilon,
    "SBDM": ScoreSDE,
    "sigma": NoiseLevel,
    "linear": LinearEpsilon,
    "decreasing": DecreasingEpsilon,
    "inccreasing-decreasing": SinSquaredEpsilon,
}
T, X, X0, X1 = (jnp.asarray(DATA[f"pts/{name}"]) for name in ("t", "x", "x0", "x1"))
every = pytest.mark.parametrize("name", PATHS)


def close(ours, theirs, tolerance=1e-12):
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def network(t, x, *, context=None, key=None):
    """The stand-in of the reference: raw output of whatever prediction."""
    return 0.3 * x + 0.1 * jnp.sin(x) * (1 + t)


@every
def test_coefficients_states_and_targets_are_those_of_sit(name):
    path = PATHS[name]
    c = jax.vmap(path.coefficients)(T)
    close(jnp.stack([c.beta, c.dbeta, c.alpha, c.dalpha]), DATA[f"{name}/coef"][:4])
    close(jax.vmap(path.state)(T, X0, X1, X0), DATA[f"{name}/plan/xt"])
    close(jax.vmap(path.target)(T, X0, X1, X0), DATA[f"{name}/plan/ut"])


@every
def test_rates_are_derivatives_and_the_inverse_inverts(name):
    path = WIDE[name]
    for t in (0.0, 0.1, 0.5, 0.93):
        t = scalar(t)
        c, i = path.coefficients(t), path.inverse_coefficients(t)
        one = jnp.ones_like(t)
        np.testing.assert_allclose(jax.jvp(path.alpha, (t,), (one,))[1], c.dalpha, atol=1e-13)
        np.testing.assert_allclose(jax.jvp(path.beta, (t,), (one,))[1], c.dbeta, atol=1e-13)
        there = jnp.array([[c.alpha, c.beta], [c.dalpha, c.dbeta]])
        e_from_x, e_from_v, data_from_x, data_from_v = i
        back = jnp.array([[e_from_x, -e_from_v], [data_from_x, data_from_v]])
        np.testing.assert_allclose(back @ there, np.eye(2), atol=1e-12)


def test_ends():
    for path in (Linear(), Trigonometric()):
        zero, one = path.coefficients(scalar(0.0)), path.coefficients(scalar(1.0))
        assert (zero.alpha, zero.beta, one.alpha, one.beta) == (1, 0, 0, 1)
    vp = VariancePreserving()
    assert abs(vp.beta(scalar(0.0)) - np.exp(-5.025)) < 1e-16  # a documented bias
    assert vp.alpha(scalar(1.0)) == 0
    # expm1 keeps all digits of α near t = 1, where 1 − e^{2L} loses them.
    tau = 1e-9
    exponent = 0.25 * tau**2 * 19.9 + 0.5 * tau * 0.1
    exact = np.sqrt(2 * exponent)
    assert abs(vp.alpha(scalar(1 - tau)) / exact - 1) < 1e-6


@every
@pytest.mark.parametrize("what", PREDICTIONS)
def test_velocity_and_score_are_those_of_sit(name, what):
    path = PATHS[name]
    found = jax.vmap(Predictor(network, path, PREDICTIONS[what]))(T, X)
    close(found.velocity, DATA[f"{name}/{what}/ode_drift"])
    close(jax.vmap(lambda d, t: d.score(path, t))(found, T), DATA[f"{name}/{what}/score"])


@every
def test_noise_levels_are_those_of_sit(name):
    path = PATHS[name]
    for form, law in EPSILONS.items():
        for scale in (1.0, 0.7):
            epsilon = law(scale)
            value = jax.vmap(lambda t: epsilon.value(path, t))(T)  # noqa: B023
            close(value, np.ravel(DATA[f"{name}/diffusion/{form}/{scale}"]))
            over = jax.vmap(lambda t: epsilon.over_alpha(path, t))(T)  # noqa: B023
            close(over, value / jax.vmap(path.alpha)(T))


@every
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_every_prediction_and_back(name, t):
    """x = αe + βD, and each raw output is found again from (e, D), wherever table 2.2 is finite."""
    path, t = WIDE[name], scalar(t)
    x, raw = jnp.array([0.4, -1.3, 2.2]), jnp.array([-0.7, 0.1, 1.9])
    c = path.coefficients(t)
    for prediction in (Velocity(), Noise(), Score(), Data()):
        singular_beta = isinstance(prediction, Noise | Score) and c.beta == 0
        singular_alpha = isinstance(prediction, Data | Score) and c.alpha == 0
        if singular_beta or singular_alpha:
            continue
        found = prediction.estimate(path, t, x, raw)
        np.testing.assert_allclose(c.alpha * found.noise + c.beta * found.data, x, atol=1e-13)
        if isinstance(prediction, Velocity):
            back = found.velocity
            if jnp.isfinite(c.dalpha):
                back = c.dalpha * found.noise + c.dbeta * found.data
        elif isinstance(prediction, Noise):
            back = found.noise
        elif isinstance(prediction, Score):
            back = found.score(path, t)
        else:
            back = found.data
        np.testing.assert_allclose(back, raw, atol=1e-12)


def test_the_velocity_of_the_cosine_path_is_finite_at_the_end():
    found = Velocity().estimate(Trigonometric(), scalar(1.0), jnp.ones(2), jnp.ones(2))
    assert jnp.isfinite(found.velocity).all()
    np.testing.assert_allclose(found.data, 1, atol=1e-15)


@every
def test_two_ways_to_the_velocity(name):
    """v = (β'/β) x + ε_SBDM s, for a base of unit width."""
    path, t = PATHS[name], scalar(0.4)
    x, raw = jnp.array([0.4, -1.3]), jnp.array([-0.7, 0.1])
    found, c = Velocity().estimate(path, t, x, raw), path.coefficients(t)
    epsilon = ScoreSDE().value(path, t)
    np.testing.assert_allclose(
        (c.dbeta / c.beta) * x + epsilon * found.score(path, t), raw, atol=1e-13
    )


def test_limits_of_the_noise_over_alpha():
    one, zero = scalar(1.0), scalar(0.0)
    assert LinearEpsilon(0.7).over_alpha(Linear(), one) == 0.7
    assert abs(LinearEpsilon().over_alpha(Trigonometric(), one) - 2 / np.pi) < 1e-15
    assert LinearEpsilon().over_alpha(VariancePreserving(), one) == 0
    for path in PATHS.values():
        assert DecreasingEpsilon().over_alpha(path, one) == 0
        assert SinSquaredEpsilon().over_alpha(path, one) == 0
        assert ZeroEpsilon().over_alpha(path, one) == 0
        assert NoiseLevel(0.5).over_alpha(path, one) == 0.5
        assert ConstantEpsilon().over_alpha(path, one) == jnp.inf
        assert DecreasingEpsilon(0.5).over_alpha(path, one) == jnp.inf
    assert ScoreSDE().value(Linear(), zero) == jnp.inf


def test_translations_of_the_noise():
    """SiT's code writes √(2w) dW, its paper √w dW."""
    t = scalar(0.3)
    code = EpsilonFunction(lambda t: 1 - t)
    paper = EpsilonFunction(lambda t: 2 * (1 - t), 0.5)
    level = NoiseLevel()
    assert code.value(Linear(), t) == paper.value(Linear(), t) == level.value(Linear(), t)
    assert abs(code.over_alpha(Linear(), t) - 1) < 1e-15


def test_time_laws_by_their_quantiles():
    u = (jnp.arange(200001.0) + 0.5) / 200001.0
    assert abs(UniformTime(0.2, 0.6).quantile(scalar(0.25)) - 0.3) < 1e-15
    law = LogitNormal(0.7, 0.5)
    logit = jnp.log((1 - law.quantile(u)) / law.quantile(u))  # of the noise time: mean > 0, noisier
    assert abs(jnp.mean(logit) - 0.7) < 1e-6
    assert abs(jnp.std(logit) - 0.5) < 1e-4
    assert law.quantile(scalar(0.5)) < 0.5
    draws = jax.vmap(lambda k: law.sample(key=k))(jax.random.split(jax.random.key(0), 4000))
    below = float(jnp.mean(draws < law.quantile(scalar(0.3))))
    assert abs(below - 0.3) < 4.5 * np.sqrt(0.21 / 4000)


class Brownian(AbstractInterpolant):
    """Not affine."""

    def state(self, t, x0, x1, z):
        return (1 - t) * x0 + t * x1 + jnp.sqrt(t * (1 - t)) * z

    def target(self, t, x0, x1, z):
        return x1 - x0

    def known(self, x0):
        return ()


def test_what_is_refused():
    with pytest.raises(InputError, match="affine path"):
        Predictor(network, Brownian())
    with pytest.raises(InputError, match="beta_min <= beta_max"):
        VariancePreserving(3.0, 1.0)
    with pytest.raises(InputError, match="low < high"):
        UniformTime(0.5, 0.5)
