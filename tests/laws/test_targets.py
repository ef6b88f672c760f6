"""Laws of every energy: one dictionary of all members, the same questions to each.

1. One sample gives one real scalar of the sample's precision, single or double; vmap and a
   loop agree.
2. The gradient is the derivative (finite differences).
3. The terms of a local energy add up to it.
4. Every number is a strong-typed array, so that a second value never compiles again.
5. A distribution samples what its energy says: E ∂_i U = 0 and E x_i ∂_i U = 1 (Stein).
6. A batch is refused by its space with the word vmap.
7. No public energy is missing from the dictionary.
"""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward.targets as targets
from pushforward._errors import InputError
from pushforward.spaces import Euclidean
from pushforward.targets import (
    AbstractDistribution,
    AbstractEnergy,
    AbstractFiniteEnergy,
    AbstractLocalEnergy,
    BosonAction,
    Bounded,
    DenseAction,
    DoubleWell,
    Energy,
    FreeField,
    Funnel,
    Gaussians,
    Ladder,
    LowerTriangular,
    ManyWell,
    Mixture,
    Normal,
    Phi4,
    Positive,
    PseudofermionAction,
    Real,
    Simplex,
    SpinFermion,
    StudentT,
    Transformed,
    gaussian_mixture,
    gmm40,
    mix,
    student_mixture,
)


def _bounded_parameters(p):
    return (
        -p["tau"]
        - jnp.sum((p["mu"] - 1) ** 2)
        + jnp.sum(jnp.log(p["share"]) * jnp.arange(1.0, 4.0))
        - jnp.sum(p["chol"] ** 2)
        + 0.3 * p["angle"]
    )


ENERGIES = {
    "Energy": lambda: Energy(lambda x: jnp.sum(jnp.cosh(x)) + x[0] * x[1], Euclidean(3)),
    "Normal": lambda: Normal(3, mean=jnp.array([1.0, -2.0, 0.5]), scale=1.7),
    "Normal lattice": lambda: Normal((3, 2), mean=0.3, scale=jnp.full((3, 2), 0.4)),
    "StudentT": lambda: StudentT(3, df=3.0, mean=1.5, scale=2.0),
    "gmm40": gmm40,
    "gaussian_mixture": lambda: gaussian_mixture(5, modes=3),
    "student_mixture": lambda: student_mixture(3, modes=4),
    "Gaussians": lambda: Gaussians(
        jnp.log(jnp.array([0.3, 0.7])),
        jnp.array([[1.0, 2.0], [-1.0, 0.0]]),
        jnp.array([[1.5, 0.2], [0.3, 0.8]]),
        jnp.array([[[0.6, -0.8], [0.8, 0.6]], [[0.0, -1.0], [1.0, 0.0]]]),
    ),
    "Mixture": lambda: Mixture.of(
        [Normal(2, 1.0, 0.5), Normal(2, -2.0, 1.5)], jnp.log(jnp.array([0.2, 0.8]))
    ),
    "Funnel": lambda: Funnel(4),
    "DoubleWell": lambda: DoubleWell(2),
    "ManyWell": lambda: ManyWell(3),
    "Phi4": lambda: Phi4((4, 3), m2=-1.0, coupling=0.9),
    "Phi4 ring": lambda: Phi4(5, m2=-4.0, coupling=1.0),
    "FreeField": lambda: FreeField((4, 6), m2=0.5),
    "FreeField ring": lambda: FreeField(7, m2=0.25),
    "FreeField 4-D": lambda: FreeField((2, 3, 2, 2), m2=1.0),
    "Transformed": lambda: Transformed.from_log_density(
        _bounded_parameters,
        {
            "tau": Positive(),
            "mu": Real((2, 2)),
            "share": Simplex(3),
            "chol": LowerTriangular(2),
            "angle": Bounded(-jnp.pi, jnp.pi),
        },
    ),
    "BosonAction": lambda: BosonAction(SpinFermion((2, 1), 3, velocity=1.5)),
    "DenseAction": lambda: DenseAction(SpinFermion((2, 1), 3, coupling=jnp.array([[1.1], [-0.6]]))),
    "DenseAction, Ising": lambda: DenseAction(SpinFermion((2, 1), 3, num_components=1), 2),
    "PseudofermionAction": lambda: PseudofermionAction(SpinFermion((1, 2), 2, potential=0.3)),
    "Ladder": lambda: Ladder(
        eqx.filter_vmap(lambda m, s: Normal(2, m, s))(jnp.array([0.0, 2.0]), jnp.array([1.0, 0.4]))
    ),
    "Mixed": lambda: mix([gmm40(), Normal(2)], jnp.array([0.3, 0.7])),
    "MixedLocal": lambda: mix([Phi4((2, 2), 1.0, 0.5), Normal((2, 2))], jnp.array([0.3, 0.7])),
}
DISTRIBUTIONS = [
    "Normal",
    "Normal lattice",
    "StudentT",
    "gmm40",
    "gaussian_mixture",
    "student_mixture",
    "Gaussians",
    "Mixture",
    "Funnel",
    "FreeField",
    "FreeField ring",
    "FreeField 4-D",
]


LOCAL = [
    "Normal",
    "Normal lattice",
    "StudentT",
    "Funnel",
    "DoubleWell",
    "ManyWell",
    "Phi4",
    "Phi4 ring",
    "FreeField",
    "FreeField ring",
    "FreeField 4-D",
    "BosonAction",
    "Ladder",
    "MixedLocal",
]


@pytest.fixture(autouse=True)
def _strict():
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


