"""Samplers of interpolants: SiT's trajectories, exact weak orders, and laws that hold for any ε."""

import json
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._tree import scalar
from pushforward.dynamics import (
    EulerMaruyama,
    InterpolantSDE,
    RungeKutta38,
    StochasticHeun,
    march,
    probability_flow,
)
from pushforward.dynamics.base import failure_of
from pushforward.paths import (
    ConstantEpsilon,
    DecreasingEpsilon,
    ExactVelocity,
    Linear,
    LinearEpsilon,
    Noise,
    NoiseLevel,
    Predictor,
    Score,
    ScoreSDE,
    SinSquaredEpsilon,
    Trigonometric,
    VariancePreserving,
    Velocity,
    ZeroEpsilon,
)
from pushforward.targets import Gaussians, asymmetric_mixture

DATA = np.load(Path(__file__).parents[1] / "data" / "sit_transport.npz", allow_pickle=False)
PATHS = {"Linear": Linear(), "GVP": Trigonometric(), "VP": VariancePreserving()}
PREDICTIONS = {"velocity": Velocity(), "noise": Noise(), "score": Score()}
FORMS = {
    "SBDM": ScoreSDE(),
    "sigma": NoiseLevel(),
    "constant": ConstantEpsilon(),
    "linear": LinearEpsilon(),
    "decreasing": DecreasingEpsilon(),
    "inccreasing-decreasing": SinSquaredEpsilon(),
}
SOLVERS = {
    "euler": diffrax.Euler(),
    "midpoint": diffrax.Midpoint(),
    "heun2": diffrax.Heun(),
    "rk4": RungeKutta38(),
}
ONE = scalar(1.0)
FAST = {("Linear", "velocity"), ("GVP", "velocity"), ("VP", "score")}
cases = pytest.mark.parametrize(
    ("name", "what"),
    [
        pytest.param(p, r, marks=() if (p, r) in FAST else pytest.mark.slow)
        for p in PATHS
        for r in PREDICTIONS
    ],
)


def network(t, x, *, context=None, key=None):
    return 0.3 * x + 0.1 * jnp.sin(x) * (1 + t)


def interval(name, what, **options):
    text = ",".join(f"{k}={v}" for k, v in options.items())
    return json.loads(str(DATA[f"{name}/{what}/intervals"]))[text]


def close(ours, theirs, tolerance=1e-12):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@eqx.filter_jit
def trajectories(kernel, x0, times):
    def one(x):
        start = kernel.init(x, times[0], key=jax.random.key(0))
        return march(kernel, start, times, key=jax.random.key(0))[1].x

    return jax.vmap(one, out_axes=1)(x0)


@cases
def test_ode_trajectories_are_those_of_sit(name, what):
    predictor = Predictor(network, PATHS[name], PREDICTIONS[what])
    options = {"sde": False, "eval": True, "reverse": False, "last": 0.0, "form": "SBDM"}
    times = jnp.linspace(*interval(name, what, **options), 6)
    everywhere = ("euler", "heun2")
    for method in SOLVERS if name == "GVP" and what == "velocity" else everywhere:
        solver = SOLVERS[method]
        found = trajectories(probability_flow(predictor, solver), DATA["pts/x0"], times)
        close(found, DATA[f"{name}/{what}/ode/{method}"])


@cases
def test_drifts_and_euler_maruyama_trajectories_are_those_of_sit(name, what):
    predictor = Predictor(network, PATHS[name], PREDICTIONS[what])

    @eqx.filter_jit
    def drift(kernel, t, x):
        return jax.vmap(lambda t, x: kernel.drift(t, x, ONE))(t, x)

    for form, epsilon in FORMS.items():
        kernel = InterpolantSDE(predictor, epsilon)
        close(drift(kernel, DATA["pts/t"], DATA["pts/x"]), DATA[f"{name}/{what}/sde_drift/{form}"])

    for form in ("sigma", "SBDM"):
        reference = DATA[f"{name}/{what}/sde/{form}/Euler/None"][:7]
        if not np.isfinite(reference).all():
            assert (form, what) == ("SBDM", "velocity")  # ε is infinite at t = 0: theirs is NaN
            continue
        options = {"sde": True, "eval": True, "reverse": False, "last": 0.0, "form": form}
        times = jnp.linspace(*interval(name, what, **options), 8)
        kernel = InterpolantSDE(predictor, FORMS[form], EulerMaruyama())
        close(recorded(kernel, DATA["pts/x0"], times, DATA["sde/noise"]), reference)


