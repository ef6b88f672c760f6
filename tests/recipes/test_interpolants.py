"""The interpolant and SiT recipes, and densities along the flow."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pushforward as pf
from pushforward._errors import InputError, NonFinite
from pushforward.dynamics import Adaptive, Dense, InterpolantSDE, density_flow
from pushforward.formats import read_digits, split_digits
from pushforward.networks import Size
from pushforward.paths import (
    ConstantEpsilon,
    Epsilon,
    ExactVelocity,
    Linear,
    NoiseLevel,
    Predictor,
    Trigonometric,
    uniform_times,
)
from pushforward.recipes import interpolant, log_likelihood, sit
from pushforward.sources import Dequantise
from pushforward.targets import Normal, asymmetric_mixture

LAW = asymmetric_mixture()
KEY = jax.random.key(0)


def exact(path=None):
    path = Linear() if path is None else path
    return Predictor(ExactVelocity(path, LAW), path)


def points(num=100):
    return jax.vmap(lambda k: LAW.sample(key=k))(jax.random.split(KEY, num))


def test_the_exact_velocity():
    x = jnp.array([0.3, -0.4])
    velocity = exact().model
    expected = {
        0.3: (0.22413450268117158, -0.8965237287424312),
        0.7: (-0.14564628781477718, -3.060371386536044),
        0.0: LAW.mean() - x,
        1.0: x,
    }
    for t, v in expected.items():
        np.testing.assert_allclose(velocity(jnp.asarray(t), x), v, rtol=0, atol=1e-13)
    assert abs(LAW.log_prob(x) + 9.242156819105292) < 1e-13


SLOW = pytest.param(Trigonometric(1.3), marks=pytest.mark.slow)


@pytest.mark.parametrize("path", [Linear(), SLOW])
def test_densities_along_the_flow_are_those_of_the_data(path):
    x = points(40)
    truth = jax.vmap(LAW.log_prob)(x)
    fixed = log_likelihood(exact(path), x, times=uniform_times(100))
    assert np.abs(fixed.value - truth).max() < 1e-4
    assert fixed.num_evaluations == 400


def test_an_adaptive_solver_reaches_its_tolerance():
    x = points(20)
    truth = jax.vmap(LAW.log_prob)(x)
    control = Adaptive(1e-8, 1e-8)
    found = log_likelihood(exact(), x, times=[0, 1], solver=diffrax.Tsit5(), control=control)
    assert np.abs(found.value - truth).max() < 1e-6
    with pytest.raises(NonFinite, match="did not reach the end"):
        log_likelihood(
            exact(), x, times=[0, 1], solver=diffrax.Tsit5(), control=Adaptive(1e-8, 1e-8, 8)
        )


def test_samples_carry_their_density():
    """Forward from the base's log density the same kernel gives the samples' own."""
    x0 = jax.vmap(lambda k: Normal(2).sample(key=k))(jax.random.split(KEY, 50))
    start = Dense(x0, jax.vmap(Normal(2).log_prob)(x0))
    end = pf.simulate(density_flow(exact()), start, times=uniform_times(100), key=KEY).x
    np.testing.assert_allclose(end.log_density, jax.vmap(LAW.log_prob)(end.x), atol=1e-3)
    assert np.std(end.log_density) > 0.5


def test_a_scan_over_noise_is_one_kernel_and_every_noise_has_one_law():
    kernel = InterpolantSDE(exact(), NoiseLevel())
    scales, num = jnp.array([0.0, 0.5, 2.0]), 4000
    scan = eqx.tree_at(lambda k: k.epsilon.scale, kernel, scales)
    samples = pf.simulate(
        scan, num, times=uniform_times(50), initial=Normal(2), stacked=lambda k: k.epsilon, key=KEY
    )
    energies = np.asarray(jax.vmap(jax.vmap(LAW))(samples.x))
    error = energies.std(1) / np.sqrt(num)
    assert (np.abs(energies.mean(1) - 1.8629379501) < 4.5 * error).all()
    assert "ess" not in samples.record  # it carries no weight, and does not pretend to
    with pytest.raises(InputError, match="carries no weight"):
        _ = samples.ess
    # Twin: half the drift of the noise at full noise, g² taken for ε, is another law.
    twin = Twice(exact(), NoiseLevel())
    wrong = pf.simulate(twin, num, times=uniform_times(50), initial=Normal(2), key=KEY)
    off = np.asarray(jax.vmap(LAW)(wrong.x))
    assert abs(off.mean() - 1.8629379501) > 20 * error[1]


class Twice(pf.dynamics.AbstractTransition):
    """An SDE whose noise is √(2ε) while its drift has ε/2."""

    predictor: Predictor
    epsilon: Epsilon

    def begin(self, x, t, energy, key):
        return None, None

    def step(self, state, t, t_next, *, key):
        right = InterpolantSDE(self.predictor, self.epsilon)
        half = eqx.tree_at(lambda k: k.epsilon.scale, right, 0.5 * self.epsilon.scale)
        x = right.solver(
            lambda s, y: half.drift(s, y, jnp.ones(())),
            lambda s: self.epsilon.value(self.predictor.path, s),
            t, t_next, state.x, jax.random.normal(key, state.x.shape),
        )  # fmt: skip
        return state.moved(x), pf.dynamics.Info()

    def reversed(self):
        return self


def test_a_noise_that_is_infinite_at_the_end_stops_with_a_remedy():
    kernel = InterpolantSDE(exact(), ConstantEpsilon())
    with pytest.raises(NonFinite, match=r"end at t = .995 \(ConstantEpsilon\)"):
        pf.simulate(kernel, 8, times=uniform_times(10), initial=Normal(2), key=KEY)


def test_an_interpolant_learns():
    parts = interpolant(LAW, width=32, steps=20)
    options = {"steps": 1500, "optimiser": optax.adam(3e-3), "batch": 128, "key": KEY}
    model, _ = pf.fit(parts.model, parts.objective, parts.source, **options)

    def mean(model):
        kernel = parts.kernel(model)
        return pf.simulate(kernel, 2000, times=parts.times, initial=parts.initial, key=KEY).mean(
            LAW
        )

    assert mean(model).value < 2.5 < 6 < mean(parts.model).value  # exact 1.863


@pytest.mark.slow
def test_a_small_transformer_trains_and_samples_with_labels():
    train, test = split_digits()
    assert (len(train.labels), len(test.labels)) == (1438, 359)
    assert np.bincount(test.labels).min() >= 35
    assert read_digits().images.shape == (1797, 1, 8, 8)
    assert read_digits().images.max() == 16
    parts = sit(train.images, train.labels, Size(1, 16, 2), augment=Dequantise(17), scale=1.5)
    options = {"steps": 100, "optimiser": optax.adam(5e-3), "batch": 32, "key": KEY}
    model, history = pf.fit(parts.model, parts.objective, parts.source, **options)
    loss = history.metrics["loss"]
    assert loss[-10:].mean() < 0.8 * loss[:3].mean()
    options = {"times": uniform_times(3), "initial": parts.initial, "key": KEY}
    samples = pf.simulate(parts.kernel(model), 4, context=jnp.arange(4), **options)
    assert samples.x.shape == (4, 1, 8, 8)
    with pytest.raises(InputError, match="needs a label"):
        pf.simulate(parts.kernel(model), 4, **options)


def test_what_is_refused():
    for solver in (diffrax.Euler(), None):
        with pytest.raises(InputError, match="estimates no error"):
            density_flow(exact(), solver, Adaptive())
    with pytest.raises(InputError, match="samples first"):
        interpolant(np.zeros(7))
    with pytest.raises(InputError, match=r"integers in \[0, 3\)"):
        sit(np.zeros((2, 1, 8, 8)), np.array([0, 3]), Size(1, 16, 2), num_classes=3)
    with pytest.raises(InputError, match=r"one point alone is x1\[None\]"):
        log_likelihood(exact(), jnp.zeros(2))
    predictor = Predictor(lambda t, x, **_: x, Linear())
    with pytest.raises(InputError, match="256 are refused"):
        log_likelihood(predictor, jnp.zeros((1, 300)), times=uniform_times(1))
    with pytest.raises(InputError, match="from base to data"):
        log_likelihood(exact(), points(3), times=[1.0, 0.0])
