"""One step of all particles as a function of its carry: what runs inside a chunk of `simulate`.

Particle axes are (n,), or (members, n) for a stack. The kernel sees one particle; here are the only
vmaps. Keys: fold_in(fold_in(key, step), global index of the particle).
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._tree import private_copy
from .._typing import Array, Count, Flag, Float, Int, PRNGKey
from ..dynamics import AbstractKernel, State, reduce_particles
from ..estimators import AbstractResampling, weights
from ..estimators import reset as reset_weights
from .checks import check_context, check_energies, check_same_types
from .keys import sample_keys, stream
from .records import SMALL, Keep, OfState, Ring, StreamingMoments, capacity_for, observed


class SimCarry(eqx.Module):
    """All that changes in a simulation."""

    i: Count
    state: State
    moments: StreamingMoments
    records: tuple[Ring, Ring | None]  # of rows, and of draws
    stop: Flag


class SimStep(eqx.Module):
    """One step; an argument of the chunk, nothing of it changes."""

    stacked: AbstractKernel | None
    shared: AbstractKernel
    times: Float[Array, " n"] | None
    burn_in: Count
    index: Int[Array, "..."]
    key: PRNGKey
    resample: AbstractResampling | None
    observe: Callable | OfState | None
    keep: Keep | None
    populations: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)

    def over_particles(self, function: Callable, *trees: PyTree) -> PyTree:
        """Return function(kernel, *particle) over all particles."""

        def members(kernel, *trees):
            if self.batch_size is None:
                return jax.vmap(lambda *args: function(kernel, *args))(*trees)
            return jax.lax.map(
                lambda args: function(kernel, *args), trees, batch_size=self.batch_size
            )

        if self.stacked is None:
            return members(self.shared, *trees)

        def member(stacked, *trees):
            return members(eqx.combine(stacked, self.shared), *trees)

        return eqx.filter_vmap(member)(self.stacked, *trees)

    def begin(self, x: PyTree, context: PyTree) -> State:
        """Return the states at the first time."""
        t = jnp.ones(()) if self.times is None else self.times[0]
        keys = sample_keys(stream(self.key, "init"), self.index)

        def init(kernel, x, context, key):
            return kernel.init(x, t, context=context, key=key)

        return self.over_particles(init, x, context, keys)

    def interval(self, i: Count) -> tuple[Array, Array]:
        """Return the times of step i; (1, 1) for chains."""
        if self.times is None:
            return jnp.ones(()), jnp.ones(())
        return self.times[i], self.times[i + 1]

    def moved(self, state: State, i: Count) -> tuple[State, PyTree]:
        """Return the states and infos after step i, particle by particle."""
        t, t_next = self.interval(i)
        keys = sample_keys(jax.random.fold_in(self.key, i), self.index)

        def step(kernel, state, key):
            return kernel.step(state, t, t_next, key=key)

        return self.over_particles(step, state, keys)

    def __call__(self, carry: SimCarry) -> SimCarry:
        """Take one step, or none if a particle failed."""
        state, info = self.moved(carry.state, carry.i)
        failed = jnp.any(went_wrong(state, info))
        row = self.row(state, carry.i, info)
        state, resampled = self.resampled(state, carry.i)
        if "resampled" in row:
            row = row | {"resampled": resampled}

        n = carry.i + 1 if self.times is not None else carry.i - self.burn_in
        due = ~failed & (n >= 0)
        moments, draws = self.streamed(carry, state, n, due)
        state = jax.tree.map(lambda a, b: jnp.where(failed, b, a), state, carry.state)
        records = carry.records[0].put(n, row, due), draws
        return SimCarry(jnp.where(failed, carry.i, carry.i + 1), state, moments, records, failed)

    def row(self, state: State, i: Count, info: PyTree) -> dict[str, Any]:
        """Return what is recorded after step i: along times weighted means, for chains series."""
        axis = state.log_weight.high.ndim - 1
        values = self.observables(state)
        if self.times is None:
            small = {k: v for k, v in values.items() if math.prod(v.shape[axis + 1 :]) <= SMALL}
            return {"info": reduce_particles(info, axis), "observed": small}
        per_member = jax.vmap if axis else lambda f: f
        log_weight = state.log_weight.value

        def weighted(value, log_weight):
            return weights.mean(value, log_weight)[0]

        known = {"ess": weights.ess, "log_z": weights.log_z} if self.shared.weighted else {}
        return {
            "t": self.times[i + 1],
            **{name: per_member(function)(log_weight) for name, function in known.items()},
            "resampled": jnp.zeros((), jnp.int32),
            "info": reduce_particles(info, axis),
            "observed": {k: per_member(weighted)(v, log_weight) for k, v in values.items()},
        }

    def observables(self, state: State) -> dict[str, Array]:
        """Return the observables of all particles."""
        if self.observe is None:
            return {}
        return self.over_particles(lambda _, s: observed(self.observe, s), state)

    def streamed(self, carry: SimCarry, state: State, n: Count, due: Flag):
        """Return the moments of large observables and the ring of kept draws."""
        moments, draws = carry.moments, carry.records[1]
        if jax.tree.leaves(moments.mean):
            axis = state.log_weight.high.ndim - 1
            moments = moments.add(self.large(state, axis), due)
        if self.keep is not None and draws is not None:
            every = self.keep.every
            draws = draws.put(n // every, self.kept(state), due & (n % every == 0))
        return moments, draws

    def large(self, state: State, axis: int) -> dict[str, Array]:
        """Return observables too large for series, chain axis first."""
        if self.times is not None:
            return {}
        values = self.observables(state)
        large = {k: v for k, v in values.items() if math.prod(v.shape[axis + 1 :]) > SMALL}
        return {k: jnp.moveaxis(v, axis, 0) for k, v in large.items()}

    def kept(self, state: State) -> PyTree:
        """Return what `keep` stores of the particles."""
        keep, axis = self.keep, state.log_weight.high.ndim - 1
        assert keep is not None
        there = state.log_weight.high.shape[axis]
        num = there if keep.particles is None else min(there, keep.particles)
        seen = state if isinstance(keep.what, OfState) else state.x
        seen = jax.tree.map(lambda a: jax.lax.slice_in_dim(a, 0, num, axis=axis), seen)
        apply = jax.vmap(keep.what.fn if isinstance(keep.what, OfState) else keep.what)
        return apply(seen) if axis == 0 else jax.vmap(apply)(seen)

    def resampled(self, state: State, i: Count) -> tuple[State, Array]:
        """Resample within every population where its ESS asks for it; never at the last time.

        The key of a population is that of its first walker: alone, it would go the same way.
        """
        resample = self.resample
        if resample is None or self.times is None:
            return state, jnp.zeros((), jnp.int32)
        shape = state.log_weight.high.shape
        groups = state.log_weight.high.size // (shape[-1] // self.populations)
        cut = jax.tree.map(lambda a: _regroup(a, len(shape), groups), state)
        key = stream(jax.random.fold_in(self.key, i), "resample")
        keys = sample_keys(key, _regroup(self.index, len(shape), groups)[:, 0])
        last = i + 2 >= self.times.shape[0]

        def one(state: State, key):
            index, flag = resample(state.log_weight.value, key=key)
            index = jnp.where(last, jnp.arange(index.size, dtype=index.dtype), index)
            drawn = jax.tree.map(lambda a: a[index], state)
            log_weight = reset_weights(state.log_weight, flag & ~last)
            return eqx.tree_at(lambda s: s.log_weight, drawn, log_weight), flag & ~last

        new, flags = jax.vmap(one)(cut, keys)
        back = jax.tree.map(lambda a: a.reshape(*shape, *a.shape[2:]), new)
        return back, jnp.sum(flags, dtype=jnp.int32)


def went_wrong(state: State, info: PyTree) -> Array:
    """Return for each particle whether its weight or its place is no number, or `failed` is set.

    A weight of zero is none of these, and where such a walker stands does not matter.
    """
    weight = state.log_weight.value
    wrong = jnp.isnan(weight) | (weight == jnp.inf)
    for leaf in jax.tree.leaves(state.x):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            lost = ~jnp.isfinite(leaf).reshape(*weight.shape, -1).all(-1)
            wrong = wrong | (lost & (weight > -jnp.inf))
    for node in jax.tree.leaves(info, is_leaf=lambda n: hasattr(n, "failed")):
        wrong = wrong | getattr(node, "failed", False)
    return wrong


def _regroup(leaf: Array, axes: int, groups: int) -> Array:
    return leaf.reshape(groups, -1, *leaf.shape[axes:])


@eqx.filter_jit
def inspect(step: SimStep, state: State, i: Count):
    """Run a step again and return states, infos and which particles went wrong."""
    moved, info = step.moved(state, i)
    return moved, info, went_wrong(moved, info)


def start_simulation(step: SimStep, x: PyTree, context: PyTree) -> SimCarry:
    """Return the carry before the first step: copies, so that nothing of the caller is donated."""
    check_context(context, step.index.shape[:-1])
    carry = _start(step, x, context)
    check_energies(carry.state.energy, carry.state.log_weight.high.shape)
    return private_copy(carry)


@eqx.filter_jit
def _start(step: SimStep, x: PyTree, context: PyTree) -> SimCarry:
    state = step.begin(x, context)
    after, info = eqx.filter_eval_shape(step.moved, state, jnp.zeros((), jnp.int32))
    why = "x0, the energy and the times must share one floating dtype"
    check_same_types(state, after, "in a step the kernel's State", why)

    zero, one = jnp.zeros((), jnp.int32), jnp.ones((), bool)
    row = step.row(state, zero - 1, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), info))
    large = step.large(state, state.log_weight.high.ndim - 1)
    rows, draws = Ring.like(row, capacity_for(row, limit=1024)), None
    if step.keep is not None:
        kept = step.kept(state)
        capacity = capacity_for(kept, limit=1024)
        if step.times is None:
            draws = Ring.like(kept, capacity)
        else:
            draws = Ring.like(kept, min(capacity, step.times.shape[0])).put(zero, kept, one)
    if step.times is not None:  # the start is the first row
        rows = Ring.like(row, min(capacity_for(row), step.times.shape[0])).put(zero, row, one)
    return SimCarry(zero, state, StreamingMoments.like(large), (rows, draws), ~one)