@eqx.filter_jit
def recorded(kernel, x0, times, noise):
    """Return the states of a kernel fed with recorded noise."""
    path = kernel.predictor.path

    def step(x, i):
        def one(x, xi):
            return kernel.solver(
                lambda t, y: kernel.drift(t, y, ONE),
                lambda t: kernel.epsilon.value(path, t),
                times[i], times[i + 1], x, xi,
            )  # fmt: skip

        x = jax.vmap(one)(x, jnp.asarray(noise)[i])
        return x, x

    return jax.lax.scan(step, jnp.asarray(x0), jnp.arange(len(times) - 1))[1]


def test_a_step_is_its_solver_fed_with_the_noise_of_its_key():
    """Both ways: down the grid it is the backward SDE."""
    kernel = InterpolantSDE(Predictor(network, Linear()), NoiseLevel(0.7))
    x, key = jnp.array([0.3, -1.1]), jax.random.key(5)
    noise = jax.random.normal(key, x.shape)
    for t, u, sign in ((scalar(0.2), scalar(0.5), 1), (scalar(0.5), scalar(0.2), -1)):
        state, info = kernel.step(kernel.init(x, t, key=key), t, u, key=key)
        by_hand = StochasticHeun()(
            lambda s, y, sign=sign: kernel.drift(s, y, scalar(sign)),
            lambda s: kernel.epsilon.value(Linear(), s),
            t, u, x, noise,
        )  # fmt: skip
        np.testing.assert_array_equal(state.x, by_hand)
        assert int(info.evaluations) == 2
        assert not info.failed


# 1-D data N(1.5, .25): every step is x -> a x + b + c ξ, so mean and variance are propagated
# exactly. No sampling, no error bar.


def gaussian(path):
    law = Gaussians(jnp.zeros(1), jnp.array([[1.5]]), jnp.array([[0.25]]))
    return Predictor(ExactVelocity(path, law), path)


@eqx.filter_jit
def moments(kernel, num):
    """Return the errors of mean and variance after `num` equal steps from .02 to .96."""
    path = kernel.predictor.path

    def time(i):
        return 0.02 + 0.94 * (i.astype(float) / num.astype(float))

    def start(t):
        c = path.coefficients(t)
        return 1.5 * c.beta, 0.25 * c.beta**2 + c.alpha**2

    def step(i, carry):
        def move(x, xi):
            return kernel.solver(
                lambda t, y: kernel.drift(t, y, ONE),
                lambda t: kernel.epsilon.value(path, t),
                time(i), time(i + 1), x[None], xi[None],
            )[0]  # fmt: skip

        mean, variance = carry
        zero = jnp.zeros(())
        shift = move(zero, zero)
        slope, kick = move(ONE, zero) - shift, move(zero, ONE) - shift
        return slope * mean + shift, slope**2 * variance + kick**2

    first = start(time(jnp.zeros_like(num)))
    mean, variance = jax.lax.fori_loop(0, num, step, first)
    exact_mean, exact_variance = start(time(num))
    return mean - exact_mean, variance - exact_variance


def errors(kernel, num):
    return [abs(float(e)) for e in moments(kernel, jnp.asarray(num))]


class OtherNoise(eqx.Module):
    """Twin: the corrector kicked by a noise of its own; only the variance shows it."""

    def __call__(self, drift, epsilon, t, t_next, x, noise):
        step = t_next - t
        size = jnp.sqrt(2 * epsilon(t + 0.5 * step) * step)
        first = drift(t, x)
        second = drift(t_next, x + step * first)  # its independent ξ' has mean 0
        return x + 0.5 * step * (first + second) + size * noise


