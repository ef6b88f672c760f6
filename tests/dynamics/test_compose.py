r"""Composition as a law of whole paths, on a space small enough to enumerate.

Four states on a ring, an annealing π_0, π_½, π_1, the kernel compose(reweight, Metropolis). With
M_F[x_0, x_N] = Σ_paths P(path) e^{A(path)} and M_B the plain transition matrix of the reversed
kernel marched down the grid,

    π_0(x_0) M_F[x_0, x_N] = π_1(x_N) M_B[x_N, x_0],

which makes swaps and works right. Jarzynski's equality, its sum over x_0, is weaker: marching the
SAME compose down the grid passes it and fails the matrix.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.dynamics import (
    AbstractStationary,
    Compose,
    Euler,
    Info,
    Langevin,
    State,
    Transport,
    compose,
    march,
)
from pushforward.dynamics.base import failure_of
from pushforward.mcmc import HMC
from pushforward.paths import Annealing, ParameterPath
from pushforward.spaces import Euclidean
from pushforward.targets import AbstractEnergy, DoubleWell, Energy, Normal

TABLE = np.array([[0.1, 0.7, -0.4, 0.2], [1.1, -0.3, 0.6, 0.0], [-0.5, 0.9, 1.6, 0.4]])
TIMES = jnp.array([0.0, 0.5, 1.0])


def ring_energy(t):
    """Return the energy of the grid time t."""
    row = jnp.asarray(TABLE)[jnp.round(2 * t).astype(int)]
    return Energy(lambda x: row[x.astype(int)], Euclidean(()))


RING = ParameterPath(ring_energy, lambda t: t, ring_energy(jnp.zeros(())))


class RingMetropolis(AbstractStationary):
    """Propose a neighbour, accept or stay; the decisions are a script, and their chance counted.

    context = (script of (direction, accept) pairs, position in it, log of its probability).
    """

    path: ParameterPath | AbstractEnergy

    def begin(self, x, t, energy, key):
        return self.path.at(t)(x) if energy is None else energy, None

    def step(self, state, t, t_next, *, key):
        script, position, log_p = state.context
        forward, accept = script[position]
        # Proposals prefer no direction; acceptance makes π_t stationary.
        proposal = jnp.mod(state.x + 2 * forward - 1, 4)
        energy = self.path.at(jnp.maximum(t, t_next))(proposal)
        chance = jnp.exp(jnp.minimum(state.energy - energy, 0))
        log_p = log_p + jnp.log(0.5 * jnp.where(accept == 1, chance, 1 - chance))
        x = jnp.where(accept == 1, proposal, state.x)
        energy = jnp.where(accept == 1, energy, state.energy)
        return State(x, state.log_weight, (script, position + 1, log_p), energy), Info()


def matrices(kernel, times, moves):
    """Return (M[x_0, x_N] unweighted, M with e^A) by enumerating every decision of `moves`."""
    decisions = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    scripts = np.array(list(itertools.product(decisions, repeat=moves)))

    def path(x, script):
        context = (script, jnp.zeros((), int), jnp.zeros(()))
        state = kernel.init(x, times[0], context=context, key=jax.random.key(0))
        state, _ = march(kernel, state, times, key=jax.random.key(0))
        return state.x, state.context[2], state.log_weight.value

    every = jax.vmap(jax.vmap(path, (None, 0)), (0, None))
    end, log_p, log_weight = map(np.asarray, jax.jit(every)(jnp.arange(4.0), scripts))
    plain, weighted = np.zeros((4, 4)), np.zeros((4, 4))
    rows = np.broadcast_to(np.arange(4)[:, None], end.shape)
    np.add.at(plain, (rows, end.astype(int)), np.exp(log_p))
    np.add.at(weighted, (rows, end.astype(int)), np.exp(log_p + log_weight))
    np.testing.assert_allclose(plain.sum(1), 1, rtol=0, atol=1e-13)
    return plain, weighted


REWEIGHT, MOVE = Transport(RING), RingMetropolis(RING)
FIRST, LAST = np.exp(-TABLE[0]), np.exp(-TABLE[2])  # unnormalised: Z_1/Z_0 comes out by itself
KERNELS = {
    "reweight, move": (compose(REWEIGHT, MOVE), 2),
    "move, reweight": (compose(MOVE, REWEIGHT), 2),
    "move, reweight, move": (compose(MOVE, REWEIGHT, MOVE), 4),
}


@pytest.mark.parametrize("name", KERNELS)
def test_the_reversed_compose_has_the_reversed_law(name):
    kernel, moves = KERNELS[name]
    plain, weighted = matrices(kernel, TIMES, moves)
    plain_back, weighted_back = matrices(kernel.reversed(), TIMES[::-1], moves)
    forward, backward = FIRST[:, None] * weighted, (LAST[:, None] * plain_back).T
    np.testing.assert_allclose(forward, backward, rtol=0, atol=1e-12)
    forward, backward = FIRST[:, None] * plain, (LAST[:, None] * weighted_back).T
    np.testing.assert_allclose(forward, backward, rtol=0, atol=1e-12)
    # Jarzynski, going up.
    np.testing.assert_allclose(FIRST @ weighted.sum(1), LAST.sum(), rtol=1e-13)


def test_twin_the_same_compose_down_the_grid():
    kernel, moves = KERNELS["reweight, move"]
    _, weighted = matrices(kernel, TIMES, moves)
    same, weighted_same = matrices(kernel, TIMES[::-1], moves)
    # Jarzynski is satisfied ...
    np.testing.assert_allclose(LAST @ weighted_same.sum(1), FIRST.sum(), rtol=1e-13)
    # ... and the law of the paths is another one.
    defect = np.abs(FIRST[:, None] * weighted - (LAST[:, None] * same).T).max()
    assert defect > 1e-2


def test_two_stationary_kernels_stay_at_the_present_time():
    kernel = compose(MOVE, MOVE)
    assert kernel.stationary
    one = jnp.ones(3)
    plain, weighted = matrices(kernel, one, 4)
    np.testing.assert_allclose(LAST @ plain, LAST, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(plain, weighted)


WELL = Annealing(Normal(1), DoubleWell())


def test_energy_is_handed_on_and_members_agree():
    kernel = compose(Transport(WELL), HMC(WELL, 0.1, 3))
    t, t_next, key = jnp.asarray(0.2), jnp.asarray(0.3), jax.random.key(1)
    state = eqx.filter_jit(kernel.init)(jnp.array([0.4]), t, key=key)
    moved, (transported, trajectory) = eqx.filter_jit(kernel.step)(state, t, t_next, key=key)
    np.testing.assert_allclose(
        moved.log_weight.value, WELL.energy(t, state.x) - WELL.energy(t_next, state.x), atol=1e-14
    )
    assert (transported.cost.energy, trajectory.cost.gradient) == (1, 4)  # one for HMC's start
    assert trajectory.acceptance > 0.5
    assert moved.x != state.x


def test_the_sentence_is_that_of_the_member_that_failed():
    kernel = compose(HMC(WELL, 0.1), Transport(WELL, lambda t, x, g: -5 * x, Euler()))
    zero, one, key = jnp.zeros(()), jnp.ones(()), jax.random.key(0)
    state = eqx.filter_jit(kernel.init)(jnp.array([0.4]), zero, key=key)
    _, info = eqx.filter_jit(kernel.step)(state, zero, one, key=key)
    assert "halve the step" in failure_of(kernel, info)


def test_refused_compositions():
    with pytest.raises(InputError, match="at most one"):
        compose(Transport(WELL), Langevin(WELL))
    with pytest.raises(InputError, match="one or more kernels"):
        compose()
    with pytest.raises(InputError, match="DoubleWell"):
        compose(Transport(WELL), DoubleWell())  # pyright: ignore[reportArgumentType]
    assert isinstance(compose(compose(Transport(WELL), HMC(WELL, 0.1)), HMC(WELL, 0.1)), Compose)
