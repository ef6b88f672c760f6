r"""Kernels that move weighted particles: `init` makes a `State`, `step` moves it from t to t_next.

Three families:

- a **process** (`AbstractProcess`) follows an annealing and changes log-weights. In continuous time
  dA = r dt, where for an SDE with drift b − ε∇U the rate is r = div b − b·∇U_t − ∂_t U_t; the
  discrete weights here are exact at every step size instead.
- a **stationary** kernel (HMC, heat bath) leaves ρ_t invariant and no weight changes.
- a **transition** (the ODE or SDE of an interpolant, a forecast, a simulator) carries the law at t
  to the law at t_next as well as its drift does, and keeps no account: no weight.

`reversed()` of a kernel steps from t_next to t and undoes the original in law: a step and its
reversal do opposite work. Rooms see one particle; drivers vmap.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._tree import Sum, real_dtype
from .._typing import Context, Count, Flag, PRNGKey, Scalar, Time, X
from ..paths import AbstractAnnealing
from ..targets import AbstractEnergy


class State(eqx.Module):
    """One particle.

    Attributes
    ----------
    x
        The sample.
    log_weight
        A, a compensated sum.
    context
        Labels or history, handed through.
    energy
        U at x at the present time (the terms of a local energy), handed from kernel to kernel.
    memory
        Private to the kernel: gradients, drifts, momenta.
    """

    x: X
    log_weight: Sum
    context: Context = None
    energy: Any = None
    memory: Any = None


class Cost(eqx.Module):
    """Evaluations of one step of one particle; drivers add them up."""

    energy: Count
    gradient: Count
    divergence: Count

    @classmethod
    def of(
        cls, energy: ArrayLike = 0, gradient: ArrayLike = 0, divergence: ArrayLike = 0
    ) -> "Cost":
        """Build from numbers; a gradient gives the energy too and is not counted twice."""
        return cls(*(jnp.asarray(n, jnp.int32) for n in (energy, gradient, divergence)))


class AbstractKernel(eqx.Module):
    """Moves one particle.

    `start_gradients` counts the gradients of the energy that `init` costs, the energy itself being
    given: `compose` adds them to the cost of a step, since its members begin anew in each.
    """

    start_gradients: ClassVar[int] = 0

    @property
    @abstractmethod
    def stationary(self) -> bool:
        """True when the kernel leaves the law at the present time invariant and has no weight."""

    @property
    @abstractmethod
    def weighted(self) -> bool:
        """True when log-weights account for what the kernel does: then ESS and log Z exist."""

    @abstractmethod
    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state at (t, x) with weight zero.

        `energy` is given by whoever knows U_t(x); the kernel computes only what else it needs.
        """

    @abstractmethod
    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey) -> tuple[State, Any]:
        """Move from t to t_next; return the new state and an info Module of scalars.

        Drivers reduce info over particles: floats by mean, integers by sum, booleans by any. A
        boolean `failed` stops the run with the sentence of `explain`.
        """

    @abstractmethod
    def reversed(self) -> "AbstractKernel":
        """Return the kernel whose steps from t_next to t undo the steps of this one in law."""

    @abstractmethod
    def explain(self, info: Any) -> str:
        """Return the sentence for a step that failed."""


class AbstractProcess(AbstractKernel):
    """A kernel along an annealing that knows its weight."""

    path: eqx.AbstractVar[AbstractAnnealing]

    @property
    def stationary(self) -> bool:
        """False: a process moves along its path."""
        return False

    @property
    def weighted(self) -> bool:
        """True: a process carries weights."""
        return True

    @abstractmethod
    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        """Return r_t(x), the rate of dA = r dt; one unbiased probe when a key is given."""


class AbstractTwoKernel(AbstractProcess):
    """A process whose transition density is known: the weight between two GIVEN points."""

    @abstractmethod
    def log_weight_between(self, t: Time, x: X, t_next: Time, x_next: X) -> Scalar:
        """Return ΔA of the move from (t, x) to (t_next, x_next)."""


class AbstractEventProcess(AbstractProcess):
    """A process of random events: it can also be run event by event."""

    @abstractmethod
    def advance(
        self, state: State, times: Float[Array, " n"], num_events: Count, *, key: PRNGKey
    ) -> tuple[State, Any]:
        """Run `num_events` events along `times`, from wherever the state stopped; stay at the end.

        A lane keeps its own place in `State.memory`, so that under vmap none waits for another at
        each time; the same key throughout gives the same path however it is cut. The weight is
        that of a sample only where `info.arrived`.
        """


class AbstractStationary(AbstractKernel):
    """A kernel with a stationary law: it acts at `path.at(max(t, t_next))`."""

    path: eqx.AbstractVar[AbstractAnnealing | AbstractEnergy]

    @property
    def stationary(self) -> bool:
        """True: the law stays."""
        return True

    @property
    def weighted(self) -> bool:
        """False: no weight changes."""
        return False


class AbstractTransition(AbstractKernel):
    """A kernel from the law at t to the law at t_next that carries no weight."""

    @property
    def stationary(self) -> bool:
        """False: it moves."""
        return False

    @property
    def weighted(self) -> bool:
        """False: how far it misses the law at t_next, it does not say."""
        return False


def reduce_particles(info: PyTree, axes: int | tuple[int, ...] | None = 0) -> PyTree:
    """Reduce axes of an info (None: all): floats by mean, integers by sum, booleans by any."""

    def reduce(leaf):
        if leaf.dtype == bool:
            return jnp.any(leaf, axis=axes)
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.sum(leaf, axis=axes, dtype=leaf.dtype)
        return jnp.mean(leaf, axis=axes)

    return jax.tree.map(reduce, info)


def any_failed(info: PyTree) -> Flag:
    """Return whether a part of an info says `failed`, anywhere along its axes."""
    nodes = jax.tree.leaves(info, is_leaf=lambda node: hasattr(node, "failed"))
    flags = [jnp.any(node.failed) for node in nodes if hasattr(node, "failed")]
    return jnp.any(jnp.stack([jnp.zeros((), bool), *flags]))


def park(increment: Scalar, old: Any, new: Any) -> Scalar:
    """Return the increment of A, with a particle behind a hard wall (U = +inf) at −inf for ever."""
    outside = jnp.any(old == jnp.inf) | jnp.any(new == jnp.inf)
    return jnp.where(outside, -jnp.inf, increment)


def no_weight(x: X) -> Sum:
    """Return the log-weight 0 in the real dtype of x."""
    return Sum.of(jnp.zeros((), real_dtype(x)))
