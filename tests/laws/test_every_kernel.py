"""Laws of every kernel of every space: links, spins, ladders, forecasts, maps and simulators.

`test_kernels.py` asks more of those that live on R^n along an annealing. Here:

1. A step keeps structure, shapes and dtypes of the state; the sample stays in its space.
2. One trace serves all times and all numbers of the kernel.
3. The context is handed through.
4. `State.energy`, where a kernel holds one, is that of the new point at the new time.
5. Only what is `weighted` changes a log-weight; what is `stationary` does not.
6. `reversed` twice steps as once did not happen, or the kernel refuses with a sentence.
7. The same key gives the same step, another key another one (deterministic maps excepted).
8. No public kernel is missing from the dictionaries.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.laws.test_one_more_kernel import RandomWalk

from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.dynamics import (
    ODE,
    FlowMapKernel,
    InterpolantSDE,
    Jump,
    Lead,
    PointForecast,
    UnderdampedLangevin,
)
from pushforward.dynamics.base import failure_of
from pushforward.dynamics.systems import JumpDiffusion, OrnsteinUhlenbeck
from pushforward.flows import GaussianFlowMap
from pushforward.mcmc import HMC, IndependenceMetropolis, Refreshed, ReplicaExchange
from pushforward.paths import (
    Annealing,
    ExactDrift,
    Linear,
    Predictor,
    QuadraticPoint,
    uniform_times,
)
from pushforward.recipes import metal_hmc
from pushforward.spaces import SU2, U1, Lattice
from pushforward.targets import (
    GaussianConditional,
    Haar,
    Ising,
    Normal,
    PseudofermionAction,
    SpinFermion,
    Uniform,
    WilsonAction,
    energy_terms,
)


class Wave(eqx.Module):
    """A field with no symmetry, with one number in it."""

    strength: jax.Array

    def __call__(self, t, x, *known, context=None, key=None):
        return self.strength * jnp.sin(jnp.roll(x, 1) + t) - 0.2 * x


class Pull(eqx.Module):
    """Locally equivariant rates of spins: G_i = −s x_i Σ of the neighbours."""

    strength: jax.Array

    def __call__(self, t, x, differences):
        return -self.strength * x * (jnp.roll(x, 1, 0) + jnp.roll(x, -1, 0))


def wilson(beta, group):
    return WilsonAction(beta, Lattice((4, 4)), group)


def ladder():
    return eqx.filter_vmap(lambda b: HMC(wilson(b, U1()), 0.2, 2))(jnp.array([1.0, 2.0, 3.0]))


def annealed(energy):
    return Annealing(Haar(energy.space), energy)


def flow_map():
    path = Annealing(Normal(2, 0.0, 1.0), Normal(2, 1.7, 0.4))
    return FlowMapKernel(GaussianFlowMap(Linear(), 1.7, 0.4), path)


def forecast():
    drift = ExactDrift(QuadraticPoint(), GaussianConditional(0.5, jnp.array([0.1, -0.2]), 0.3))
    return PointForecast(drift, QuadraticPoint())


MEMBERS = {
    "HMC on angles": lambda: HMC(annealed(wilson(2.0, U1())), 0.2, 2),
    "HMC on SU(2)": lambda: HMC(wilson(2.0, SU2()), 0.2, 2),
    "underdamped on angles": lambda: UnderdampedLangevin(annealed(wilson(2.0, U1()))),
    "IndependenceMetropolis": lambda: IndependenceMetropolis(
        Annealing(Normal(2), Normal(2, 1.0, 0.5)), Normal(2, 0.5, 1.5)
    ),
    "ReplicaExchange": lambda: ReplicaExchange(ladder()),
    "Refreshed": lambda: metal_hmc(PseudofermionAction(SpinFermion((2, 2), 4)), 0.1, 2),
    "RandomWalk on links": lambda: RandomWalk(annealed(wilson(2.0, SU2())), 0.2),
    "Jump": lambda: Jump(Annealing(Uniform(Ising((3, 3), 0.4).space), Ising((3, 3), 0.4))),
    "Jump, rates": lambda: Jump(
        Annealing(Uniform(Ising((3, 3), 0.4).space), Ising((3, 3), 0.4)), Pull(scalar(0.5))
    ),
    "ODE": lambda: ODE(Wave(scalar(0.5))),
    "InterpolantSDE": lambda: InterpolantSDE(Predictor(Wave(scalar(0.5)), Linear())),
    "PointForecast": forecast,
    "Lead": lambda: Lead(forecast(), uniform_times(4)),
    "FlowMapKernel": flow_map,
    "FlowMapKernel, inverse": lambda: flow_map().reversed(),
    "OrnsteinUhlenbeck": lambda: OrnsteinUhlenbeck(dim=2),
    "JumpDiffusion": JumpDiffusion,
}
NAMES = {Refreshed}  # classes that a recipe stands for
DETERMINISTIC = {"ODE", "FlowMapKernel", "FlowMapKernel, inverse"}
IRREVERSIBLE = {"PointForecast", "Lead", "JumpDiffusion"}
FROM_ZERO = {"PointForecast"}  # known at t = 0 only
BACKWARD = {"FlowMapKernel, inverse"}
CONTEXT = np.arange(3)
every = pytest.mark.parametrize("name", MEMBERS)
kernel_of = functools.cache(lambda name: MEMBERS[name]())
TRACES = {}


def space_of(kernel):
    return getattr(getattr(kernel, "path", None), "space", None)


@functools.cache
def start_of(name):
    space = space_of(kernel_of(name))
    if space is None:
        return jnp.array([0.7, -1.2])
    return space.reference(key=jax.random.key(5))


def times_of(name):
    if name in FROM_ZERO:
        return scalar(0.0), scalar(0.3)
    if kernel_of(name).stationary:  # it acts at the present time
        return scalar(0.5), scalar(0.5)
    return (scalar(0.5), scalar(0.3)) if name in BACKWARD else (scalar(0.3), scalar(0.5))


@functools.cache
def stepper(name):
    """Return the compiled step of a member, which counts its traces in TRACES."""

    @eqx.filter_jit
    def moved(kernel, x, t, t_next, key):
        TRACES[name] = TRACES.get(name, 0) + 1
        start = kernel.init(x, t, context=CONTEXT, key=jax.random.fold_in(key, 0))
        return start, *kernel.step(start, t, t_next, key=jax.random.fold_in(key, 1))

    return moved


def moved(name, seed=0):
    t, t_next = times_of(name)
    return stepper(name)(kernel_of(name), start_of(name), t, t_next, jax.random.key(seed))


def signature(tree):
    return jax.tree.structure(tree), [
        (a.shape, a.dtype, getattr(a, "weak_type", False)) for a in jax.tree.leaves(tree)
    ]


@every
def test_a_step_keeps_the_state_and_the_space(name):
    start, end, info = moved(name)
    assert signature(start) == signature(end)
    space = space_of(kernel_of(name))
    if space is not None:
        space.check(end.x)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(end.x))
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(info))


@every
def test_one_trace_serves_all_numbers(name):
    moved(name)
    traces, (t, t_next) = TRACES[name], times_of(name)
    other = jax.tree.map(lambda a: a * 0.97 if eqx.is_inexact_array(a) else a, kernel_of(name))
    stepper(name)(other, start_of(name), 0.9 * t, 0.9 * t_next, jax.random.key(1))
    assert TRACES[name] == traces


@every
def test_context_and_energy_are_handed_over(name):
    kernel, (_, t_next) = kernel_of(name), times_of(name)
    _, end, _ = moved(name)
    np.testing.assert_array_equal(end.context, CONTEXT)
    if end.energy is not None and not isinstance(kernel, Refreshed):
        held = eqx.filter_jit(lambda path, x: energy_terms(path.at(t_next), x))(kernel.path, end.x)
        np.testing.assert_allclose(end.energy, held, rtol=0, atol=1e-10)


@every
def test_only_weighted_kernels_change_weights(name):
    kernel = kernel_of(name)
    start, end, _ = moved(name)
    assert start.log_weight.value == 0
    assert np.isfinite(end.log_weight.value)
    assert not (kernel.stationary and kernel.weighted)
    if not kernel.weighted:
        assert end.log_weight.value == 0


@every
def test_reversed_twice_is_itself_or_refused(name):
    kernel = kernel_of(name)
    if name in IRREVERSIBLE:
        with pytest.raises(InputError, match=r".{40}"):
            kernel.reversed()
        return
    twice = kernel.reversed().reversed()
    assert jax.tree.structure(twice) == jax.tree.structure(kernel)
    for a, b in zip(jax.tree.leaves(twice), jax.tree.leaves(kernel), strict=True):
        np.testing.assert_array_equal(a, b)


@every
def test_the_key_is_all_there_is_to_chance(name):
    (_, first, _), (_, again, _), (_, other, _) = moved(name), moved(name), moved(name, seed=7)
    assert eqx.tree_equal(first, again)
    same = all(
        bool((a == b).all())
        for a, b in zip(jax.tree.leaves(first.x), jax.tree.leaves(other.x), strict=True)
    )
    assert same or name not in DETERMINISTIC
    assert not same or name in DETERMINISTIC or kernel_of(name).stationary


@every
def test_a_failed_step_has_a_sentence(name):
    _, _, info = moved(name)
    assert len(failure_of(kernel_of(name), info)) > 10
