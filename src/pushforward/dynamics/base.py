r"""Kernels that move weighted particles: `init` makes a `State`, `step` moves it from t to t_next.

Three families:

- a **process** (`AbstractProcess`) follows an annealing and changes log-weights. In continuous time
  dA = r dt, where for an SDE with drift b − ε∇U the rate is r = div b − b·∇U_t − ∂_t U_t; the
  discrete weights here are exact at every step size instead.
- a **stationary** kernel (HMC, heat bath) leaves ρ_t invariant and no weight changes.
- a **transition** (the ODE or SDE of an interpolant, a forecast, a simulator) carries the law at t
  to the law at t_next as well as its drift does. It has no log-weight, so no ESS and no log Z.

A new kernel writes `begin`, `step`, where needed `reversed`, and two or three class variables.
Rooms see one particle; drivers vmap.
"""

from abc import abstractmethod
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey
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

    def moved(
        self, x: X, energy: Any = None, memory: Any = None, *, increment: Scalar | None = None
    ) -> "State":
        """Return the particle at x, same context, with `increment` added to its log-weight."""
        log_weight = self.log_weight if increment is None else self.log_weight.add(increment)
        return State(x, log_weight, self.context, energy, memory)


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


@jax.tree_util.register_pytree_with_keys_class
class Info(SimpleNamespace):
    """What a step reports beside the new state: `Info(cost=Cost.of(energy=1), acceptance=a)`.

    Names are free, values are scalar arrays. Drivers reduce them over particles (floats by mean,
    integers by sum, booleans by any) and record them as columns `info.NAME`. A boolean `failed`
    stops the run with the sentence of the kernel's `failure`.
    """

    def tree_flatten_with_keys(self):
        """Return the values with their names (for JAX)."""
        values = vars(self)
        return [(GetAttrKey(name), value) for name, value in values.items()], tuple(values)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], values) -> "Info":
        """Return the info with these values (for JAX)."""
        return cls(**dict(zip(names, values, strict=True)))


class AbstractKernel(eqx.Module):
    """Moves one particle.

    Attributes
    ----------
    stationary
        Whether the kernel leaves the law at the present time invariant; it then has no weight.
    weighted
        Whether log-weights make up for what the kernel does: then ESS and log Z exist.
    failure
        The sentence for a step that failed; a method of the info where numbers enter it.
    start_gradients
        Gradients of the energy that `begin` costs, the energy itself being given: `compose` adds
        them to the cost of a step, since its members begin anew in each.
    forgets_energy
        Whether the energy at the new point stays unknown, so that the next kernel computes it.
    """

    stationary: ClassVar[bool]
    weighted: ClassVar[bool]
    failure: ClassVar[str | Callable[[Any, Any], str]] = (
        "a step left the finite numbers: shorten the steps, or start where the density is positive"
    )
    start_gradients: ClassVar[int] = 0
    forgets_energy: ClassVar[bool] = False

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state at (t, x) with log-weight zero; `energy` is U_t(x) where it is known."""
        zero = Sum.of(jnp.zeros((), real_dtype(x)))
        return State(x, zero, context, *self.begin(x, t, energy, key))

    @abstractmethod
    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey) -> tuple[Any, Any]:
        """Return the energy terms at (t, x), None if unused, and the memory of a state there.

        `energy` is None or the terms, which are then not computed again.
        """

    @abstractmethod
    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey) -> tuple[State, Any]:
        """Move from t to t_next; return the new state (`state.moved(...)`) and an `Info`."""

    @abstractmethod
    def reversed(self) -> "AbstractKernel":
        """Return the kernel whose steps from t_next to t undo the steps of this one in law.

        A step and its reversal do opposite work.
        """


class AbstractProcess(AbstractKernel):
    """A kernel along an annealing that knows its weight."""

    stationary: ClassVar[bool] = False
    weighted: ClassVar[bool] = True
    path: eqx.AbstractVar[AbstractAnnealing]

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

        Each particle keeps its own place in `State.memory`, so that under vmap none waits for
        another at each time; the same key throughout gives the same path however it is cut. The
        weight is that of a sample only where `info.arrived`.
        """


class AbstractStationary(AbstractKernel):
    """A kernel in detailed balance with its law at `path.at(max(t, t_next))`.

    It is its own reversal. A kernel that leaves a law invariant without detailed balance (a sweep
    in a fixed order) derives from `AbstractKernel`, sets `stationary` and writes its reversal.
    """

    stationary: ClassVar[bool] = True
    weighted: ClassVar[bool] = False
    path: eqx.AbstractVar[AbstractAnnealing | AbstractEnergy]

    def reversed(self) -> "AbstractStationary":
        """Return itself: detailed balance."""
        return self


class AbstractTransition(AbstractKernel):
    """A kernel from the law at t to the law at t_next without a weight: its error is unknown."""

    stationary: ClassVar[bool] = False
    weighted: ClassVar[bool] = False


def failure_of(kernel: Any, info: Any) -> str:
    """Return the sentence for a step of `kernel` that failed with this info."""
    return kernel.failure if isinstance(kernel.failure, str) else kernel.failure(info)


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


def zero_weight_behind_walls(increment: Scalar, old: Any, new: Any) -> Scalar:
    """Return the increment of A, or −inf for good where U = +inf before or after the step."""
    outside = jnp.any(old == jnp.inf) | jnp.any(new == jnp.inf)
    return jnp.where(outside, -jnp.inf, increment)
