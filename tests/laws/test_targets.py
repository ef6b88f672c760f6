"""Laws of every energy: on R^n, on links, on finite spaces; the same questions to each.

All of them:
1. One sample gives one real scalar of the sample's precision, single or double.
2. Every number is a strong-typed array, so that a second value never compiles again.
3. A batch is refused by its space with the word vmap.
4. The terms of a local energy add up to it.
5. No public energy is missing from the dictionaries.
On R^n: vmap and a loop agree; the gradient is the derivative (finite differences); a distribution
samples what its energy says, E ∂_i U = 0 and E x_i ∂_i U = 1 (Stein).
On links: the gradient is the derivative along e^{sX} U; gauge transformations change nothing, nor
do translations of a local energy; a distribution is normalised, E e^{−U} = 1 under Haar.
On finite spaces: `local_differences` are those of brute force, one for every move, and back they
change sign; one term a site; a distribution is normalised and samples its law.
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
from pushforward.recipes import multiscale
from pushforward.spaces import SU2, SUN, U1, AbstractManifold, Euclidean, Lattice, LinkSpace, Spins
from pushforward.targets import (
    AbstractDistribution,
    AbstractEnergy,
    AbstractFiniteEnergy,
    AbstractLocalEnergy,
    BosonAction,
    Bounded,
    CharacterAction,
    DenseAction,
    DoubleWell,
    Energy,
    FiniteEnergy,
    FreeField,
    Funnel,
    Gaussians,
    Haar,
    Ising,
    Ladder,
    LowerTriangular,
    ManyWell,
    Mixture,
    Normal,
    OnePlaquette,
    Phi4,
    Positive,
    ProductMeasure,
    PseudofermionAction,
    Real,
    Simplex,
    SpinFermion,
    StudentT,
    Transformed,
    Uniform,
    WilsonAction,
    gaussian_mixture,
    gmm40,
    mix,
    student_mixture,
)
from pushforward.targets.exact import enumerate_states


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
LINKS = {
    "WilsonAction U1": lambda: WilsonAction(2.0, Lattice((3, 2)), U1()),
    "WilsonAction SU2": lambda: WilsonAction(2.0, Lattice((2, 3)), SU2()),
    "WilsonAction SU3": lambda: WilsonAction(5.0, Lattice((2, 1)), SUN(3)),
    "CharacterAction U1": lambda: CharacterAction(2.0, 1, Lattice((2, 3)), U1()),
    "CharacterAction SU2": lambda: CharacterAction(2.0, 1, Lattice((2, 2)), SU2()),
    "OnePlaquette SU2": lambda: OnePlaquette(2.0, 1, SU2()),
    "CharacterAction SU2, level 2": lambda: CharacterAction(3.0, 2, Lattice((2, 3)), SU2()),
    "Haar": lambda: Haar(LinkSpace(SU2(), Lattice((2, 2)))),
}
FIELD = np.linspace(-0.4, 0.7, 12).reshape(3, 4)
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 4))


def odd_function(x):
    flat = jnp.ravel(x)
    return jnp.sin(2 * jnp.sum(flat * jnp.arange(12.0))) + flat[0] * flat[5] * flat[7]


FINITE = {
    "Ising": lambda: Ising((3, 4), 0.4407),
    "Ising, field": lambda: Ising((3, 4), 0.3, FIELD),
    "Ising ring": lambda: Ising(5, 0.7, 0.2),
    "Ising, double bonds": lambda: Ising((2, 2), 0.3, 0.1),
    "Ising, one double extent": lambda: Ising((2, 3), 0.3),
    "Ising cube": lambda: Ising((2, 3, 2), -0.2),
    "FiniteEnergy": lambda: FiniteEnergy(odd_function, Spins((3, 4))),
    "Uniform": lambda: Uniform(Spins((3, 4))),
    "ProductMeasure": lambda: ProductMeasure(LOGITS, Spins((3, 4))),
    "mix": lambda: mix(
        [Uniform(Spins((3, 4))), Ising((3, 4), 0.4), FiniteEnergy(odd_function, Spins((3, 4)))],
        jnp.array([0.3, 0.5, 0.2]),
    ),
}
ALL = ENERGIES | LINKS | FINITE
DENSITY_ONLY = {"MultiscaleFlow SU2": lambda: multiscale((2, 2), 2.0, SU2())}
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


@functools.cache
def build(name):
    """Make a member once, in double precision."""
    return (ALL | DENSITY_ONLY)[name]()


every = pytest.mark.parametrize("name", ALL)
on_links = pytest.mark.parametrize("name", LINKS | DENSITY_ONLY)
on_finite_spaces = pytest.mark.parametrize("name", FINITE)


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
    one_by_one = eqx.filter_jit(lambda xs: jax.lax.map(energy, xs))(points)
    together = eqx.filter_jit(lambda xs: jax.vmap(energy)(xs))(points)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-13, atol=1e-13)


@every
def test_single_precision_stays_single(name):
    with jax.enable_x64(False):
        energy = ALL[name]()
        space = energy.space
        point = jax.eval_shape(lambda key: space.reference(key=key), jax.random.key(0))
        real = jnp.finfo(point.dtype).dtype
        assert real == jax.eval_shape(energy, point).dtype == jnp.float32
        if isinstance(space, AbstractManifold):
            assert jax.eval_shape(lambda x: space.gradient(energy, x), point) == point
        else:
            both = jax.eval_shape(lambda x: (energy.terms(x), energy.local_differences(x)), point)
            assert {leaf.dtype for leaf in both} == {real}
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


@every
def test_numbers_are_strong_and_batches_are_refused(name):
    energy = build(name)
    for leaf in jax.tree.leaves(energy):
        assert callable(leaf) or (eqx.is_array(leaf) and not leaf.weak_type)
    space = energy.space
    point = jax.eval_shape(lambda key: space.reference(key=key), jax.random.key(0))
    with pytest.raises(InputError, match="vmap"):
        space.check(jnp.zeros((5, *space.shape), point.dtype))
    assert energy.at(0.3) is energy


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


def gauge_transformed(space, x, key):
    group, lattice = space.group, space.lattice
    g = group.haar(lattice.shape, key=key)
    moved = [
        group.mul(group.mul(g, x[mu]), group.adjoint(lattice.shift(g, mu)))
        for mu in range(lattice.ndim)
    ]
    return jnp.stack(moved)


@on_links
def test_value_gradient_symmetry_and_terms_on_links(name):
    energy = build(name)
    space = energy.space
    step = 1e-5

    @jax.jit
    def laws(key):
        x = space.reference(key=jax.random.fold_in(key, 0))
        v = space.noise(x, key=jax.random.fold_in(key, 1))
        up, down = (energy(space.retract(x, s * v)) for s in (step, -step))
        y = gauge_transformed(space, x, jax.random.fold_in(key, 2))
        local = isinstance(energy, AbstractLocalEnergy)
        terms = energy.terms(x) if local else energy(x)
        shifted = energy(space.lattice.shift(x, 1)) if local else energy(x)
        slope = space.inner(space.gradient(energy, x), v)
        difference = (up - down) / (2 * step)
        return energy(x), energy(y), shifted, jnp.sum(terms), slope, difference

    for seed in range(2):
        value, moved, shifted, terms, slope, difference = laws(jax.random.key(seed))
        assert value.shape == ()
        assert value.dtype == jnp.float64
        np.testing.assert_allclose(moved, value, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(shifted, value, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(terms, value, rtol=1e-13)
        np.testing.assert_allclose(slope, difference, rtol=0, atol=1e-7)
        assert name == "Haar" or abs(slope) > 1e-3


@pytest.mark.parametrize("name", [n for n in LINKS if n.startswith(("OnePlaquette", "Haar"))])
def test_distributions_on_links_are_normalised(name):
    energy = build(name)
    keys = jax.random.split(jax.random.key(4), 20_000)
    density = jax.jit(jax.vmap(lambda k: jnp.exp(-energy(energy.space.reference(key=k)))))(keys)
    error = float(density.std()) / np.sqrt(20_000)
    assert abs(density.mean() - 1) <= 4.5 * error + 1e-12
    assert isinstance(energy, AbstractDistribution)


@on_finite_spaces
def test_local_differences_are_brute_force(name):
    energy = build(name)
    assert isinstance(energy, AbstractFiniteEnergy)
    space = energy.space

    @jax.jit
    def compare(key):
        x = space.reference(key=key)
        flips = jax.vmap(lambda k: energy(space.move(x, k)) - energy(x))(jnp.arange(space.size))
        y = space.move(x, jnp.asarray(1))
        there, back = energy.local_differences(x), energy.local_differences(y)
        both = jnp.stack([jnp.ravel(there)[1], jnp.ravel(back)[1]])
        return there, flips.reshape(space.shape), both, energy.terms(x), energy(x)

    for seed in range(3):
        local, flips, both, terms, total = compare(jax.random.key(seed))
        np.testing.assert_allclose(local, flips, rtol=0, atol=2e-14)
        assert both[0] == -both[1]
        assert terms.shape == space.shape
        np.testing.assert_allclose(np.sum(terms), total, rtol=1e-13)


@pytest.mark.parametrize("name", ["Uniform", "ProductMeasure"])
def test_bases_are_normalised_and_sample_their_law(name):
    base = build(name)
    law = enumerate_states(base)
    assert abs(law.log_z) < 1e-12
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: base.sample(key=key))(keys)
    exact = law.mean(lambda x: x)
    error = np.sqrt((1 - exact**2) / 20_000)
    assert (np.abs(np.asarray(draws).mean(0) - exact) < 4.5 * error).all()
    if isinstance(base, ProductMeasure):  # twin: labels swapped
        assert (np.abs(np.asarray(-draws).mean(0) - exact) > 10 * error).any()


def test_no_public_energy_is_missing():
    public = {
        cls
        for cls in vars(targets).values()
        if inspect.isclass(cls) and issubclass(cls, AbstractEnergy) and not inspect.isabstract(cls)
    }
    public -= {targets.NumPyroEnergy}  # tests/targets/test_numpyro.py: it needs an extra
    assert public <= {type(build(name)) for name in ALL}
    on_finite = [n for n in ALL if isinstance(build(n), AbstractFiniteEnergy)]
    assert on_finite == list(FINITE)
