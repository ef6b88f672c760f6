"""Laws of annealings: right at both ends, ∂_t U the derivative, mixtures normalised throughout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.dynamics import transport_rate
from pushforward.paths import Annealing, ExponentialWarp, MixturePath, ParameterPath
from pushforward.spaces import Euclidean
from pushforward.targets import (
    AbstractLocalEnergy,
    DoubleWell,
    Energy,
    FreeField,
    Mixture,
    Normal,
    Phi4,
    StudentT,
    gmm40,
    student_mixture,
)
from pushforward.targets.exact import well_log_z

MIXTURE = Mixture.of([Normal(1, -2.0, 0.5), Normal(1, 1.0, 0.8)], np.log([0.3, 0.7]))
PATHS = {
    "geometric": Annealing(Normal(2, 0.5, 2.0), DoubleWell(2)),
    "warped": Annealing(Normal(2), DoubleWell(2), ExponentialWarp(4.0)),
    "not local": Annealing(Normal(2), Energy(lambda x: jnp.sum(x**4), Euclidean(2))),
    "mixture": MixturePath(gmm40(), 5.0),
    "parameters": ParameterPath(
        lambda p: Phi4((2,), p[0], p[1]),
        lambda t: jnp.stack([1 - 2 * t, 0.9 * t]),
        FreeField((2,), 1.0),
    ),
}
every = pytest.mark.parametrize("name", PATHS)
X = np.random.default_rng(0).normal(size=(5, 2))


@every
def test_rate_is_the_derivative_in_time(name):
    path, h = PATHS[name], 1e-5
    energy = jax.jit(jax.vmap(path.energy, (None, 0)))
    rate = jax.jit(jax.vmap(path.denergy_dt, (None, 0)))
    for t in (0.2, 0.7):
        slope = (energy(t + h, X) - energy(t - h, X)) / (2 * h)
        np.testing.assert_allclose(rate(t, X), slope, rtol=1e-7, atol=1e-7)


@every
def test_ends(name):
    path, zero, one = PATHS[name], jnp.zeros(()), jnp.ones(())
    base, start = (jax.vmap(e)(X) for e in (path.base, path.at(zero)))
    # Equal up to the constant that the base of a `ParameterPath` may carry.
    np.testing.assert_allclose(start - start[0], base - base[0], rtol=0, atol=1e-11)
    if name != "parameters":
        np.testing.assert_allclose(start, base, rtol=1e-13)
        np.testing.assert_allclose(jax.vmap(path.at(one))(X), jax.vmap(path.target)(X), rtol=1e-13)
    assert path.space == path.at(one).space


def test_geometric_path_is_local_when_its_ends_are():
    half = jnp.asarray(0.5)
    assert isinstance(PATHS["geometric"].at(half), AbstractLocalEnergy)
    assert not isinstance(PATHS["not local"].at(half), AbstractLocalEnergy)
    t, x = jnp.asarray(0.3), jnp.array([0.2, -1.0])
    expected = 0.7 * Normal(2, 0.5, 2.0)(x) + 0.3 * DoubleWell(2)(x)
    np.testing.assert_allclose(PATHS["geometric"].energy(t, x), expected, rtol=1e-14)


def test_a_wall_counts_only_where_its_weight_is_positive():
    wall = Energy(lambda x: jnp.sum(jnp.where(x > 0, x, jnp.inf)), Euclidean(1))
    behind, zero = jnp.array([-1.0]), jnp.zeros(())
    for path in (Annealing(Normal(1), wall), Annealing(wall, Normal(1))):
        ends = [path.energy(t, behind) for t in (zero, jnp.asarray(0.5), jnp.ones(()))]
        assert np.isfinite(ends[0]) or np.isfinite(ends[2])
        assert np.isposinf(ends[1])
        assert np.isposinf(ends[0]) != np.isposinf(ends[2])


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
def test_mixture_path_is_normalised(t):
    path = MixturePath(MIXTURE, 3.0)
    assert abs(well_log_z(path.at(jnp.asarray(t)), -30, 30)) < 1e-10


def test_mixture_path_of_components_with_their_own_widths():
    """v_k(t) = (1 − t)² s_0² + t² s_k², means t μ_k, weights kept."""
    path, t = MixturePath(MIXTURE, 3.0), jnp.asarray(0.4)
    np.testing.assert_allclose(
        path.variance(t), (0.6 * 3) ** 2 + (0.4 * np.array([0.5, 0.8])) ** 2, rtol=1e-14
    )
    now = path.at(t)
    np.testing.assert_allclose(now.components.mean, [-0.8, 0.4])
    np.testing.assert_allclose(np.exp(now.log_weights), [0.3, 0.7])
    assert path.base_scale == 3


UNEQUAL = {
    "one scale a component": MIXTURE,
    "one scale a coordinate": Mixture.of(
        [Normal(2, [-2.0, 1.0], [0.5, 1.2]), Normal(2, [1.0, 0.0], [0.8, 0.3])], np.log([0.3, 0.7])
    ),
    "a lattice": Mixture.of([Normal((2, 2), -1.0, 0.5), Normal((2, 2), 1.0, 0.9)]),
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_exact_drift_transports_unequal_widths(name):
    """r = 0 also where the components have widths and weights of their own."""
    path = MixturePath(UNEQUAL[name], 3.0)
    x = np.random.default_rng(2).normal(size=(20, *path.space.shape)) * 3

    def rate(factor):
        def one(t, y):
            return transport_rate(path, lambda s, z, g: factor * path.exact_drift(s, z), t, y)

        return jax.jit(jax.vmap(one, (None, 0)))

    exact, twin = rate(1.0), rate(1.1)
    for t in (0.1, 0.5, 0.95):
        np.testing.assert_allclose(exact(t, x), 0, rtol=0, atol=1e-9)
        assert np.abs(twin(t, x)).max() > 1e-2


def test_bad_paths():
    with pytest.raises(InputError, match="give both the same space"):
        Annealing(Normal(2), DoubleWell(3))
    with pytest.raises(InputError, match="stacked Normal"):
        MixturePath(student_mixture(2, 3), 5.0)
    with pytest.raises(InputError, match="positive"):
        MixturePath(gmm40(), -1.0)
    assert isinstance(Annealing(StudentT(2), DoubleWell(2)).base, StudentT)
