r"""Replica exchange through `simulate`: energies handed over, exact marginals, swap rates.

1. After every step `State.energy` is that of the rung at its replica, and so is the memory.
2. Untrained flow = plain exchange bit for bit with the same keys.
3. Marginals of asymmetric pairs are right at 4 σ through a nonlinear map; without the Jacobian not.
4. Walkers are permuted as the swaps say, and their round trips counted.
5. Non-finite works are rejected and counted. 6. Rates of 2-D U(1) (slow).
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward as pf
from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.dynamics import AbstractStationary, Info, Transport
from pushforward.estimators import gamma_method, swap_rates
from pushforward.flows import AbstractBijection, residual_flow
from pushforward.mcmc import (
    HMC,
    AbstractBridge,
    Crossing,
    FlowBridge,
    IdentityBridge,
    ReplicaExchange,
)
from pushforward.objectives import BridgeKL
from pushforward.paths import Annealing
from pushforward.spaces import U1, Lattice, LinkSpace
from pushforward.targets import Energy, Ladder, Normal, WilsonAction

from .test_bridges import bent

KEY = jax.random.key(0)
MEANS, WIDTHS = jnp.array([0.0, 2.0]), jnp.array([1.0, 0.35])


def one_per_pair(bridge, num=1):
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (num, *a.shape)), bridge)


def gaussians(bridge, means=MEANS, widths=WIDTHS, updates=1):
    kernel = eqx.filter_vmap(lambda m, s: HMC(Normal((), m, s), 0.8 * s, 2))(means, widths)
    return ReplicaExchange(kernel, bridge, updates)


# -------------------------------------------------------------------------- the state after a step


@eqx.filter_jit
def steps(kernel, x, num, key):
    """Return the state after each of some steps, and the infos."""
    start = kernel.init(x, jnp.ones(()), key=key)

    def body(state, i):
        state, info = kernel.step(state, jnp.ones(()), jnp.ones(()), key=jax.random.fold_in(key, i))
        return state, (state, info)

    return jax.lax.scan(body, start, jnp.arange(num))[1]


class Stale(AbstractBridge):
    """Twin: does not hand the new energy over."""

    def forward(self, lower, upper, x, energy, *, key):
        out = IdentityBridge().forward(lower, upper, x, energy, key=key)
        return Crossing(out.x, energy, out.work)

    def backward(self, lower, upper, y, energy, *, key):
        out = IdentityBridge().backward(lower, upper, y, energy, key=key)
        return Crossing(out.x, energy, out.work)


@pytest.mark.parametrize("updates", [1, 3])
def test_energies_and_gradients_after_swaps(updates):
    means, widths = jnp.array([0.0, 0.5, 1.0, 1.6, 2.0]), jnp.array([1.0, 0.8, 0.6, 0.5, 0.35])

    def errors(bridge):
        exchange = gaussians(bridge, means, widths, updates)
        states, infos = steps(exchange, means, 40, KEY)
        fresh = jax.vmap(exchange.path.terms)(states.x)
        slope = (states.x - means[None]) / widths[None] ** 2
        assert np.all(np.asarray(infos.swaps.accepted).sum(0) > 0)  # every pair swaps
        assert np.all(infos.update.cost.gradient == 2 * updates * 2)
        np.testing.assert_array_equal(np.sort(states.memory.label, axis=1), [range(5)] * 40)
        wrong = np.abs(states.energy - fresh).max(), np.abs(states.memory.kernel - slope).max()
        return tuple(map(float, wrong))

    energy, gradient = errors(one_per_pair(bent(), 4) if updates == 1 else IdentityBridge())
    assert energy < 1e-12
    assert gradient < 1e-11
    assert errors(Stale())[0] > 0.1


# --------------------------------------------------------- exact marginals through a nonlinear map


@functools.cache
def chains(jacobian):
    """Return moments along 2000 chains that start in equilibrium."""
    exchange = gaussians(one_per_pair(bent(jacobian)))
    start = np.random.default_rng(0).normal(size=(2000, 2)) * WIDTHS[None] + MEANS[None]
    return pf.simulate(
        exchange, start, steps=60, observe=lambda x: {"x": x, "x2": x * x}, key=jax.random.key(2)
    )


def scores(samples):
    exact = {"x": np.asarray(MEANS), "x2": np.asarray(MEANS**2 + WIDTHS**2)}
    found = []
    for name, values in exact.items():
        for r in range(2):
            estimate = gamma_method(samples.record[name][10:, :, r])
            found.append((estimate.mean - values[r]) / estimate.error)
    return np.array(found)


@pytest.mark.filterwarnings("ignore:.*fewer draws than chains")
def test_marginals_and_rate_of_the_nonlinear_map():
    samples = chains(1.0)
    assert np.abs(scores(samples)).max() < 4
    rate = samples.record["info.swaps.accepted"][:, 0]
    error = np.sqrt(0.68 * 0.32 / (60 * 2000)) * 2
    assert abs(rate.mean() - 0.6797556) < 4 * error
    chance = samples.record["info.swaps.acceptance"].mean()
    assert abs(chance - 0.6797556) < 4 * error
    assert samples.record["info.swaps.not_converged"].sum() == 0


@pytest.mark.filterwarnings("ignore:.*fewer draws than chains")
def test_without_the_jacobian_the_marginals_are_wrong():
    assert np.abs(scores(chains(0.0))).max() > 10


# -------------------------------------------------------------------------- links of a 4 x 4 torus

SPACE = LinkSpace(U1(), Lattice((4, 4)))


def wilson(betas, step=0.3):
    def one(beta):
        return HMC(WilsonAction(beta, SPACE.lattice, SPACE.group), step, 4)

    return eqx.filter_vmap(one)(jnp.asarray(betas, float))


def test_untrained_flow_is_plain_exchange_bit_for_bit():
    kernel = wilson([1.0, 1.3, 1.6])
    flow = eqx.filter_vmap(lambda _: FlowBridge(residual_flow(SPACE, 1)))(jnp.arange(2))
    runs = [
        pf.simulate(ReplicaExchange(kernel, bridge), 16, steps=10, key=KEY)
        for bridge in (IdentityBridge(), flow)
    ]
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    for name in runs[0].record:
        np.testing.assert_array_equal(runs[0].record[name], runs[1].record[name])
    assert 0.2 < runs[0].record["info.swaps.accepted"].mean() < 0.9
    # A trained one goes another way.
    c = jnp.full_like(flow.bijection.layers.coefficients, 0.02)
    flow = eqx.tree_at(lambda f: f.bijection.layers.coefficients, flow, c)
    other = pf.simulate(ReplicaExchange(kernel, flow), 16, steps=10, key=KEY)
    assert np.abs(other.x - runs[0].x).max() > 0.1


def test_bridge_kl_is_the_mean_work_of_a_swap():
    kernel = wilson([1.0, 1.3, 1.6])
    ladder = Ladder(kernel.path)
    flow = eqx.filter_vmap(lambda _: FlowBridge(residual_flow(SPACE, 1)))(jnp.arange(2))
    x = ladder.base.sample(key=KEY)
    energies = [WilsonAction(b, SPACE.lattice, SPACE.group) for b in (1.0, 1.3, 1.6)]
    table = np.array([[float(e(x[r])) for r in range(3)] for e in energies])  # energy, replica
    up = np.mean([table[r + 1, r] - table[r, r] for r in range(2)])
    down = np.mean([table[r, r + 1] - table[r + 1, r + 1] for r in range(2)])

    @eqx.filter_jit
    def loss(flow, symmetric):
        return eqx.filter_value_and_grad(
            lambda f: BridgeKL(ladder, symmetric)(f, x, key=KEY), has_aux=True
        )(flow)

    (value, info), gradient = loss(flow, True)
    np.testing.assert_allclose((value, info["forward"], info["backward"]), (up + down, up, down))
    np.testing.assert_allclose(loss(flow, False)[0][0], up)
    assert info["not_converged"] == 0
    gradient = gradient.bijection.layers.coefficients
    assert gradient.shape == (2, 4, 2)
    assert np.all(np.asarray(gradient) != 0)


# ------------------------------------------------------------------ walkers, rejections, bad input


class Stay(AbstractStationary):
    """Moves nothing."""

    path: Energy

    def begin(self, x, t, energy, key):
        return self.path(x) if energy is None else energy, None

    def step(self, state, t, t_next, *, key):
        return state, Info()


def flat(num):
    return eqx.filter_vmap(lambda m: Stay(Normal((), m, 1e8)))(jnp.zeros(num))


def test_walkers_and_round_trips():
    """Every swap is accepted on a flat ladder: walkers go up and down like clockwork."""
    states, infos = steps(ReplicaExchange(flat(3)), jnp.arange(3.0), 6, KEY)
    # (0,1) then (1,2): the labels are turned, 012 -> 102 -> 120.
    expected = [[1, 2, 0], [2, 0, 1], [0, 1, 2]] * 2
    np.testing.assert_array_equal(states.memory.label, expected)
    np.testing.assert_allclose(states.x, expected)
    # Walker 0 is on top after step 1, and home again in step 3; walker 1 starts in step 1.
    assert infos.round_trips.tolist() == [0, 0, 1, 1, 1, 1]
    back = ReplicaExchange(flat(3)).reversed()
    states, _ = steps(back, jnp.arange(3.0), 3, KEY)
    np.testing.assert_array_equal(states.memory.label, [[2, 0, 1], [1, 2, 0], [0, 1, 2]])
    assert not back.reversed().backward


class Broken(AbstractBijection):
    """An identity whose inverse does not converge for large numbers."""

    limit: jax.Array

    def forward(self, x):
        return x, jnp.zeros(())

    def inverse(self, y):
        return y, jnp.where(y > self.limit, jnp.nan, 0.0)


def test_a_work_that_is_no_number_is_rejected_and_counted():
    exchange = ReplicaExchange(flat(2), one_per_pair(FlowBridge(Broken(scalar(0.5)))))
    for x, lost in (([0.0, 1.0], True), ([1.0, 0.0], False)):
        states, infos = steps(exchange, jnp.array(x), 1, KEY)
        np.testing.assert_allclose(states.x[0], x if lost else x[::-1])
        assert infos.swaps.not_converged.tolist() == [[int(lost)]]
        assert infos.swaps.accepted.tolist() == [[float(not lost)]]
        assert infos.swaps.work.tolist() == [[0.0]]
        assert not infos.failed.any()


def test_bad_input():
    kernel = wilson([1.0, 1.3, 1.6])
    with pytest.raises(InputError, match="two replicas or more"):
        ReplicaExchange(wilson([1.0]))
    with pytest.raises(InputError, match="each of the 2 pairs"):
        ReplicaExchange(kernel, one_per_pair(bent(), 3))
    with pytest.raises(InputError, match="one common axis of replicas"):
        ReplicaExchange(HMC(Normal(2), 0.3))
    with pytest.raises(InputError, match="leaves an energy invariant"):
        ReplicaExchange(Transport(Annealing(Normal(1), Normal(1))))
    with pytest.raises(InputError, match="updates_per_swap is .*, expected an integer >= 1"):
        ReplicaExchange(kernel, updates_per_swap=0)
    with pytest.raises(InputError, match="ONE sample of 3 copies"):
        pf.simulate(ReplicaExchange(kernel), jnp.zeros((5, 2, *SPACE.shape)), steps=1, key=KEY)


# -------------------------------------------------------------------- swap rates of 2-D U(1), slow

MEASURED = {  # an independent code, 400 chains, L = 8
    (2.0, 4.0): (0.0018, 0.0002),
    (2.0, 3.0): (0.0606, 0.0014),
    (3.0, 4.0): (0.1941, 0.0023),
    (2.0, 2.5): (0.3045, 0.0024),
    (3.5, 4.0): (0.5483, 0.0027),
}


@pytest.mark.slow
def test_swap_rates_of_two_dimensional_gauge_theory():
    """All pairs as one stack of ladders, 128 chains each; the prediction is close."""
    lattice = Lattice((8, 8))

    def one(beta):
        return HMC(WilsonAction(beta, lattice, U1()), 0.28 / jnp.sqrt(beta), 8)

    kernels = eqx.filter_vmap(eqx.filter_vmap(one))(jnp.array(list(MEASURED)))
    stack = eqx.filter_vmap(ReplicaExchange)(kernels)
    samples = pf.simulate(stack, 128, steps=500, burn_in=150, stacked=True, key=KEY)
    record = samples.record
    for k, (rate, error) in enumerate(MEASURED.values()):
        ours = gamma_method(record["info.swaps.acceptance"][:, k, 0])
        assert abs(ours.mean - rate) < 4 * np.hypot(ours.error, error)
        found = swap_rates(*(record[f"info.swaps.{n}"][:, k] for n in ("acceptance", "work")))
        assert abs(np.log(found.predicted[0] / found.rate[0])) < 0.7
