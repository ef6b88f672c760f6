"""Laws of every kernel: one dictionary of all members, the same questions to each.

1. A step keeps structure, shapes and dtypes of the state, in float64 and in float32.
2. One trace serves all times, noise levels and step sizes.
3. `State.energy` after a step is U_t' at the new point; the context is handed through.
4. An energy handed to `init` is not evaluated again, and a step costs what its `Cost` says.
5. The work of a step and of its reversal, fed with the noise that retraces it, cancel.
6. Float32 log-weights follow the float64 ones along a long lattice run.
7. No public kernel is missing from the dictionary.
"""

import functools
import inspect
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.laws.test_every_kernel import MEMBERS

import pushforward.dynamics as dynamics
import pushforward.mcmc as mcmc
from pushforward._tree import scalar
from pushforward.dynamics import (
    RK4,
    AbstractKernel,
    AbstractTwoKernel,
    ContinuousTime,
    Cost,
    Euler,
    FlowMapKernel,
    Heun,
    Langevin,
    Transport,
    UnderdampedLangevin,
    compose,
    march,
)
from pushforward.mcmc import (
    HMC,
    IndependenceMetropolis,
    Leapfrog,
    Omelyan2,
    Refreshed,
    ReplicaExchange,
)
from pushforward.networks import TiedFlowMap, TwoTimeMLP
from pushforward.paths import Annealing, ExponentialWarp, MixturePath, uniform_times
from pushforward.spaces import AbstractManifold, Euclidean
from pushforward.targets import (
    AbstractAugmented,
    AbstractDistribution,
    AbstractEnergy,
    AbstractLocalEnergy,
    DoubleWell,
    Energy,
    Normal,
    Phi4,
    gmm40,
)
from pushforward.targets.base import energy_terms


class Counter:
    """Counts traces of an energy, and its evaluations on the device."""

    def __init__(self):
        self.traces = self.calls = 0

    def called(self):
        self.calls += 1


class Counted(AbstractLocalEnergy):
    """An energy of two coordinates that counts, if told to."""

    tilt: jax.Array
    counter: Counter | None = eqx.field(static=True, default=None)
    space: AbstractManifold = Euclidean(2)

    def terms(self, x):
        if self.counter is not None:
            self.counter.traces += 1
            jax.debug.callback(self.counter.called)
        return 0.25 * x**4 - x * x - self.tilt * x


class Base(AbstractLocalEnergy):
    """A normal base of two coordinates on a given space."""

    space: AbstractManifold

    def terms(self, x):
        return 0.125 * x * x


class Shadowed(AbstractAugmented):
    """An energy with a shadow a ~ N(x, 1), whose marginal is the energy itself."""

    energy: AbstractEnergy
    space: AbstractManifold = Euclidean(2)

    def __call__(self, x):
        return self.energy(x)

    def refresh(self, x, *, key):
        return x + jax.random.normal(key, x.shape, x.dtype)

    def given(self, auxiliary):
        return WithShadow(self.energy, auxiliary)


class WithShadow(AbstractEnergy):
    """U(x) + |a − x|²/2."""

    energy: AbstractEnergy
    shadow: jax.Array
    space: AbstractManifold = Euclidean(2)

    def __call__(self, x):
        return self.energy(x) + 0.5 * jnp.sum((self.shadow - x) ** 2)


class Drift(eqx.Module):
    """A drift that depends on t, x and ∇U and has no symmetry."""

    strength: jax.Array

    def __call__(self, t, x, g):
        return self.strength * (jnp.sin(x[::-1] + t) - 0.3 * jnp.tanh(g) * x)


def annealing(counter=None, space=None):
    space = Euclidean(2) if space is None else space
    return Annealing(Base(space), Counted(scalar(0.4), counter, space), ExponentialWarp(1.5))


def drift():
    return Drift(scalar(0.6))


class Swirl(eqx.Module):
    """The drift without its gradient, as a flow map calls it."""

    strength: jax.Array

    def __call__(self, t, x, **_):
        return self.strength * jnp.sin(x[::-1] + t) - 0.2 * x


def flow_map(path):
    """Return a kernel of an untrained map: Euler's method with the drift it is tied to."""
    net = TwoTimeMLP(2, width=4, key=jax.random.key(0))
    return FlowMapKernel(TiedFlowMap(Swirl(scalar(0.6)), net, both_ways=True), path)


