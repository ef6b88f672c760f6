"""Networks start at zero, keep the shape of x, and carry what they must not train in `Frozen`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._tree import named_leaves, trainable
from pushforward.networks import (
    DriftAndFreeEnergy,
    DriftMLP,
    FreeEnergy,
    RandomFourier,
    ScoreCut,
    ScoreSkip,
    Zero,
)
from pushforward.networks.mlp import time_features
from pushforward.paths import Identity, LocalVariance, MixturePath, MixtureVariance
from pushforward.targets import gaussian_mixture

KEY = jax.random.key(0)
VARIANCE = LocalVariance(Identity(), 2.0, 0.5)


def features(dim):
    return RandomFourier(dim, 4, 1.0, key=KEY)


DRIFTS = {
    "zero": lambda dim: Zero(),
    "mlp": lambda dim: DriftMLP(dim, width=8, key=KEY),
    "mlp, features": lambda dim: DriftMLP(
        dim, width=8, scale=2.0, out_scale=3.0, fourier=features(dim), score_scale=0.5, key=KEY
    ),
    "skip": lambda dim: ScoreSkip(DriftMLP(dim, width=8, key=KEY), VARIANCE, key=KEY),
    "skip, zero": lambda dim: ScoreSkip(Zero(), VARIANCE, width=8, key=KEY),
}
T = jnp.asarray(0.3)
every = pytest.mark.parametrize("name", DRIFTS)


def stirred(module, size=0.3):
    """Return the module with all trainable leaves moved, as if it had been trained."""
    moved, fixed = eqx.partition(module, trainable(module))
    leaves, tree = jax.tree.flatten(moved)
    rng = np.random.default_rng(1)
    leaves = [a + size * rng.normal(size=a.shape).astype(a.dtype) for a in leaves]
    return eqx.combine(jax.tree.unflatten(tree, leaves), fixed)


@every
@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_zero_at_birth_and_of_the_shape_of_x(name, shape):
    drift = DRIFTS[name](int(np.prod(shape)))
    x, g = np.random.default_rng(0).normal(size=(2, *shape))
    out = eqx.filter_jit(drift)(T, jnp.asarray(x), jnp.asarray(g))
    assert out.shape == shape
    np.testing.assert_array_equal(out, 0)
    if name != "zero":
        moved = eqx.filter_jit(stirred(drift))(T, jnp.asarray(x), jnp.asarray(g))
        assert moved.shape == shape
        assert np.abs(moved).min() > 0


@every
def test_single_precision_stays_single(name):
    drift = jax.tree.map(
        lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, DRIFTS[name](3)
    )
    x = jnp.ones(3, jnp.float32)
    out = eqx.filter_eval_shape(drift, T.astype(jnp.float32), x, x)
    assert out.dtype == jnp.float32


def test_frozen_leaves_are_not_trained():
    drift = DRIFTS["mlp, features"](3)
    flags = dict(named_leaves(trainable(drift)))
    assert {name.split(".")[1].split("[")[0] for name, flag in flags.items() if flag} == {"mlp"}
    gradient = eqx.filter_grad(lambda d: jnp.sum(d(T, jnp.ones(3), jnp.ones(3)) ** 2))(
        stirred(drift)
    )
    for name, leaf in named_leaves(eqx.filter(gradient, eqx.is_array)):
        assert name.startswith(".mlp") == bool(np.any(np.asarray(leaf) != 0)), name


def test_time_features():
    t = jnp.asarray(0.37)
    phase = 0.37 * np.pi / 2 * 2.0 ** np.arange(8)
    np.testing.assert_allclose(
        time_features(t), np.concatenate([[0.37], np.sin(phase), np.cos(phase)]), atol=1e-14
    )


def test_random_fourier():
    fourier = RandomFourier(2, 5000, 0.7, key=KEY)
    frequencies = np.asarray(fourier.frequencies.value)
    assert frequencies.std() == pytest.approx(0.7, rel=0.03)
    x = jnp.array([0.4, -1.0])
    phase = frequencies @ np.asarray(x)
    np.testing.assert_allclose(fourier(x), np.concatenate([np.sin(phase), np.cos(phase)]))
    # Bochner: the mean of cos ω·(x − y) is the Gaussian kernel.
    y = jnp.array([-0.3, 0.2])
    kernel = float(fourier(x) @ fourier(y)) / 5000
    assert kernel == pytest.approx(np.exp(-0.5 * 0.49 * float(jnp.sum((x - y) ** 2))), abs=0.05)


def test_units_of_the_drift():
    """Scaling x, its scale and the output scale together scales the drift."""

    def drift(unit):
        return stirred(DriftMLP(2, width=8, scale=unit, out_scale=unit, key=KEY))

    x = jnp.array([0.4, -1.0])
    np.testing.assert_allclose(drift(5.0)(T, 5 * x), 5 * drift(1.0)(T, x), rtol=1e-12)


def test_score_enters_squashed():
    drift = stirred(DriftMLP(2, width=8, score_scale=0.5, key=KEY))
    x = jnp.array([0.4, -1.0])
    near, far = drift(T, x, jnp.ones(2)), drift(T, x, 2 * jnp.ones(2))
    assert np.abs(near - far).max() > 1e-4
    huge = [drift(T, x, s * jnp.ones(2)) for s in (1e12, 1e13)]
    np.testing.assert_allclose(*huge, rtol=1e-6)


def test_free_energy_starts_at_zero_and_ends_where_it_is_taught():
    free = FreeEnergy(8, 2, key=KEY)
    assert free(T) == 0
    moved = stirred(free)
    assert moved(jnp.zeros(())) == 0
    assert abs(moved(jnp.ones(()))) > 1e-3
    assert moved(T).shape == ()


def test_score_cut():
    """No effect below the limit; at most limit √d / √v beyond, the direction kept."""
    cut, t = ScoreCut(VARIANCE, 3.0), jnp.asarray(0.2)
    root = np.sqrt(float(VARIANCE(t)))
    small = jnp.array([1.0, -2.0, 0.5]) / root
    np.testing.assert_array_equal(cut(t, small), small)
    large = 1e5 * small
    np.testing.assert_allclose(jnp.linalg.norm(cut(t, large)) * root, 3 * np.sqrt(3), rtol=1e-12)
    np.testing.assert_allclose(
        cut(t, large) / jnp.linalg.norm(cut(t, large)), small / jnp.linalg.norm(small), rtol=1e-12
    )
    np.testing.assert_array_equal(cut(t, jnp.zeros(3)), 0)
    assert np.all(np.isfinite(jax.jacfwd(lambda g: cut(t, g))(jnp.zeros(3))))


def test_skip_contains_the_exact_drift_of_a_mixture_path():
    """b = x/t − v g/t + (v'/2) g with one common variance v."""
    path, v = MixturePath(gaussian_mixture(2, 5), 4.0), MixtureVariance(4.0, 1.0)
    t = jnp.asarray(0.6)
    rate = jax.grad(v)(t)
    coefficients = jnp.array([1 / t, -1 / t + 0.5 * rate / v(t)])
    skip = ScoreSkip(Zero(), v, width=4, limit=1e6, key=KEY)
    skip = eqx.tree_at(lambda s: s.coefficients.layers[-1].bias, skip, coefficients)
    x = np.random.default_rng(3).normal(size=(20, 2)) * 3

    def both(y):
        return skip(t, y, jax.grad(path.at(t))(y)), path.exact_drift(t, y)

    ours, exact = jax.jit(jax.vmap(both))(x)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-11)


def test_sampler_trains_its_two_networks():
    model = DriftAndFreeEnergy(DRIFTS["skip"](2), FreeEnergy(8, key=KEY))
    names = [name for name, flag in named_leaves(trainable(model)) if flag]
    assert {name.split(".")[1] for name in names} == {"drift", "free_energy"}
    assert not any("cut" in name for name in names)
