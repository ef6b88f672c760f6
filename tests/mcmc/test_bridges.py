r"""Bridges: works, swaps as transition matrices, and the Gaussian pair whose numbers are known.

1. A swap leaves p_a × p_b invariant: π T = π over all 6561 pairs of states of Z_3 gauge theory on
   the 2 x 1 torus, for the identity and for any permutation; over all tapes of a path bridge.
2. Acceptance, ESS and E w of three bridges between two Gaussians equal quadrature.
3. Deterministic bridges: W_b(f(x)) = −W_f(x). All: Jarzynski and Bennett give ΔF.
Twins: wrong sign, wrong map back, no Jacobian, the same kernel marched down the grid.
"""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.dynamics import (
    RK4,
    AbstractStationary,
    Euler,
    Info,
    Transport,
    compose,
    march,
)
from pushforward.estimators import bar, jarzynski
from pushforward.flows import AbstractBijection, residual_flow
from pushforward.mcmc import (
    HMC,
    AbstractBridge,
    Crossing,
    FlowBridge,
    IdentityBridge,
    PathBridge,
    ReplicaExchange,
    backward_works,
    forward_works,
    propose_swap,
)
from pushforward.paths import ParameterPath, uniform_times
from pushforward.spaces import U1, Euclidean, Lattice, LinkSpace
from pushforward.targets import Energy, Haar, Ladder, Normal, WilsonAction

KEY = jax.random.key(0)


# -------------------------------------------------------------------- two Gaussians, by quadrature


class Bent(AbstractBijection):
    """y = 2 + .35 (x + a tanh x); a = 0 is affine. `jacobian` = 0 is the twin that drops log J."""

    bend: jax.Array
    jacobian: jax.Array

    def forward(self, x):
        t = jnp.tanh(x)
        log_det = jnp.log(0.35 * (1 + self.bend * (1 - t * t)))
        return 2 + 0.35 * (x + self.bend * t), self.jacobian * log_det

    def inverse(self, y):
        z = (y - 2) / 0.35

        def newton(_, x):
            t = jnp.tanh(x)
            return x - (x + self.bend * t - z) / (1 + self.bend * (1 - t * t))

        x = jax.lax.fori_loop(0, 40, newton, z / (1 + self.bend))
        return x, -self.forward(x)[1]


class Affine(AbstractBijection):
    """y = .5 x + 1.6."""

    def forward(self, x):
        return 0.5 * x + 1.6, jnp.full((), np.log(0.5))

    def inverse(self, y):
        return (y - 1.6) / 0.5, jnp.full((), -np.log(0.5))


def bent(jacobian=1.0):
    return FlowBridge(Bent(scalar(0.8), scalar(jacobian)))


LOWER = Energy(lambda x: 0.5 * x * x, Euclidean(()))
UPPER = Energy(lambda x: 0.5 * ((x - 2) / 0.35) ** 2, Euclidean(()))


@eqx.filter_jit
def crossings(bridge, x, y):
    """Return W_f(x), W_b(y) and W_b(f(x)) on grids."""

    def there(x):
        out = bridge.forward(LOWER, UPPER, x, LOWER(x), key=KEY)
        return out.work, bridge.backward(LOWER, UPPER, out.x, out.energy, key=KEY).work

    def back(y):
        return bridge.backward(LOWER, UPPER, y, UPPER(y), key=KEY).work

    up, returned = jax.vmap(there)(x)
    return up, jax.vmap(back)(y), returned