class Jumps(AbstractDistribution):
    """A normal law on the space of a path, as proposal."""

    scale: jax.Array
    space: AbstractManifold

    def __call__(self, x):
        z = x / self.scale
        return 0.5 * jnp.sum(z * z) + 2 * jnp.log(self.scale) + math.log(2 * math.pi)

    def sample(self, *, key):
        return self.scale * jax.random.normal(key, (2,), self.scale.dtype)


def jumps(path):
    return Jumps(scalar(1.5), path.space)


def replicas(path):
    """Return two rungs of one coordinate each: the two coordinates are the replicas."""
    rungs = eqx.tree_at(lambda e: e.tilt, path.target, jnp.array([0.4, -0.2]))
    return ReplicaExchange(eqx.filter_vmap(lambda energy: HMC(energy, 0.4, 3))(rungs))


KERNELS = {
    "Langevin, AIS": lambda path: Langevin(path, epsilon=0.3),
    "Langevin, drift": lambda path: Langevin(path, drift(), 0.3),
    "Langevin, law of time": lambda path: Langevin(path, drift(), path.schedule),
    "Langevin, continuous": lambda path: Langevin(path, drift(), 0.3, ContinuousTime()),
    "Langevin, mixture path": lambda path: Langevin(
        MixturePath(gmm40(), 5.0), MixturePath(gmm40(), 5.0).exact_drift, 0.3
    ),
    "Transport, zero": Transport,
    "Transport, Euler": lambda path: Transport(path, drift(), Euler()),
    "Transport, Heun": lambda path: Transport(path, drift(), Heun()),
    "Transport, RK4": lambda path: Transport(path, drift(), RK4()),
    "inverse, Euler": lambda path: Transport(path, drift(), Euler()).reversed(),
    "inverse, RK4": lambda path: Transport(path, drift(), RK4()).reversed(),
    "flow map": flow_map,
    "flow map, inverse": lambda path: flow_map(path).reversed(),
    "underdamped, AIS": UnderdampedLangevin,
    "underdamped, drift": lambda path: UnderdampedLangevin(path, drift(), 2.0, 0.3),
    "underdamped, inverse": lambda path: UnderdampedLangevin(path, drift(), tau=0.3).reversed(),
    "HMC, leapfrog": lambda path: HMC(path, 0.4, 3),
    "HMC, 2MN": lambda path: HMC(path, 0.4, 2, Omelyan2()),
    "HMC, law of time": lambda path: HMC(path, lambda t: 0.2 + 0.1 * t, 3, Leapfrog()),
    "replica exchange": replicas,
    "HMC, an energy": lambda path: HMC(path.target, 0.4, 3),
    "Refreshed": lambda path: Refreshed(HMC(Shadowed(path.target), 0.4, 3)),
    "SMC": lambda path: compose(Transport(path), HMC(path, 0.4, 3)),
    "map and MALA": lambda path: compose(Transport(path, drift(), Euler()), HMC(path, 0.4)),
    "MALA and map": lambda path: compose(HMC(path, 0.4), Transport(path, drift())),
    "Langevin and HMC": lambda path: compose(Langevin(path, drift(), 0.3), HMC(path, 0.4)),
    "two HMC": lambda path: compose(HMC(path, 0.4), HMC(path.target, 0.2, 2, Omelyan2())),
    "independence": lambda path: IndependenceMetropolis(path, jumps(path)),
    "HMC and jump": lambda path: compose(
        HMC(path, 0.4, 3), IndependenceMetropolis(path, jumps(path))
    ),
}
DETERMINISTIC = [name for name in KERNELS if name.startswith(("Transport", "inverse", "flow"))]
T, T_NEXT = scalar(0.3), scalar(0.4)
CONTEXT = np.arange(3)
X = jnp.array([0.7, -1.2])
every = pytest.mark.parametrize("name", KERNELS)


@functools.cache
def counting(name):
    """Return a kernel and the counter of its target, the same at every call."""
    counter = Counter()
    return KERNELS[name](annealing(counter)), counter


def kernel_of(name):
    return counting(name)[0]


@eqx.filter_jit
def moved(kernel, x, t, t_next, key):
    """Return the states before and after one step, and the info."""
    start = kernel.init(x, t, context=CONTEXT, key=jax.random.fold_in(key, 0))
    return start, *kernel.step(start, t, t_next, key=jax.random.fold_in(key, 1))


def cast(tree, dtype):
    """Return the tree with its floating leaves in `dtype`."""
    return jax.tree.map(
        lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree, is_leaf=eqx.is_array
    )


def signature(tree):
    return jax.tree.structure(tree), [
        (a.shape, a.dtype, getattr(a, "weak_type", False)) for a in jax.tree.leaves(tree)
    ]


