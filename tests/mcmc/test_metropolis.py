"""Independence Metropolis: exact on five states, as often accepted as Gaussian weights say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

from pushforward._errors import InputError
from pushforward.dynamics import compose
from pushforward.mcmc import HMC, IndependenceMetropolis
from pushforward.spaces import Euclidean
from pushforward.targets import AbstractDistribution, AbstractEnergy, Normal

PI = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
Q = np.array([0.3, 0.1, 0.2, 0.15, 0.25])


class Table(AbstractEnergy):
    """Five states, as numbers 0. to 4., with given energies."""

    energies: jax.Array
    space: Euclidean = Euclidean(())

    def __call__(self, x):
        return self.energies[x.astype(int)]


class Scripted(AbstractDistribution):
    """A law of five states whose draws are told."""

    probabilities: jax.Array
    drawn: jax.Array
    space: Euclidean = Euclidean(())

    def __call__(self, x):
        return -jnp.log(self.probabilities[x.astype(int)])

    def sample(self, *, key):
        return self.drawn


def transition_matrix(memory=lambda m: m):
    """Return P(x -> y) of the real kernel; `memory` breaks what it remembers."""
    target, states = Table(7.0 - jnp.log(PI)), jnp.arange(5.0)

    def acceptance(x, y):
        kernel = IndependenceMetropolis(target, Scripted(jnp.asarray(Q), y))
        start = kernel.init(x, jnp.ones(()), key=jax.random.key(0))
        start = eqx.tree_at(lambda s: s.memory, start, memory(start.memory))
        end, info = kernel.step(start, jnp.ones(()), jnp.ones(()), key=jax.random.key(0))
        return info.acceptance, end

    pairs = jax.vmap(jax.vmap(acceptance, (None, 0)), (0, None))
    accepted, end = jax.jit(pairs)(states, states)
    matrix = np.array(accepted) * Q
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(matrix, 1 - matrix.sum(1))
    return matrix, end


def test_detailed_balance_on_five_states():
    matrix, end = transition_matrix()
    flow = PI[:, None] * matrix
    np.testing.assert_allclose(flow, flow.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(PI @ matrix, PI, rtol=0, atol=1e-12)
    assert matrix.min() >= 0
    # The state that is left is whole: energy and memory belong to its x.
    k = np.asarray(end.x).astype(int)
    np.testing.assert_allclose(end.energy, 7 - np.log(PI[k]), atol=1e-14)
    np.testing.assert_allclose(end.memory, -np.log(Q[k]), atol=1e-14)


@pytest.mark.parametrize("broken", [lambda m: 0 * m, lambda m: -m, lambda m: m + 0.1])
def test_a_forgotten_proposal_is_seen(broken):
    matrix, _ = transition_matrix(broken)
    assert np.abs(PI @ matrix - PI).max() > 1e-3


def test_acceptance_of_gaussian_weights():
    """Target N(a, 1), proposal N(0, 1): log w has variance a², the acceptance is erfc(a/2)."""
    a, num = 0.8, 20_000
    kernel = IndependenceMetropolis(Normal(1, a), Normal(1))

    @jax.jit
    def one(x, key):
        state = kernel.init(x, jnp.ones(()), key=key)
        state, info = kernel.step(state, jnp.ones(()), jnp.ones(()), key=key)
        return state.x, info.acceptance

    x = a + jax.random.normal(jax.random.key(0), (num, 1))
    y, acceptance = jax.vmap(one)(x, jax.random.split(jax.random.key(1), num))
    for values, exact in ((acceptance, erfc(a / 2)), (y, a), ((y - a) ** 2, 1.0)):
        values = np.asarray(values).ravel()
        assert abs(values.mean() - exact) < 4 * values.std() / num**0.5
    moved = np.mean(np.asarray(x) != np.asarray(y))
    assert abs(moved - erfc(a / 2)) < 4 * 0.5 / num**0.5


def test_a_proposal_without_a_weight_is_rejected_and_counted():
    kernel = IndependenceMetropolis(
        Table(jnp.arange(5.0)), Scripted(jnp.full(5, jnp.nan), jnp.array(1.0))
    )
    start = kernel.init(jnp.array(2.0), jnp.ones(()), energy=jnp.array(2.0), key=jax.random.key(0))
    start = eqx.tree_at(lambda s: s.memory, start, jnp.array(1.0))
    end, info = kernel.step(start, jnp.ones(()), jnp.ones(()), key=jax.random.key(0))
    assert (end.x, info.acceptance, info.not_finite) == (2.0, 0.0, 1)


def test_what_is_refused():
    target = Table(jnp.arange(5.0))
    with pytest.raises(InputError, match="expected an AbstractDistribution"):
        IndependenceMetropolis(target, target)
    with pytest.raises(InputError, match="the target lives on"):
        IndependenceMetropolis(target, Normal(2))


def test_beside_a_local_kernel_the_weight_is_made_anew():
    """After HMC moved x, the jump must not use the density of where x was."""
    target, proposal = Normal(1, 0.5), Normal(1, 0.0, 1.5)
    kernel = compose(HMC(target, 0.9, 3), IndependenceMetropolis(target, proposal))

    @jax.jit
    def one(x, key):
        state = kernel.init(x, jnp.ones(()), key=key)
        for k in range(3):
            key_k = jax.random.fold_in(key, k)
            state, _ = kernel.step(state, jnp.ones(()), jnp.ones(()), key=key_k)
        return state.x

    num = 20_000
    x = 0.5 + jax.random.normal(jax.random.key(2), (num, 1))
    y = np.asarray(jax.vmap(one)(x, jax.random.split(jax.random.key(3), num))).ravel()
    assert abs(y.mean() - 0.5) < 4 / num**0.5
    assert abs(y.var() - 1) < 4 * (2 / num) ** 0.5