@pytest.mark.parametrize(
    ("bridge", "rate", "ess"),
    [
        (IdentityBridge(), 0.054410, None),
        (FlowBridge(Affine()), 0.506124, 0.563008),
        (bent(), 0.6797556, 0.763457),
        (bent(jacobian=0.0), 0.72958, None),  # the twin: another number, and it is the known one
    ],
    ids=["identity", "affine", "nonlinear", "no Jacobian"],
)
def test_swaps_of_two_gaussians(bridge, rate, ess):
    z = np.linspace(-8, 8, 4001)
    share = np.exp(-0.5 * z**2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    up, down, returned = map(
        np.asarray, crossings(bridge, jnp.asarray(z), jnp.asarray(2 + 0.35 * z))
    )
    found = share @ np.exp(np.minimum(-(up[:, None] + down[None]), 0)) @ share
    np.testing.assert_allclose(found, rate, rtol=0, atol=6e-6 if ess is None else 1.5e-6)
    np.testing.assert_allclose(returned, -up, rtol=0, atol=1e-10)
    if ess is not None:
        weights = np.exp(-up)
        np.testing.assert_allclose(share @ weights, 0.35, rtol=0, atol=1e-12)
        np.testing.assert_allclose(0.35**2 / (share @ weights**2), ess, rtol=0, atol=1e-6)


# ----------------------------------------------------------------- Z_3 on the 2 x 1 torus, exactly

LATTICE = Lattice((2, 1))
STATES = np.array(list(itertools.product(range(3), repeat=4)))
COLD, HOT = WilsonAction(1.7, LATTICE, U1()), WilsonAction(0.4, LATTICE, U1())


def links(index):
    return jnp.asarray(STATES, float)[index].reshape(2, 2, 1) * (2 * jnp.pi / 3)


def index_of(x):
    digits = jnp.mod(jnp.round(x.ravel() / (2 * jnp.pi / 3)).astype(int), 3)
    return jnp.sum(digits * jnp.array([27, 9, 3, 1]))


class Permutation(AbstractBijection):
    """A bijection of the 81 states by its table and the table back."""

    there: jax.Array
    back: jax.Array

    def forward(self, x):
        return links(self.there[index_of(x)]), jnp.zeros(())

    def inverse(self, y):
        return links(self.back[index_of(y)]), jnp.zeros(())


def permutations():
    table = np.random.default_rng(1).permutation(81)
    back = np.argsort(table)
    right = FlowBridge(Permutation(jnp.asarray(table), jnp.asarray(back)))
    wrong = FlowBridge(Permutation(jnp.asarray(table), jnp.asarray(table)))
    return right, wrong


@eqx.filter_jit
def all_swaps(bridge):
    """Return the acceptance and the proposed pair of states for every pair of states."""

    def one(i, j):
        x, y = links(i), links(j)
        out = propose_swap(bridge, HOT, COLD, (x, HOT.terms(x)), (y, COLD.terms(y)), key=KEY)
        return out.acceptance, index_of(out.down.x), index_of(out.up.x)

    each = jnp.arange(81)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(each, each)


@functools.cache
def stationary():
    probabilities = []
    for action in (HOT, COLD):
        weight = np.exp(-np.asarray(jax.vmap(lambda i, a=action: a(links(i)))(jnp.arange(81))))
        probabilities.append(weight / weight.sum())
    return np.outer(*probabilities)


def moved_by(acceptance, x_new, y_new):
    """Return π T − π."""
    pi = stationary()
    out = pi * (1 - acceptance)
    np.add.at(out, (x_new, y_new), pi * acceptance)
    return np.abs(out - pi).max()


def test_swaps_leave_every_state_its_probability():
    right, wrong = permutations()
    for bridge in (IdentityBridge(), right):
        acceptance, *new = map(np.asarray, all_swaps(bridge))
        assert moved_by(acceptance, *new) < 1e-14
        assert 0.1 < (stationary() * acceptance).sum() < 0.95
        flow = stationary() * acceptance  # detailed balance, pair by pair
        np.testing.assert_allclose(flow, flow[new[0], new[1]], rtol=1e-12)
    # Twins: e^{+D}, and the forward map on the way back.
    acceptance, *new = map(np.asarray, all_swaps(IdentityBridge()))
    with np.errstate(divide="ignore"):
        pi = stationary()
        reverse = np.minimum(1, pi / pi[new[0], new[1]])
    np.testing.assert_allclose(np.minimum(1, pi[new[0], new[1]] / pi), acceptance, rtol=1e-12)
    assert moved_by(reverse, *new) > 1e-4
    acceptance, *new = map(np.asarray, all_swaps(wrong))
    assert moved_by(acceptance, *new) > 1e-5


# --------------------------------------------------- a path bridge on a ring, all tapes enumerated

TABLE = np.random.default_rng(3).normal(size=(4, 4))  # energies: grid time, state
TIMES = uniform_times(3)


def ring_energy(t):
    row = jnp.asarray(TABLE)[jnp.round(3 * t).astype(int)]
    return Energy(lambda x: row[x[0].astype(int)], Euclidean(()))


RING = ParameterPath(ring_energy, lambda t: t, ring_energy(jnp.zeros(())))


class Scripted(AbstractStationary):
    """Goes where its tape says: x = (state, the next states)."""

    path: ParameterPath

    def begin(self, x, t, energy, key):
        return self.path.at(t)(x) if energy is None else energy, None

    def step(self, state, t, t_next, *, key):
        _, tape = state.x
        x = (tape[0], jnp.roll(tape, -1))
        return state.moved(x, self.path.at(t)(x)), Info()


class MarchedBack(AbstractBridge):
    """Twin: the SAME kernel, reweight then move, marched down the grid."""

    right: PathBridge

    def forward(self, lower, upper, x, energy, *, key):
        return self.right.forward(lower, upper, x, energy, key=key)

    def backward(self, lower, upper, y, energy, *, key):
        kernel = self.right.process(self.right.path(lower, upper))
        times = self.right.times.value[::-1]
        end, _ = march(kernel, kernel.init(y, times[0], energy=energy, key=key), times, key=key)
        return Crossing(end.x, end.energy, -end.log_weight.value)


def metropolis(row):
    """Return the transition matrix on the ring: a neighbour, accepted or not."""
    matrix = np.zeros((4, 4))
    for x in range(4):
        for y in ((x + 1) % 4, (x - 1) % 4):
            matrix[x, y] += 0.5 * min(1, np.exp(row[x] - row[y]))
        matrix[x, x] += 1 - matrix[x].sum()
    return matrix


TAPES = np.array(list(itertools.product(range(4), repeat=3)))


@eqx.filter_jit
def ring_works(bridge):
    ends = [ring_energy(jnp.asarray(float(t))) for t in (0, 1)]

    def one(state, tape):
        x = (state, tape)
        up = bridge.forward(*ends, x, ends[0](x), key=KEY)
        down = bridge.backward(*ends, x, ends[1](x), key=KEY)
        return up.work, up.x[0], down.work, down.x[0]

    each = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    return each(jnp.arange(4.0), jnp.asarray(TAPES, float))


def chances(matrices):
    """Return the probability of every tape from every state."""
    path = np.concatenate([np.zeros((64, 1), int), TAPES], 1)[None].repeat(4, 0)
    path[:, :, 0] = np.arange(4)[:, None]
    return np.prod([m[path[..., k], path[..., k + 1]] for k, m in enumerate(matrices)], axis=0)


@pytest.mark.parametrize(
    ("twin", "order"), [(False, (3, 2, 1)), (True, (2, 1, 0))], ids=["reversed", "marched back"]
)
def test_all_tapes_of_a_path_bridge(twin, order):
    right = PathBridge(lambda path: compose(Transport(RING), Scripted(RING)), TIMES)
    up, end_up, down, end_down = map(np.asarray, ring_works(MarchedBack(right) if twin else right))
    kernels = [metropolis(row) for row in TABLE]
    p_up, p_down = chances([kernels[k] for k in (1, 2, 3)]), chances([kernels[k] for k in order])
    np.testing.assert_allclose((p_up.sum(1), p_down.sum(1)), 1, rtol=1e-14)
    first, last = np.exp(-TABLE[0]), np.exp(-TABLE[3])
    z0, z1 = first.sum(), last.sum()
    # Jarzynski holds both ways even for the twin ...
    np.testing.assert_allclose(
        np.sum(first[:, None] / z0 * p_up * np.exp(-up)), z1 / z0, rtol=1e-13
    )
    np.testing.assert_allclose(
        np.sum(last[:, None] / z1 * p_down * np.exp(-down)), z0 / z1, rtol=1e-13
    )

    # ... the transition matrix of the swap does not forgive.
    pi = np.outer(first / z0, last / z1)
    work = up[:, :, None, None] + down[None, None]
    share = p_up[:, :, None, None] * p_down[None, None] * np.exp(np.minimum(-work, 0))
    share = share * pi[:, None, :, None]
    out = pi - share.sum((1, 3))
    x_new = np.broadcast_to(end_down[None, None], share.shape).astype(int)
    y_new = np.broadcast_to(end_up[:, :, None, None], share.shape).astype(int)
    np.add.at(out, (x_new, y_new), share)
    error = np.abs(out - pi).max()
    assert error > 5e-3 if twin else error < 1e-14


def test_a_path_bridge_refuses_half_a_grid():
    with pytest.raises(InputError, match="from 0 to 1"):
        PathBridge(Transport, jnp.array([0.0, 0.5]))


def test_a_map_that_folds_has_no_work():
    """Euler's step of b = −3x over half a unit of time turns the line over."""

    def process(integrator, path):
        return Transport(path, lambda t, x, g, **_: -3 * x, integrator)

    x, ends = jnp.array([0.3]), (Normal(1), Normal(1, 1.0))
    for integrator, folds in ((Euler(), True), (RK4(), False)):
        bridge = PathBridge(eqx.Partial(process, integrator), jnp.array([0.0, 0.5, 1.0]))
        out = bridge.forward(*ends, x, ends[0].terms(x), key=KEY)
        assert bool(jnp.isnan(out.work)) == folds


# --------------------------------------------------------------------------- U(1) on a 4 x 4 torus

SPACE = LinkSpace(U1(), Lattice((4, 4)))


def rungs(betas):
    return eqx.filter_vmap(lambda b: WilsonAction(b, SPACE.lattice, SPACE.group))(
        jnp.asarray(betas)
    )


@functools.cache
def ladders(num=1500):
    """Return `num` nearly independent ladders of beta = 1 and 2."""
    ladder = Ladder(rungs([1.0, 2.0]))
    kernel = eqx.filter_vmap(lambda action: HMC(action, 0.3, 5))(ladder.rungs)
    exchange = ReplicaExchange(kernel)

    @eqx.filter_jit
    def run(j):
        key = jax.random.fold_in(jax.random.key(5), j)
        times = jnp.ones(41)
        start = exchange.init(ladder.base.sample(key=key), times[0], key=key)
        return march(exchange, start, times, key=key)[0].x

    return ladder, eqx.filter_jit(jax.vmap(run))(jnp.arange(num))


EXACT = 9.4155585511  # log Z(2)/Z(1)


@eqx.filter_jit
def works(bridge, ladder, x):
    keys = jax.vmap(lambda j: jax.random.fold_in(KEY, j))(jnp.arange(x.shape[0]))

    def one(y, key):
        ways = [way(bridge, ladder, y, key=key)[0] for way in (forward_works, backward_works)]
        return jnp.stack(ways)

    return jax.vmap(one)(x, keys).T


def annealed(num):
    process = eqx.Partial(lambda path: compose(Transport(path), HMC(path, 0.25, 4)))
    return eqx.filter_vmap(lambda _: PathBridge(process, uniform_times(num)))(jnp.arange(1))


@pytest.mark.parametrize("bridge", [IdentityBridge(), annealed(20)], ids=["identity", "annealed"])
def test_works_know_the_free_energy(bridge):
    """⟨e^{−W}⟩ and Bennett's ratio give the exact ratio of partition functions, both ways."""
    ladder, x = ladders()
    up, down = np.asarray(works(bridge, ladder, x))
    both = bar(up, down)
    assert abs(both.value + EXACT) < 4 * both.error
    if not isinstance(bridge, IdentityBridge):
        for sample, exact in ((up, -EXACT), (down, EXACT)):
            one = jarzynski(sample)
            assert one.error < 0.05
            assert abs(one.value - exact) < 4 * one.error
        assert both.error < 0.02
        assert np.mean(up) + EXACT > 0  # the second law
        # Twin: a work of the wrong sign.
        assert abs(jarzynski(-up).value + EXACT) > 100 * both.error


def test_works_of_a_flow_there_and_back():
    flow = residual_flow(SPACE, 1)
    c = jax.random.normal(KEY, flow.layers.coefficients.shape)
    flow = eqx.tree_at(lambda f: f.layers.coefficients, flow, c)
    bridge, lower, upper = FlowBridge(flow), rungs([1.0]), rungs([2.0])
    lower, upper = (jax.tree.map(lambda a: a[0], e) for e in (lower, upper))

    @eqx.filter_jit
    def there_and_back(x):
        up = bridge.forward(lower, upper, x, lower.terms(x), key=KEY)
        down = bridge.backward(lower, upper, up.x, up.energy, key=KEY)
        return up, down

    x = Haar(SPACE).sample(key=KEY)
    up, down = there_and_back(x)
    np.testing.assert_allclose(down.x, x, rtol=0, atol=1e-11)
    np.testing.assert_allclose(down.work, -up.work, rtol=0, atol=1e-10)
    np.testing.assert_allclose(up.energy, upper.terms(up.x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(down.energy, lower.terms(x), rtol=0, atol=1e-11)
    assert abs(up.work) > 0.1