def energy_at(kernel, t, x):
    """Return what `State.energy` should be: the terms of the last member's energy."""
    last = kernel.members[-1] if hasattr(kernel, "members") else kernel
    return energy_terms(last.path.at(t), x)


@every
def test_a_step_keeps_shapes_and_dtypes(name):
    for dtype in (jnp.float64, jnp.float32):
        kernel, key = cast(kernel_of(name), dtype), jax.random.key(0)
        arguments = cast((X, T, T_NEXT), dtype)
        start, end, info = eqx.filter_eval_shape(moved, kernel, *arguments, key)
        assert signature(start) == signature(end)
        floats = [a.dtype for a in jax.tree.leaves((end, info)) if a.dtype.kind == "f"]
        assert set(floats) == {jnp.dtype(dtype)}


@every
def test_state_after_a_step(name):
    kernel = kernel_of(name)
    for seed, (t, t_next) in enumerate([(T, T_NEXT), (T_NEXT, T)]):
        t = t_next if kernel.stationary else t  # it acts at the present time
        start, end, _ = moved(kernel, X, t, t_next, jax.random.key(seed))
        now = jnp.maximum(t, t_next) if kernel.stationary and "two" not in name else t_next
        if name == "Refreshed":  # its energy ends with the step, and it hands on none
            assert end.energy is None
        else:
            held = energy_at(kernel, now, end.x)
            np.testing.assert_allclose(end.energy, held, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(end.context, CONTEXT)
        assert start.log_weight.value == 0
        assert jnp.isfinite(end.log_weight.value)
        if kernel.stationary:
            assert end.log_weight.value == 0


def scaled(kernel, factor):
    """Return the kernel with every float in it multiplied, step sizes and noise included."""
    return jax.tree.map(lambda a: a * factor if eqx.is_inexact_array(a) else a, kernel)


@every
def test_one_trace_for_all_numbers(name):
    if "mixture" in name:
        pytest.skip("its energy is not the counting one")
    kernel, counter = counting(name)
    moved(kernel, X, T, T_NEXT, jax.random.key(0))
    traces = counter.traces
    assert traces > 0
    # Every number of the kernel, step sizes and noise included.
    other = jax.tree.map(lambda a: a * 0.9 if eqx.is_inexact_array(a) else a, kernel)
    moved(other, 0.9 * X, 0.9 * T, 0.9 * T_NEXT, jax.random.key(1))
    moved(kernel, X, T_NEXT, T, jax.random.key(0))
    assert counter.traces == traces


COSTS = {  # evaluations of U in one step; a gradient is one too
    "Langevin, AIS": 1,
    "Langevin, drift": 1,
    "Transport, zero": 1,
    "Transport, Euler": 1 + 1,
    "Transport, RK4": 1 + 4,
    "flow map": 1,
    "underdamped, AIS": 1,
    "underdamped, drift": 1 + 1,
    "HMC, leapfrog": 3,
    "HMC, 2MN": 2 * 2,
    "Refreshed": 1 + 3,  # its energy is new in each step
    "SMC": 1 + (1 + 3),  # HMC begins with a gradient at its new time
    "map and MALA": 2 + (1 + 1),
    "MALA and map": (1 + 1) + 5,
    "Langevin and HMC": (1 + 1) + (1 + 1),
    "independence": 1,
    "HMC and jump": (1 + 3) + 1,
}


@pytest.mark.parametrize("name", COSTS)
def test_a_step_costs_what_it_says(name):
    kernel, counter = counting(name)
    moved(kernel, X, T, T_NEXT, jax.random.key(0))
    jax.effects_barrier()
    counter.calls = 0
    _, _, info = moved(kernel, X, T, T_NEXT, jax.random.key(0))
    jax.effects_barrier()
    start = 0 if name == "Refreshed" else 1  # of init
    assert counter.calls == start + COSTS[name]
    costs = jax.tree.leaves(info, is_leaf=lambda c: isinstance(c, Cost))
    costs = [c for c in costs if isinstance(c, Cost)]
    assert sum(int(c.energy + c.gradient) for c in costs) == COSTS[name]


@pytest.mark.parametrize("name", ["Transport, zero", "Transport, RK4", "inverse, Euler", "SMC"])
def test_an_energy_handed_over_is_not_evaluated_again(name):
    """No kernel that needs no gradient touches the energy in `init` when it is given."""
    counter = Counter()
    kernel = KERNELS[name](annealing(counter))
    start = kernel.init(X, T, energy=jnp.array([1.0, 2.0]), key=jax.random.key(0))
    assert counter.traces == 0
    np.testing.assert_array_equal(start.energy, [1.0, 2.0])


@pytest.mark.parametrize("name", ["Langevin, drift", "HMC, leapfrog"])
def test_a_kernel_that_needs_a_gradient_holds_the_energy_it_is_given(name):
    start = kernel_of(name).init(X, T, energy=jnp.array([1.0, 2.0]), key=jax.random.key(0))
    np.testing.assert_array_equal(start.energy, [1.0, 2.0])


class Scripted(AbstractManifold):
    """The plane with given noise: what a reversed path must be fed with."""

    given: jax.Array

    def reference(self, *, key):
        return self.given

    def check(self, x, what="x"):
        Euclidean(2).check(x, what)

    def noise(self, x, *, key):
        return self.given

    def retract(self, x, v):
        return x + v

    def inner(self, u, v):
        return jnp.sum(u * v)

    def gradient(self, f, x, *, has_aux=False):
        return jax.grad(f, has_aux=has_aux)(x)

    def divergence(self, b, x, *, key=None):
        return jnp.trace(jax.jacfwd(b)(x))

    def project(self, x):
        return x


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_work_of_a_map_and_of_its_reversal_cancel(name):
    kernel, key = kernel_of(name), jax.random.key(0)
    _, there, _ = moved(kernel, X, T, T_NEXT, key)
    _, back, _ = moved(kernel.reversed(), there.x, T_NEXT, T, key)
    np.testing.assert_allclose(back.x, X, rtol=0, atol=1e-12)
    assert abs(there.log_weight.value + back.log_weight.value) < 1e-12
    assert abs(there.log_weight.value) > 1e-3
    # Twin: the same kernel marched back is not the reversal, unless it is an involution.
    if "zero" not in name:
        _, wrong, _ = moved(kernel, there.x, T_NEXT, T, key)
        assert abs(there.log_weight.value + wrong.log_weight.value) > 1e-10


@pytest.mark.parametrize("name", [n for n in KERNELS if n.startswith("Langevin, ")])
def test_two_kernel_work_is_antisymmetric_and_that_of_the_step(name):
    if "continuous" in name:
        pytest.skip("the continuous-time weight has no reversal, and says so")
    kernel = kernel_of(name)
    assert isinstance(kernel, AbstractTwoKernel)
    between = eqx.filter_jit(kernel.log_weight_between)
    start, end, _ = moved(kernel, X, T, T_NEXT, jax.random.key(3))
    work = end.log_weight.value
    assert abs(between(T, X, T_NEXT, end.x) - work) < 1e-12 * (1 + abs(work))
    assert abs(between(T_NEXT, end.x, T, X) + work) < 1e-12 * (1 + abs(work))
    # Anywhere, not only where the step went.
    y = jnp.array([-0.4, 0.9])
    there, back = between(T, X, T_NEXT, y), between(T_NEXT, y, T, X)
    assert abs(there + back) < 1e-12 * (1 + abs(there))


def test_langevin_retraced_by_its_own_noise():
    """A walker that goes back by the noise of the backward kernel loses the weight it gained."""

    def kernel(noise):
        return Langevin(annealing(space=Scripted(noise)), drift(), 0.3)

    noise, step, key = jnp.array([0.8, -0.3]), T_NEXT - T, jax.random.key(0)
    _, there, _ = moved(kernel(noise), X, T, T_NEXT, key)
    gradient, b = there.memory
    mean = there.x - step * b - 0.3 * step * gradient
    _, back, _ = moved(kernel((X - mean) / jnp.sqrt(0.6 * step)), there.x, T_NEXT, T, key)
    np.testing.assert_allclose(back.x, X, rtol=0, atol=1e-13)
    assert abs(there.log_weight.value + back.log_weight.value) < 1e-12


@eqx.filter_jit
def trajectory(hmc, t, start, momentum):
    """Return where a trajectory ends and with which momentum."""
    target = hmc.path.at(t)
    begin = (start.x, momentum, start.energy, start.memory)
    return hmc._trajectory(target, hmc.step_size, begin)[:2]


@pytest.mark.parametrize("name", ["map and MALA", "MALA and map"])
def test_compositions_retraced_by_the_opposite_momentum(name):
    """HMC from the end with the momentum −p_end comes back; then the reversed map undoes its work.

    The trajectory is re-run by hand to learn p_end, so the retracing is that of the compose itself.
    """
    momentum, key = jnp.array([0.8, -0.3]), jax.random.key(2)

    def kernel(p):
        return KERNELS[name](annealing(space=Scripted(p)))

    _, there, _ = moved(kernel(momentum), X, T, T_NEXT, key)
    hmc = next(m for m in kernel(momentum).members if isinstance(m, HMC))
    now = T if name.startswith("MALA") else T_NEXT
    before = X
    if not name.startswith("MALA"):
        _, mid, _ = moved(kernel(momentum).members[0], X, T, T_NEXT, key)
        before = mid.x
    start = eqx.filter_jit(hmc.init)(before, now, key=key)
    x, p_end = trajectory(hmc, now, start, momentum)
    assert np.abs(x - before).max() > 1e-2
    _, back, infos = moved(kernel(-p_end).reversed(), there.x, T_NEXT, T, key)
    np.testing.assert_allclose(back.x, X, rtol=0, atol=1e-12)
    assert abs(there.log_weight.value + back.log_weight.value) < 1e-12
    assert abs(there.log_weight.value) > 1e-3


class SinglePrecisionNoise(AbstractManifold):
    """R^n whose noise is drawn in float32 in either precision, so that two runs may be compared."""

    flat: Euclidean

    def reference(self, *, key):
        return self.flat.reference(key=key)

    def check(self, x, what="x"):
        self.flat.check(x, what)

    def noise(self, x, *, key):
        return jax.random.normal(key, x.shape, jnp.float32).astype(x.dtype)

    def retract(self, x, v):
        return x + v

    def inner(self, u, v):
        return self.flat.inner(u, v)

    def gradient(self, f, x, *, has_aux=False):
        return self.flat.gradient(f, x, has_aux=has_aux)

    def divergence(self, b, x, *, key=None):
        return self.flat.divergence(b, x, key=key)

    def project(self, x):
        return x


def lattice():
    """φ⁴ on 16² from a normal base, noise in single precision, and a field of each precision."""
    shape = (16, 16)
    path = Annealing(Normal(shape), Phi4(shape, -1.0, 0.9))
    space = SinglePrecisionNoise(Euclidean(shape))
    path = eqx.tree_at(lambda p: (p.base.space, p.target.space), path, (space, space))
    return path, np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kernel", [Transport, lambda path: Langevin(path, epsilon=2.0)])
def test_single_precision_log_weights_on_a_lattice(kernel):
    """|A_32 − A_64| < 1e-3 √V after 200 steps, their increments up to 100 each."""
    path, start = lattice()
    times = np.float32(uniform_times(200))  # the same grid in both
    weights = []
    for dtype in (jnp.float32, jnp.float64):

        @eqx.filter_jit
        def weight(kernel, x, times):
            key = jax.random.key(1)
            return march(kernel, kernel.init(x, times[0], key=key), times, key=key)[1].log_weight

        out = weight(
            cast(kernel(path), dtype), jnp.asarray(start, dtype), jnp.asarray(times, dtype)
        )
        assert out.dtype == dtype
        weights.append(np.asarray(out, float))
    assert np.abs(weights[0] - weights[1]).max() < 1e-3 * 16
    assert np.ptp(weights[1]) > 10


def test_single_precision_delta_energy_on_a_lattice():
    path, start = lattice()
    deltas = []
    for dtype in (jnp.float32, jnp.float64):
        hmc = cast(HMC(path.target, 0.05, 10), dtype)
        one, key = jnp.ones((), dtype), jax.random.key(1)
        _, _, info = moved(hmc, jnp.asarray(start, dtype), one, one, key)
        assert info.delta_energy.dtype == dtype
        deltas.append(float(info.delta_energy))
    assert abs(deltas[0] - deltas[1]) < 1e-3
    assert abs(deltas[1]) > 1e-2


def test_no_public_kernel_is_missing():
    public = {
        cls
        for room in (dynamics, mcmc)
        for _, cls in inspect.getmembers(room, inspect.isclass)
        if issubclass(cls, AbstractKernel)
        and not inspect.isabstract(cls)
        and not issubclass(cls, dynamics.AbstractTransition)  # test_transitions.py
    }
    others = {type(make()) for make in MEMBERS.values()}
    assert public == {type(kernel_of(name)) for name in KERNELS} | (others & public)


def test_the_double_well_is_a_local_energy():
    """The walkers' energies are terms: law 3 compares arrays, not sums."""
    path = Annealing(Normal(2), DoubleWell(2))
    assert Transport(path).init(X, T, key=jax.random.key(0)).energy.shape == (2,)
    mixed = Annealing(Normal(2), Energy(lambda x: jnp.sum(x**4), Euclidean(2)))
    assert Transport(mixed).init(X, T, key=jax.random.key(0)).energy.shape == ()
