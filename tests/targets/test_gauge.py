"""Wilson's action: the force against the staples written out, every symmetry, charges, bad input.

The staple sum here follows the formula site by site in NumPy and knows nothing of the package but
the shapes of its arrays.
"""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.estimators import mean_plaquette, topological_charge
from pushforward.spaces import SU2, SUN, U1, Lattice
from pushforward.targets import Haar, WilsonAction, plaquette_traces, plaquettes
from pushforward.targets.base import energy_and_gradient

GROUPS = {"U1": U1(), "SU2": SU2(), "SUN 3": SUN(3), "SUN 4": SUN(4)}
CASES = [
    ("U1", (3, 4), "scalar"),
    ("U1", (2, 3, 4), "array"),
    ("U1", (2, 3, 2, 3), "planes"),
    ("SU2", (3, 4), "array"),
    ("SUN 3", (3, 4), "scalar"),
    ("SUN 3", (2, 3, 4), "planes"),
    ("SUN 3", (2, 3, 2, 3), "array"),
    ("SUN 4", (3, 2), "array"),
]
every = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} {len(c[1])}D {c[2]}")


@functools.cache
def action(case):
    group, shape, kind = case
    lattice, rng = Lattice(shape), np.random.default_rng(0)
    planes = len(lattice.planes)
    beta = {
        "scalar": 2.3,
        "planes": rng.uniform(1, 3, (planes, *[1] * len(shape))),
        "array": rng.uniform(1, 3, (planes, *shape)),
    }[kind]
    return WilsonAction(beta, lattice, GROUPS[group])


@eqx.filter_jit
def evaluate(action, x):
    """Return S, ∇S and all observables."""
    gradient = energy_and_gradient(action, x)[1]
    return action(x), gradient, plaquette_traces(action.space, x)


@functools.cache
def field(case, seed=0):
    x = action(case).space.reference(key=jax.random.key(seed))
    return x if case[0] != "U1" else 5 * x  # angles need not be wrapped


def as_matrices(x, group):
    """Return links (d, *L, N, N)."""
    if isinstance(group, U1):
        return np.exp(1j * np.asarray(x))[..., None, None]
    return np.moveaxis(np.asarray(x), (1, 2), (-2, -1))


def staples(links, weights, planes, beta):
    """Return Σ_P β_P (staple) for every link, by loops over sites: U Σ summed as in the paper."""
    d, shape, n = links.shape[0], links.shape[1:-2], links.shape[-1]
    total = np.zeros_like(links)
    beta = np.broadcast_to(beta, (len(planes), *shape))
    dag = lambda m: m.conj().T  # noqa: E731

    def step(x, mu, s):
        y = list(x)
        y[mu] = (y[mu] + s) % shape[mu]
        return tuple(y)

    for x in np.ndindex(*shape):
        for mu, nu in itertools.permutations(range(d), 2):
            plane = planes.index((min(mu, nu), max(mu, nu)))
            right, up = step(x, mu, 1), step(x, nu, 1)
            down = step(x, nu, -1)
            ahead = links[(nu, *right)] @ dag(links[(mu, *up)]) @ dag(links[(nu, *x)])
            below = (
                dag(links[(nu, *step(right, nu, -1))])
                @ dag(links[(mu, *down)])
                @ links[(nu, *down)]
            )
            total[(mu, *x)] += beta[(plane, *x)] * ahead + beta[(plane, *down)] * below
    assert total.shape[-1] == n
    return weights * total


@every
def test_force_is_the_staple_formula(case):
    """∇S = (1/2N) P_TA(U Σ β_P staples); for U(1) β Σ sin θ_P around the link."""
    energy, x = action(case), field(case)
    group = energy.space.group
    links = as_matrices(x, group)
    product = links @ staples(links, 1.0, energy.space.lattice.planes, np.asarray(energy.beta))
    anti = 0.5 * (product - product.conj().swapaxes(-1, -2))
    _, gradient, _ = evaluate(energy, x)
    if isinstance(group, U1):
        expected = anti[..., 0, 0].imag
    else:
        trace = np.trace(anti, 0, -2, -1)[..., None, None] / group.n
        expected = np.moveaxis((anti - trace * np.eye(group.n)) / (2 * group.n), (-2, -1), (1, 2))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)
    assert np.abs(gradient).max() > 0.1


def transform(x, group, lattice, seed=3):
    """Return g(x) U_μ(x) g(x+μ)⁺ and g."""
    g = group.haar(lattice.shape, key=jax.random.key(seed))
    moved = [
        group.mul(group.mul(g, x[mu]), group.adjoint(lattice.shift(g, mu)))
        for mu in range(lattice.ndim)
    ]
    return jnp.stack(moved), g


