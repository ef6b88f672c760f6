"""The continuity loss: zero at the exact drift, its gradient the derivative, probes unbiased."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import scalar, trainable
from pushforward.dynamics import Langevin, transport_rate
from pushforward.networks import DriftAndFreeEnergy, DriftMLP, FreeEnergy, ScoreSkip
from pushforward.objectives import (
    Continuity,
    ContinuityVariance,
    ExactDivergence,
    HutchinsonDivergence,
)
from pushforward.paths import Annealing, Identity, LocalVariance, ParameterPath
from pushforward.sources import WeightedPoint
from pushforward.spaces import Euclidean
from pushforward.targets import DoubleWell, Energy, Normal

LOG_S = np.log(0.3)
KEY = jax.random.key(0)

# N(0, 1) -> N(3, .3²), bare energies; b = 3 + ln(.3)(x − 3t), F_t = −t ln .3.
LINE = ParameterPath(
    lambda t: Energy(
        lambda x: jnp.sum((x - 3 * t) ** 2) / (2 * jnp.exp(2 * LOG_S * t)), Euclidean(1)
    ),
    lambda t: t,
    Normal(1),
)
PLANE = Annealing(Normal(2, 0.0, 1.5), DoubleWell(2))


class Affine(eqx.Module):
    """b = a_0 + a_1 (x − 3t): contains the exact drift of LINE."""

    a: jax.Array

    def __call__(self, t, x, g=None):
        return self.a[0] + self.a[1] * (x - 3 * t)


class Linear(eqx.Module):
    """F_t = slope · t."""

    slope: jax.Array

    def __call__(self, t):
        return self.slope * t


class Process(eqx.Module):
    path: Annealing | ParameterPath

    def __call__(self, model):
        return Langevin(self.path, model.drift, 0.7)


def points(num, dim, seed=0, t=None):
    rng = np.random.default_rng(seed)
    t = rng.uniform(0.05, 0.95, num) if t is None else t
    return WeightedPoint(jnp.asarray(t), jnp.asarray(rng.normal(size=(num, dim))), jnp.zeros(num))


@eqx.filter_jit
def once(objective, model, sample):
    """Return the loss and the info of one sample."""
    return objective(model, sample, key=KEY)


@eqx.filter_jit
def loss(model, objective, samples, key):
    """Return the mean loss over samples and its gradient in the trainable leaves."""
    moving, fixed = eqx.partition(model, trainable(model))

    def mean(moving):
        keys = jax.random.split(key, samples.t.shape[0])
        both = jax.vmap(lambda s, k: objective(eqx.combine(moving, fixed), s, key=k)[0])
        return jnp.mean(both(samples, keys))

    return jax.value_and_grad(mean)(moving)


EXACT = DriftAndFreeEnergy(Affine(jnp.array([3.0, LOG_S])), Linear(scalar(-LOG_S)))


def test_exact_drift_has_no_loss_and_no_gradient():
    samples = points(64, 1)
    value, gradient = loss(EXACT, Continuity(Process(LINE)), samples, KEY)
    assert value < 1e-20
    assert max(np.abs(g).max() for g in jax.tree.leaves(gradient)) < 1e-10
    for wrong in ([3.1, LOG_S], [3.0, 0.9 * LOG_S], [3.0, -LOG_S]):
        model = eqx.tree_at(lambda m: m.drift.a, EXACT, jnp.array(wrong))
        assert loss(model, Continuity(Process(LINE)), samples, KEY)[0] > 1e-3
    model = eqx.tree_at(lambda m: m.free_energy.slope, EXACT, scalar(LOG_S))  # twin: F's sign
    assert loss(model, Continuity(Process(LINE)), samples, KEY)[0] > 1


def network(skip):
    """Return a model as after some training: no leaf is zero."""
    drift = DriftMLP(2, width=8, depth=2, score_scale=0.5, key=KEY)
    if skip:
        drift = ScoreSkip(drift, LocalVariance(Identity(), 1.5, 0.3), width=8, key=KEY)
    model = DriftAndFreeEnergy(drift, FreeEnergy(8, 2, key=KEY))
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda a, train: a + 0.3 * rng.normal(size=a.shape) if train else a,
        model,
        trainable(model),
    )


@pytest.mark.parametrize("divergence", [ExactDivergence(), HutchinsonDivergence()])
@pytest.mark.parametrize("skip", [False, True])
def test_gradient_is_the_derivative(divergence, skip):
    """Against central differences along five random directions, the probes held fixed."""
    model, samples = network(skip), points(16, 2)
    objective = Continuity(Process(PLANE), clip=1e9, divergence=divergence)
    _, gradient = loss(model, objective, samples, KEY)
    leaves, tree = jax.tree.flatten(gradient)
    rng = np.random.default_rng(2)
    for _ in range(5):
        direction = [rng.normal(size=g.shape) for g in leaves]
        size = np.sqrt(sum((d * d).sum() for d in direction))
        direction = [d / size for d in direction]
        slope = sum(float((g * d).sum()) for g, d in zip(leaves, direction, strict=True))

        def at(h, direction=direction):
            step = jax.tree.unflatten(tree, [h * d for d in direction])
            return float(loss(eqx.apply_updates(model, step), objective, samples, KEY)[0])

        h = 1e-5
        # Fourth order, so that the difference is exact to rounding.
        numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        assert slope == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_variance_is_the_minimum_over_the_free_energy_rate():
    """Var r = min over F' of the mean of (r + F')² on one group, up to (M − 1)/M."""
    num, t = 64, jnp.asarray(0.4)
    group = points(num, 2, seed=3)
    model = network(False)
    rates = np.asarray(
        jax.jit(jax.vmap(lambda x: transport_rate(PLANE, model.drift, t, x)))(group.x)
    )
    sample = WeightedPoint(t, group.x, group.log_weight)
    variance, info = once(ContinuityVariance(Process(PLANE)), model, sample)
    assert variance * (num - 1) / num == pytest.approx(rates.var(), rel=1e-12)
    assert info["free_energy_rate"] == pytest.approx(-rates.mean(), rel=1e-12)

    same = WeightedPoint(jnp.full(num, t), group.x, group.log_weight)
    losses = []
    for shift in (0.0, -0.1, 0.1):
        slope = scalar(float(info["free_energy_rate"]) + shift)
        here = DriftAndFreeEnergy(model.drift, Linear(slope))
        losses.append(float(loss(here, Continuity(Process(PLANE), clip=1e9), same, KEY)[0]))
    assert losses[0] == pytest.approx(float(variance) * (num - 1) / num, rel=1e-12)
    np.testing.assert_allclose(np.array(losses[1:]) - losses[0], 0.01, rtol=1e-9)


def test_variance_at_the_exact_drift():
    group = points(16, 1, seed=4)
    sample = WeightedPoint(jnp.asarray(0.3), group.x, group.log_weight)
    value, info = once(ContinuityVariance(Process(LINE)), EXACT, sample)
    assert value < 1e-20
    assert info["free_energy_rate"] == pytest.approx(-LOG_S, abs=1e-12)


def test_two_probes_are_unbiased_and_one_squared_is_not():
    t, x = jnp.asarray(0.4), jnp.array([0.7, -1.1])
    drift = network(False).drift
    rate = eqx.filter_jit(transport_rate)(PLANE, drift, t, x)
    # F' that leaves a residual of .05, so that the spread of the probes is not lost beside it.
    model, sample = (
        DriftAndFreeEnergy(drift, Linear(0.05 - rate)),
        WeightedPoint(t, x, jnp.zeros(())),
    )
    probed = Continuity(Process(PLANE), clip=1e9, divergence=HutchinsonDivergence())

    @jax.jit
    def both(keys):
        product = jax.vmap(lambda k: probed(model, sample, key=k)[0])(keys)
        one = jax.vmap(lambda k: transport_rate(PLANE, drift, t, x, k))(keys)
        return product, (one + 0.05 - rate) ** 2

    product, square = map(np.asarray, both(jax.random.split(jax.random.key(5), 4000)))

    def score(values):
        return (values.mean() - 0.0025) / (values.std() / np.sqrt(4000))

    assert abs(score(product)) < 4
    assert score(square) > 10
    assert np.any(product < 0)  # unbiased has its price


def test_clip_cuts_the_loss_and_says_so():
    sample = WeightedPoint(jnp.asarray(0.5), jnp.array([40.0]), jnp.zeros(()))
    model = eqx.tree_at(lambda m: m.drift.a, EXACT, jnp.array([3.0, 0.0]))
    value, info = once(Continuity(Process(LINE), clip=100.0), model, sample)
    assert value == 100
    assert info["clipped"] == 1
    near = WeightedPoint(jnp.asarray(0.5), jnp.array([1.5]), jnp.zeros(()))
    value, info = once(Continuity(Process(LINE), clip=100.0), model, near)
    assert info["clipped"] == 0
    assert value == pytest.approx(float(info["residual"]) ** 2)


def test_only_the_model_is_differentiated():
    """The energies inside the process stay as they are: the gradient has the model's leaves."""
    _, gradient = loss(EXACT, Continuity(Process(LINE)), points(4, 1), KEY)
    assert jax.tree.structure(gradient) == jax.tree.structure(EXACT)


def test_groups_that_are_none():
    objective, t = ContinuityVariance(Process(PLANE)), jnp.asarray(0.5)
    for x in (jnp.zeros((1, 2)), jnp.zeros(2)):
        with pytest.raises(InputError, match="group=16"):
            objective(network(False), WeightedPoint(t, x, jnp.zeros(x.shape[:-1])), key=KEY)