@functools.cache
def build(name):
    """Make a member once, in double precision (the tests run under `_strict`)."""
    return ENERGIES[name]()


@pytest.fixture(params=ENERGIES)
def energy(request):
    return build(request.param)


def draws(energy, num, seed=0):
    """Reference points of the energy's space."""
    keys = jax.random.split(jax.random.key(seed), num)
    return jax.vmap(lambda key: energy.space.reference(key=key))(keys)


def assert_gradient(fn, x, *, tol=1e-6, step=1e-5):
    """Compare ∇fn with central differences, relative to the largest component."""
    gradient = np.ravel(jax.jit(jax.grad(fn))(x))
    steps = step * np.eye(x.size).reshape(x.size, *x.shape)
    values = jax.jit(jax.vmap(fn))
    difference = np.asarray(values(x[None] + steps) - values(x[None] - steps)) / (2 * step)
    np.testing.assert_allclose(gradient, difference, rtol=0, atol=tol * (1 + abs(gradient).max()))


def test_one_sample_gives_one_scalar(energy):
    points = draws(energy, 3)
    value = eqx.filter_jit(lambda x: energy(x))(points[0])
    assert value.shape == ()
    assert value.dtype == points.dtype == jnp.float64
    assert energy.at(0.3) is energy
    one_by_one = eqx.filter_jit(lambda xs: jax.lax.map(energy, xs))(points)
    together = eqx.filter_jit(lambda xs: jax.vmap(energy)(xs))(points)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ENERGIES)
def test_single_precision_stays_single(name):
    with jax.enable_x64(False):
        energy = ENERGIES[name]()
        point = jax.eval_shape(lambda key: energy.space.reference(key=key), jax.random.key(0))
        value, gradient = jax.eval_shape(lambda x: jax.value_and_grad(energy)(x), point)
        assert {point.dtype, value.dtype, gradient.dtype} == {jnp.dtype("float32")}
        if isinstance(energy, AbstractDistribution):
            draw = jax.eval_shape(lambda key: energy.sample(key=key), jax.random.key(0))
            assert draw == point


def test_gradient_is_the_derivative(energy):
    for x in draws(energy, 2, seed=1):
        assert_gradient(energy, x)


def test_a_wrong_gradient_is_found():
    @jax.custom_jvp
    def square(x):
        return jnp.sum(x * x)

    square.defjvp(lambda primals, tangents: (square(*primals), jnp.sum(primals[0] * tangents[0])))
    with pytest.raises(AssertionError):
        assert_gradient(square, jnp.array([1.0, 2.0]))


@pytest.mark.parametrize("name", LOCAL)
def test_terms_add_up(name):
    energy = build(name)
    both = eqx.filter_jit(lambda x: (jnp.sum(energy.terms(x)), energy(x)))
    for x in draws(energy, 2, seed=2):
        np.testing.assert_allclose(*both(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [n for n in LOCAL if "Phi4" in n or "Field" in n])
def test_lattice_energies_have_one_term_a_site(name):
    energy = build(name)
    point = jax.ShapeDtypeStruct(energy.space.shape, float)
    assert jax.eval_shape(lambda x: energy.terms(x), point) == point


def test_numbers_are_strong_typed_arrays(energy):
    for leaf in jax.tree.leaves(energy):
        if callable(leaf):
            continue
        assert eqx.is_array(leaf)
        assert not leaf.weak_type


def _stein(energy, samples):
    """Return the z-scores of E ∂_i U = 0 and E x_i ∂_i U = 1 over all coordinates."""
    gradient = eqx.filter_jit(lambda xs: jax.vmap(jax.grad(energy))(xs))(samples)
    num = samples.shape[0]
    values = np.stack([gradient, samples * gradient - 1]).reshape(2, num, -1)
    return values.mean(1) / (values.std(1) / np.sqrt(num))


def _samples(energy, num=10_000, seed=3):
    keys = jax.random.split(jax.random.key(seed), num)
    return eqx.filter_jit(jax.vmap(lambda key: energy.sample(key=key)))(keys)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_samples_follow_the_energy(name):
    energy = build(name)
    samples = _samples(energy)
    assert samples.shape[1:] == energy.space.shape
    assert samples.dtype == jnp.float64
    assert np.abs(_stein(energy, samples)).max() < 4.8
    assert np.abs(_stein(energy, 1.1 * samples)).max() > 6  # twin: a wrong width
    np.testing.assert_allclose(energy.log_prob(samples[0]), -energy(samples[0]), rtol=1e-14)


@pytest.mark.parametrize(
    ("names", "kind"), [(DISTRIBUTIONS, AbstractDistribution), (LOCAL, AbstractLocalEnergy)]
)
def test_the_lists_of_kinds_are_complete(names, kind):
    assert names == [name for name in ENERGIES if isinstance(build(name), kind)]


def test_a_batch_is_refused_by_the_space(energy):
    with pytest.raises(InputError, match="vmap"):
        energy.space.check(jnp.zeros((5, *energy.space.shape)))


def test_no_public_energy_is_missing():
    public = {
        cls
        for cls in vars(targets).values()
        if inspect.isclass(cls) and issubclass(cls, AbstractEnergy) and not inspect.isabstract(cls)
    }
    public = {cls for cls in public if not issubclass(cls, AbstractFiniteEnergy)}  # their own file
    public -= {targets.NumPyroEnergy}  # tests/targets/test_numpyro.py: it needs an extra
    public -= {
        targets.WilsonAction,
        targets.Haar,
        targets.CharacterAction,
        targets.OnePlaquette,
    }  # too
    assert public <= {type(build(name)) for name in ENERGIES}
