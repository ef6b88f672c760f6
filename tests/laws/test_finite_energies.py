"""Laws of every energy on a finite space: one dictionary of all members.

1. `local_differences` are those of brute force, one for every move; back they change sign.
2. There is one term a site, and they add up to U.
3. Single precision stays single.
4. Every number is a strong-typed array.
5. A distribution is normalised and samples its law.
6. No public finite energy is missing.
"""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward.targets as targets
from pushforward.spaces import Spins
from pushforward.targets import (
    AbstractDistribution,
    AbstractFiniteEnergy,
    FiniteEnergy,
    Ising,
    ProductMeasure,
    Uniform,
    mix,
)
from pushforward.targets.exact import enumerate_states

FIELD = np.linspace(-0.4, 0.7, 12).reshape(3, 4)
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 4))


def odd_function(x):
    flat = jnp.ravel(x)
    return jnp.sin(2 * jnp.sum(flat * jnp.arange(12.0))) + flat[0] * flat[5] * flat[7]


ENERGIES = {
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


every = pytest.mark.parametrize("name", ENERGIES)
BASES = ["Uniform", "ProductMeasure"]


@every
def test_local_differences_are_brute_force(name):
    energy = ENERGIES[name]()
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


@pytest.mark.parametrize("name", BASES)
def test_bases_are_normalised_and_sample_their_law(name):
    base = ENERGIES[name]()
    law = enumerate_states(base)
    assert abs(law.log_z) < 1e-12
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: base.sample(key=key))(keys)
    exact = law.mean(lambda x: x)
    error = np.sqrt((1 - exact**2) / 20_000)
    assert (np.abs(np.asarray(draws).mean(0) - exact) < 4.5 * error).all()
    if isinstance(base, ProductMeasure):  # twin: labels swapped
        assert (np.abs(np.asarray(-draws).mean(0) - exact) > 10 * error).any()


@every
def test_single_precision_stays_single(name):
    with jax.enable_x64(False):
        energy = ENERGIES[name]()
        x = jax.eval_shape(lambda key: energy.space.reference(key=key), jax.random.key(0))
        out = jax.eval_shape(lambda x: (energy(x), energy.terms(x), energy.local_differences(x)), x)
        assert {x.dtype, *(leaf.dtype for leaf in out)} == {jnp.dtype("float32")}


@every
def test_numbers_are_strong_typed_arrays(name):
    for leaf in jax.tree.leaves(ENERGIES[name]()):
        assert callable(leaf) or (eqx.is_array(leaf) and not leaf.weak_type)


def test_the_lists_are_complete():
    energies = {name: make() for name, make in ENERGIES.items()}
    assert BASES == [n for n, e in energies.items() if isinstance(e, AbstractDistribution)]
    public = {
        cls
        for cls in vars(targets).values()
        if inspect.isclass(cls)
        and issubclass(cls, AbstractFiniteEnergy)
        and not inspect.isabstract(cls)
    }
    assert public <= {type(energy) for energy in energies.values()}