@every
def test_gauge_invariance_of_observables_and_covariance_of_the_force(case):
    energy, x = action(case), field(case)
    group, lattice = energy.space.group, energy.space.lattice
    moved, g = transform(x, group, lattice)
    value, gradient, traces = evaluate(energy, x)
    new_value, new_gradient, new_traces = evaluate(energy, moved)
    np.testing.assert_allclose(new_value, value, rtol=1e-12)
    np.testing.assert_allclose(new_traces, traces, rtol=0, atol=1e-12)
    expected = gradient
    if not isinstance(group, U1):
        turn = lambda v: group.mul(group.mul(g, v), group.adjoint(g))  # noqa: E731
        expected = jax.vmap(turn)(gradient)
    np.testing.assert_allclose(new_gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=["U1", "SU3"])
def test_translations_charge_conjugation_and_the_hypercube(case):
    energy, x = action(case), field(case)
    value = evaluate(energy, x)[0]
    conjugate = -x if case[0] == "U1" else jnp.conj(x)
    translated = jnp.roll(x, (1, 2), (-2, -1))
    for y in (conjugate, translated):
        np.testing.assert_allclose(evaluate(energy, y)[0], value, rtol=1e-12)

    # Exchange the axes, and reflect axis 0: U_0(x) → U_0(−x−0)⁺.
    swapped = jnp.swapaxes(x[::-1], -2, -1)
    turned = WilsonAction(2.3, Lattice(case[1][::-1]), energy.space.group)
    np.testing.assert_allclose(evaluate(turned, swapped)[0], value, rtol=1e-12)
    flipped = jnp.flip(x, -2)
    back = jax.jit(energy.space.group.adjoint)(jnp.roll(flipped[0], -1, -2))
    reflected = jnp.stack([back, flipped[1]])
    np.testing.assert_allclose(evaluate(energy, reflected)[0], value, rtol=1e-12)
    twin = jnp.stack([flipped[0], flipped[1]])  # the direction of the links forgotten
    assert abs(evaluate(energy, twin)[0] - value) > 1e-3


def test_the_cold_field_and_the_couplings():
    """S = −β per plaquette at U = 1; a defect in one coupling shows in one term."""
    lattice = Lattice((4, 6))
    beta = np.full((1, 4, 6), 2.0)
    beta[0, 1, 2] = 0.5
    for group in (U1(), SU2(), SUN(3)):
        cold = jnp.stack([group.identity(lattice.shape)] * 2)
        energy = WilsonAction(beta, lattice, group)
        np.testing.assert_allclose(energy.terms(cold), -beta, rtol=1e-14)
        np.testing.assert_allclose(mean_plaquette(energy.space, cold), 1, rtol=1e-14)
    haar = Haar(energy.space)
    assert haar(cold) == 0
    assert haar.terms(cold).shape == energy.terms(cold).shape


def test_charge_of_flux_and_of_random_fields():
    """θ_P = 2πn/V everywhere has Q = n; any field an integer, gauge invariant, odd under parity."""
    lattice = Lattice((4, 6))
    space = WilsonAction(1.0, lattice, U1()).space
    charge = jax.jit(lambda x: topological_charge(space, x))
    x0, x1 = lattice.coordinates
    for n in (-3, 0, 1, 5):
        phi = 2 * np.pi * n / 24
        theta = np.stack([np.where(x0 == 3, -4 * phi * x1, 0.0), phi * x0])
        angles = np.asarray(plaquettes(space, jnp.asarray(theta)))
        np.testing.assert_allclose(np.exp(1j * angles), np.exp(1j * phi), atol=1e-13)
        np.testing.assert_allclose(charge(jnp.asarray(theta)), n, atol=1e-13)
    seen = set()
    for seed in range(8):
        x = space.reference(key=jax.random.key(seed))
        q = float(charge(x))
        assert abs(q - round(q)) < 1e-12
        np.testing.assert_allclose(charge(transform(x, U1(), lattice)[0]), q, atol=1e-12)
        np.testing.assert_allclose(charge(-x), -q, atol=1e-12)
        seen.add(round(q))
    assert len(seen) > 2
    with pytest.raises(InputError, match="U"):
        topological_charge(WilsonAction(1.0, lattice, SU2()).space, x)


def test_one_trace_over_beta():
    traces = []

    @eqx.filter_jit
    def f(energy, x):
        traces.append(0)
        return energy(x)

    x = jnp.zeros((2, 4, 4))
    for beta in (1, 2.0, np.float64(3.0), jnp.asarray(4.0)):
        f(WilsonAction(beta, Lattice((4, 4)), U1()), x)
    assert len(traces) == 1


def test_bad_arguments():
    with pytest.raises(InputError, match="two directions or more"):
        WilsonAction(1.0, Lattice((4,)), U1())
    for beta in (np.ones(4), np.ones((2, 4, 4)), np.ones((4, 4))):
        with pytest.raises(InputError, match=r"\(planes, \*L\) = \(1, 4, 4\)"):
            WilsonAction(beta, Lattice((4, 4)), U1())
