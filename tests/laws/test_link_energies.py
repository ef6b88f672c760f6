"""Laws of energies on links: one dictionary of all members, the same questions to each.

1. One field gives one real scalar of the field's precision, single or double.
2. The gradient is the derivative along e^{sX} U; gauge transformations change nothing.
3. The terms of a local energy add up to it.
4. Every number is a strong-typed array.
5. The space refuses a batch with the word vmap.
6. A distribution is normalised: E e^{−U} = 1 under Haar.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward.targets as targets
from pushforward._errors import InputError
from pushforward.spaces import SU2, SUN, U1, Lattice, LinkSpace
from pushforward.targets import (
    AbstractDistribution,
    AbstractLocalEnergy,
    CharacterAction,
    Haar,
    OnePlaquette,
    WilsonAction,
)

ENERGIES = {
    "WilsonAction U1": lambda: WilsonAction(2.0, Lattice((3, 2)), U1()),
    "WilsonAction SU2": lambda: WilsonAction(2.0, Lattice((2, 3)), SU2()),
    "WilsonAction SU3": lambda: WilsonAction(5.0, Lattice((2, 1)), SUN(3)),
    "CharacterAction U1": lambda: CharacterAction(2.0, 1, Lattice((2, 3)), U1()),
    "CharacterAction SU2": lambda: CharacterAction(2.0, 1, Lattice((2, 2)), SU2()),
    "OnePlaquette SU2": lambda: OnePlaquette(2.0, 1, SU2()),
    "Haar": lambda: Haar(LinkSpace(SU2(), Lattice((2, 2)))),
}
every = pytest.mark.parametrize("name", ENERGIES)


@functools.cache
def build(name):
    return ENERGIES[name]()


def gauge_transformed(space, x, key):
    group, lattice = space.group, space.lattice
    g = group.haar(lattice.shape, key=key)
    moved = [
        group.mul(group.mul(g, x[mu]), group.adjoint(lattice.shift(g, mu)))
        for mu in range(lattice.ndim)
    ]
    return jnp.stack(moved)


@every
def test_value_gradient_symmetry_and_terms(name):
    energy = build(name)
    space = energy.space
    step = 1e-5

    @jax.jit
    def laws(key):
        x = space.reference(key=jax.random.fold_in(key, 0))
        v = space.noise(x, key=jax.random.fold_in(key, 1))
        up, down = (energy(space.retract(x, s * v)) for s in (step, -step))
        y = gauge_transformed(space, x, jax.random.fold_in(key, 2))
        terms = energy.terms(x) if isinstance(energy, AbstractLocalEnergy) else energy(x)
        slope = space.inner(space.gradient(energy, x), v)
        return energy(x), energy(y), jnp.sum(terms), slope, (up - down) / (2 * step)

    for seed in range(2):
        value, moved, terms, slope, difference = laws(jax.random.key(seed))
        assert value.shape == ()
        assert value.dtype == jnp.float64
        np.testing.assert_allclose(moved, value, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(terms, value, rtol=1e-13)
        np.testing.assert_allclose(slope, difference, rtol=0, atol=1e-7)
        assert name == "Haar" or abs(slope) > 1e-3


@every
def test_single_precision_stays_single(name):
    with jax.enable_x64(False):
        energy = ENERGIES[name]()
        space = energy.space
        point = jax.eval_shape(lambda key: space.reference(key=key), jax.random.key(0))
        value = jax.eval_shape(energy, point)
        gradient = jax.eval_shape(lambda x: space.gradient(energy, x), point)
        assert gradient == point
        assert value.dtype == jnp.finfo(point.dtype).dtype == jnp.float32
        if isinstance(energy, AbstractDistribution):
            assert jax.eval_shape(lambda key: energy.sample(key=key), jax.random.key(0)) == point


@every
def test_numbers_are_strong_and_batches_are_refused(name):
    energy = build(name)
    for leaf in jax.tree.leaves(energy):
        assert eqx.is_array(leaf)
        assert not leaf.weak_type
    space = energy.space
    batch = jnp.zeros((5, *space.shape), space.group.default_dtype)
    with pytest.raises(InputError, match="vmap"):
        space.check(batch)
    assert energy.at(0.3) is energy


@pytest.mark.parametrize("name", [n for n in ENERGIES if n.startswith(("OnePlaquette", "Haar"))])
def test_distributions_are_normalised(name):
    energy = build(name)
    keys = jax.random.split(jax.random.key(4), 20_000)
    density = jax.jit(jax.vmap(lambda k: jnp.exp(-energy(energy.space.reference(key=k)))))(keys)
    error = float(density.std()) / np.sqrt(20_000)
    assert abs(density.mean() - 1) <= 4.5 * error + 1e-12
    assert isinstance(energy, AbstractDistribution)


def test_no_member_is_missing():
    on_links = {targets.WilsonAction, targets.Haar, targets.CharacterAction, targets.OnePlaquette}
    assert on_links == {type(build(name)) for name in ENERGIES}
