"""What is recorded: observables and draws, rows in ring buffers, streaming moments.

Rows belong to absolute step numbers, so cutting a run differently changes no row. Reduction over
an interval is that over particles: floats by mean, integers by sum, booleans by any.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import InputError
from .._fields import count, int32, integer
from .._tree import named_leaves
from .._typing import Count, Flag, Scalar
from ..dynamics import State

SMALL = 64  # entries up to which an observable of a chain is stored as a series
HOST = {"step", "phase", "total", "seconds", "rate", "state"}
COLUMNS = HOST | {"t", "ess", "log_z", "resampled", "info"}  # of the record of a simulation


class OfState(eqx.Module):
    """Marks an observable that wants the particle's `State`: `observe=OfState(lambda s: ...)`."""

    fn: Callable[[State], dict[str, Any]]


class Keep(eqx.Module):
    """Which draws are stored.

    Parameters
    ----------
    every
        Steps between draws (the start of a march along `times` counts as step 0).
    what
        Function of x, or `OfState(f)`; default the sample itself.
    particles
        Only the first so many particles (of each member of a stack); None for all.
    """

    every: Count = count(least=1, default=1, converter=int32)
    what: Callable[[Any], PyTree] | OfState = lambda x: x
    particles: int | None = integer(least=1, default=None)


def observed(observe: Callable | OfState | None, state: State) -> dict[str, jax.Array]:
    """Return the observables of one particle as a dict of arrays."""
    if observe is None:
        return {}
    out = observe.fn(state) if isinstance(observe, OfState) else observe(state.x)
    if not isinstance(out, dict):
        raise InputError(
            f"observe returned {type(out).__name__}, expected a dict of arrays: "
            "observe=lambda x: {'x2': jnp.sum(x**2)}"
        )
    for name in out:
        refuse_reserved(name, COLUMNS, "an observable")
    return {name: jnp.asarray(value) for name, value in out.items()}


def refuse_reserved(name: str, columns: set[str], what: str) -> None:
    """Refuse a user's name that is, or begins like, a column of the drivers."""
    if name in columns or name.partition(".")[0] in columns:
        raise InputError(
            f"{what} is called {name!r}, a column of the driver, which it would replace: call it "
            f"'my_{name}'"
        )


class MetricInterval(eqx.Module):
    """The open interval of a metric row: sums (floats, integers) and any (booleans) so far."""

    totals: PyTree
    count: Count

    @classmethod
    def like(cls, row: PyTree) -> "MetricInterval":
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), row)
        return cls(zeros, jnp.zeros((), jnp.int32))

    def add(self, row: PyTree, good: Flag | bool = True) -> "MetricInterval":
        """Return the interval with one more row; one that is not `good` is not counted."""

        def plus(a, b):
            return a | b if a.dtype == bool else a + b

        count = self.count + jnp.asarray(good, jnp.int32)
        return MetricInterval(jax.tree.map(plus, self.totals, row), count)

    def row(self) -> PyTree:
        """Return the reduced row; means over nothing are NaN."""

        def close(x):
            return x / self.count.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

        return jax.tree.map(close, self.totals)

    def cleared(self, when: Scalar) -> "MetricInterval":
        """Return the interval, emptied where `when` is true."""
        return jax.tree.map(lambda x: jnp.where(when, jnp.zeros_like(x), x), self)


class Ring(eqx.Module):
    """A preallocated buffer of rows; row n sits in slot n mod capacity."""

    rows: PyTree
    capacity: int = eqx.field(static=True)

    @classmethod
    def like(cls, row: PyTree, capacity: int) -> "Ring":
        make = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), row)
        return cls(make, capacity)

    def put(self, n: Count, row: PyTree, when: Scalar) -> "Ring":
        """Return the ring with row n written where `when` is true."""
        slot = n % self.capacity

        def write(buffer, new):
            return buffer.at[slot].set(jnp.where(when, new, buffer[slot]))

        return Ring(jax.tree.map(write, self.rows, row), self.capacity)

    def take(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return rows start..stop−1 as host arrays by name (row axis first)."""
        slots = np.arange(start, stop) % self.capacity
        return {
            name.replace("['", ".").replace("']", "").lstrip("."): np.asarray(leaf)[slots]
            for name, leaf in named_leaves(self.rows)  # ['objective'].x is called objective.x
        }


def capacity_for(row: PyTree, limit: int = 4096, budget: int = 1 << 28) -> int:
    """Return how many rows fit in `limit` rows and `budget` bytes; at least a start and a step."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(row))
    return max(2, min(limit, budget // max(size, 1)))


class StreamingMoments(eqx.Module):
    """Streaming mean and M2 of large observables over chains and steps (Chan et al.).

    Every step brings the same number of chains, so counting steps is enough (and does not overflow
    where the number of draws would).
    """

    steps: Count
    mean: PyTree
    m2: PyTree

    @classmethod
    def like(cls, values: PyTree) -> "StreamingMoments":
        """Return empty moments for per-chain values (leading axis chain)."""
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), values)
        squares = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.finfo(x.dtype).dtype), zeros)
        return cls(jnp.zeros((), jnp.int32), zeros, squares)

    def add(self, values: PyTree, when: Scalar) -> "StreamingMoments":
        """Return the moments merged with one step's chains where `when` is true."""

        def mean(mean, x):
            steps = self.steps.astype(jnp.finfo(x.dtype).dtype)
            return mean + (jnp.mean(x, axis=0) - mean) / (steps + 1)

        def m2(m2, mean, x):
            here = jnp.mean(x, axis=0)
            steps = self.steps.astype(m2.dtype)
            spread = jnp.sum(jnp.abs(x - here[None]) ** 2, axis=0)
            return m2 + spread + jnp.abs(here - mean) ** 2 * (steps / (steps + 1) * x.shape[0])

        merged = StreamingMoments(
            self.steps + 1,
            jax.tree.map(mean, self.mean, values),
            jax.tree.map(m2, self.m2, self.mean, values),
        )
        return jax.tree.map(lambda a, b: jnp.where(when, a, b), merged, self)


def scalars(row: dict[str, np.ndarray]) -> dict[str, Any]:
    """Keep the scalar columns of one row, as Python numbers."""
    return {name: value.item() for name, value in row.items() if np.ndim(value) == 0}