class HalfDrift(eqx.Module):
    """Twin: ε/2 in the drift at unchanged noise."""

    plain: eqx.Module

    def __call__(self, drift, epsilon, t, t_next, x, noise):
        def halved(s, y):
            return 0.5 * (drift(s, y) + probability(s, y))

        probability = self.plain
        return EulerMaruyama()(halved, epsilon, t, t_next, x, noise)


class WeakNoise(eqx.Module):
    """Twin: noise √(ε h) instead of √(2 ε h)."""

    def __call__(self, drift, epsilon, t, t_next, x, noise):
        return EulerMaruyama()(drift, lambda s: 0.5 * epsilon(s), t, t_next, x, noise)


TABLE = [  # (solver, path, ε, |variance error|, |mean error| or None)
    (EulerMaruyama(), Linear(), NoiseLevel(), 3.9188790282e-03, None),
    (EulerMaruyama(), Linear(), ScoreSDE(), 1.5749728212e-03, None),
    (EulerMaruyama(), Trigonometric(), NoiseLevel(), 3.1031243932e-03, 1.8903766549e-02),
    (EulerMaruyama(), Linear(), ZeroEpsilon(), 1.8235160462e-02, None),
    (StochasticHeun(), Linear(), NoiseLevel(), 4.3726794225e-04, None),
    (StochasticHeun(), Linear(), ScoreSDE(), 4.3336593577e-04, None),
    (StochasticHeun(), Trigonometric(), NoiseLevel(), 6.5198879883e-04, 5.9760418882e-04),
    (StochasticHeun(), Linear(), ZeroEpsilon(), 2.0503482420e-04, None),
]


@pytest.mark.parametrize(("solver", "path", "epsilon", "variance", "mean"), TABLE)
def test_exact_weak_errors_and_orders(solver, path, epsilon, variance, mean):
    kernel = InterpolantSDE(gaussian(path), epsilon, solver)
    found = errors(kernel, 32)
    assert abs(found[1] / variance - 1) < 1e-9
    if mean is not None:
        assert abs(found[0] / mean - 1) < 1e-9
    slope = np.log2(errors(kernel, 128)[1] / errors(kernel, 256)[1])
    low, high = (0.98, 1.06) if isinstance(solver, EulerMaruyama) else (1.98, 1.99)
    assert low <= round(slope, 2) <= high


def test_broken_steps_do_not_converge_as_they_should():
    """The tables would show each of the three twins."""
    predictor = gaussian(Linear())

    def slope(solver):
        kernel = InterpolantSDE(predictor, NoiseLevel(), solver)
        return np.log2(errors(kernel, 128)[1] / errors(kernel, 256)[1])

    def velocity(t, x):
        return predictor(t, x).velocity

    assert slope(OtherNoise()) < 1.3  # order 1 and not 2
    for twin in (HalfDrift(velocity), WeakNoise()):
        kernel = InterpolantSDE(predictor, NoiseLevel(), twin)
        assert abs(slope(twin)) < 0.1  # the error stays
        assert errors(kernel, 256)[1] > 0.1 * 0.25


def test_the_flow_and_its_way_back():
    """Points come home up to the order of Heun's method."""
    predictor = Predictor(ExactVelocity(Linear(), asymmetric_mixture()), Linear())
    x = jnp.array([[0.3, -0.4], [-1.2, 0.8]])
    kernel, miss = probability_flow(predictor), []
    for num in (80, 160):
        times = jnp.linspace(0.0, 1.0, num + 1)
        there = trajectories(kernel, x, times)[-1]
        back = trajectories(kernel.reversed(), there, times[::-1])[-1]
        miss.append(np.abs(back - x).max())
    assert 1.7 < np.log2(miss[0] / miss[1]) < 3.3
    assert miss[1] < 2e-2


def test_an_infinite_noise_is_reported_with_its_remedy():
    kernel = InterpolantSDE(Predictor(network, Linear()), ScoreSDE())
    x, key = jnp.ones(2), jax.random.key(0)
    _, info = kernel.step(kernel.init(x, 0 * ONE, key=key), 0 * ONE, scalar(0.1), key=key)
    assert info.failed
    assert "begin at t = 1e-3" in failure_of(kernel, info)
