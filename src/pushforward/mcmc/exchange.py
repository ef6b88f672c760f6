r"""Replica exchange: chains on a ladder of energies that swap what they hold, through bridges.

One step is: local updates of all replicas, swaps of the pairs (0,1), (2,3), .., local updates,
swaps of the pairs (1,2), (3,4), ... All replicas are ONE stacked kernel and the pairs of a half ONE
vmapped swap. A swap of x ~ p_r and y ~ p_{r+1} proposes x' = backward(y), y' = forward(x) and is
accepted with min{1, e^{−(W_f(x) + W_b(y))}}; with `IdentityBridge` this is

    D = S_r(y) + S_{r+1}(x) − S_r(x) − S_{r+1}(y).

The new energies are known from the crossing and handed over, never computed again.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._tree import take
from .._typing import Array, Context, Count, Flag, Float, Int, PRNGKey, Time, X
from ..dynamics import (
    AbstractKernel,
    State,
    any_failed,
    march,
    no_weight,
    reduce_particles,
)
from ..targets import AbstractEnergy, Ladder
from .bridges import AbstractBridge, IdentityBridge, Proposal, propose_swap


class SwapInfo(eqx.Module):
    """What became of a swap, one number a pair.

    Attributes
    ----------
    accepted, acceptance
        Whether it was done, and its probability.
    work, work_squared
        D = W_f + W_b and D² (0 where not finite).
    not_converged
        1 where the work was no finite number.
    """

    accepted: Float[Array, " pairs"]
    acceptance: Float[Array, " pairs"]
    work: Float[Array, " pairs"]
    work_squared: Float[Array, " pairs"]
    not_converged: Int[Array, " pairs"]

    @classmethod
    def of(cls, proposal: Proposal, accept: Array) -> "SwapInfo":
        """Read the proposals of some pairs."""
        finite = jnp.isfinite(proposal.work)
        work = jnp.where(finite, proposal.work, 0)
        accepted = accept.astype(work.dtype)
        return cls(accepted, proposal.acceptance, work, work**2, (~finite).astype(jnp.int32))


class ExchangeInfo(eqx.Module):
    """Info of a step.

    Attributes
    ----------
    update
        The local kernel's info, one number a replica, reduced over the updates.
    swaps
        One number a pair.
    round_trips
        Walkers that came back to rung 0 after having been at the last one.
    failed
        A local update failed.
    """

    update: Any
    swaps: SwapInfo
    round_trips: Count
    failed: Flag


class Replicas(eqx.Module):
    """The memory of an exchange.

    Attributes
    ----------
    kernel
        The memories of the local kernels.
    label
        Which walker stands on each rung.
    heading
        Of that walker: +1 since it was at rung 0, −1 since it was at the last rung after that, 0
        before.
    """

    kernel: PyTree
    label: Int[Array, " replicas"]
    heading: Int[Array, " replicas"]


class ReplicaExchange(AbstractKernel):
    r"""Local updates on a ladder of energies and swaps between neighbours.

    ONE sample is the whole ladder: a leading axis of R replicas.

    Parameters
    ----------
    kernel
        A stationary kernel whose arrays are stacked over the replicas, its energy included:
        `eqx.filter_vmap(lambda b: HMC(WilsonAction(b, lattice, U1()), .1, 10))(betas)`.
    bridge
        One bridge whose arrays are stacked over the R − 1 pairs of neighbours, lower energy first.
        A pair without a flow has zero parameters.
    updates_per_swap
        Local updates before each half of the swaps.
    backward
        Run the halves in reverse order; set by `reversed`.

    Raises
    ------
    InputError
        Fewer than two replicas; a kernel that moves along a path or has no energy; a bridge stacked
        over another number of pairs.

    References
    ----------
    Swendsen and Wang 1986; with flows: Abbott et al. 2024 (arXiv 2404.11674).
    """

    references: ClassVar[tuple[str, ...]] = ("swendsen1986",)
    kernel: AbstractKernel
    bridge: AbstractBridge = IdentityBridge()
    updates_per_swap: int = eqx.field(static=True, default=1)
    backward: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        rungs = getattr(self.kernel, "path", None)
        if not self.kernel.stationary or not isinstance(rungs, AbstractEnergy):
            raise InputError(
                f"kernel is {type(self.kernel).__name__}, expected one that leaves an energy "
                "invariant, such as HMC, stacked over the replicas"
            )
        if self.num_replicas < 2:
            raise InputError("a ladder has two replicas or more; for one, use the kernel itself")
        pairs = {leaf.shape[:1] for leaf in jax.tree.leaves(eqx.filter(self.bridge, eqx.is_array))}
        if pairs - {(self.num_replicas - 1,)}:
            raise InputError(
                f"the bridge's arrays have leading axes {sorted(pairs)}, expected one bridge for "
                f"each of the {self.num_replicas - 1} pairs: eqx.filter_vmap(make)(jnp.arange("
                f"{self.num_replicas - 1}))"
            )
        if self.updates_per_swap < 1:
            raise InputError(f"updates_per_swap must be at least 1, got {self.updates_per_swap}")

    @property
    def stationary(self) -> bool:
        """True: the product of the rungs stays."""
        return True

    @property
    def weighted(self) -> bool:
        """False: no weight changes."""
        return False

    @property
    def path(self) -> Ladder:
        """The product of the rungs."""
        return Ladder(self.kernel.path)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def num_replicas(self) -> int:
        """Number of rungs R."""
        return self.path.num

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the replicas with their energies; walker r stands on rung r."""
        states = self._init(x, t, context, energy, key)
        label = jnp.arange(self.num_replicas, dtype=jnp.int32)
        memory = Replicas(states.memory, label, (label == 0).astype(jnp.int32))
        return State(x, no_weight(x), context, states.energy, memory)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Update, swap the even pairs, update, swap the odd pairs."""
        t = jnp.maximum(t, t_next)
        halves = (0, 1)[: self.num_replicas - 1]  # two replicas have no odd pair
        updates, swaps, trips = [], {}, jnp.zeros((), jnp.int32)
        for parity in halves[::-1] if self.backward else halves:
            keys = [jax.random.fold_in(key, 2 * parity + k) for k in range(2)]
            if self.backward:
                state, swaps[parity], arrived = self._swap(state, t, parity, keys[1])
                state, update = self._update(state, t, keys[0])
            else:
                state, update = self._update(state, t, keys[0])
                state, swaps[parity], arrived = self._swap(state, t, parity, keys[1])
            updates.append(update)
            trips = trips + arrived
        update = reduce_particles(jax.tree.map(lambda *a: jnp.stack(a), *updates))
        info = ExchangeInfo(update, self._by_pair(swaps), trips, any_failed(update))
        return state, info

    def reversed(self) -> "ReplicaExchange":
        """Return the reversed updates and the swaps, which are reversible, in reverse order."""
        kernel = self.kernel.reversed()
        return ReplicaExchange(kernel, self.bridge, self.updates_per_swap, not self.backward)

    def explain(self, info: ExchangeInfo) -> str:
        """Return the sentence of the first local kernel that failed."""
        failed = [any_failed(take(info.update, r)) for r in range(self.num_replicas)]
        r = int(jnp.argmax(jnp.stack(failed)))
        return f"at replica {r}: {self.kernel.explain(take(info.update, r))}"

    def _init(self, x: X, t: Time, context: Context, energy: Any, key: PRNGKey) -> State:
        def one(kernel, x, energy, r):
            key_r = jax.random.fold_in(key, r)
            return kernel.init(x, t, context=context, energy=energy, key=key_r)

        return eqx.filter_vmap(one)(self.kernel, x, energy, jnp.arange(self.num_replicas))

    def _update(self, state: State, t: Time, key: PRNGKey) -> tuple[State, Any]:
        times = jnp.broadcast_to(t, (self.updates_per_swap + 1,))

        def one(kernel, x, energy, memory, r):
            start = State(x, no_weight(x), state.context, energy, memory)
            end, seen = march(kernel, start, times, key=jax.random.fold_in(key, r))
            return end.x, end.energy, end.memory, reduce_particles(seen.info)

        x, energy, memory, info = eqx.filter_vmap(one)(
            self.kernel, state.x, state.energy, state.memory.kernel, jnp.arange(self.num_replicas)
        )
        memory = Replicas(memory, state.memory.label, state.memory.heading)
        return State(x, state.log_weight, state.context, energy, memory), info

    def _swap(self, state: State, t: Time, parity: int, key: PRNGKey):
        """Swap the pairs (r, r + 1), r = parity, parity + 2, .., all at once."""
        low, high = slice(parity, self.num_replicas - 1, 2), slice(parity + 1, None, 2)
        rungs, held = self.path.rungs, (state.x, state.energy)
        pairs = jnp.arange(self.num_replicas - 1)[low]
        keys = jax.vmap(lambda pair: jax.random.fold_in(key, pair))(pairs)

        def one(bridge, lower, upper, below, above, key):
            proposal = propose_swap(bridge, lower, upper, below, above, key=key)
            coin = jax.random.uniform(jax.random.fold_in(key, 2), (), proposal.work.dtype)
            return proposal, coin < proposal.acceptance

        proposal, accept = eqx.filter_vmap(one)(
            take(self.bridge, low), take(rungs, low), take(rungs, high),
            take(held, low), take(held, high), keys,
        )  # fmt: skip
        down, up = (proposal.down.x, proposal.down.energy), (proposal.up.x, proposal.up.energy)
        x, energy = _exchanged(held, low, high, down, up, accept)

        # A kernel's memory (a gradient, say) belongs to the energy and the place: made anew where
        # a swap was done.
        fresh = self._init(x, t, state.context, energy, jax.random.fold_in(key, self.num_replicas))
        new = jnp.zeros(self.num_replicas, bool).at[low].set(accept).at[high].set(accept)
        memory = jax.tree.map(lambda a, b: _where(new, a, b), fresh.memory, state.memory.kernel)

        walkers = (state.memory.label, state.memory.heading)
        label, heading = _exchanged(
            walkers, low, high, take(walkers, high), take(walkers, low), accept
        )
        arrived = (heading[0] == -1).astype(jnp.int32)
        heading = heading.at[0].set(1).at[-1].set(-jnp.abs(heading[-1]))
        memory = Replicas(memory, label, heading)
        state = State(x, state.log_weight, state.context, energy, memory)
        return state, SwapInfo.of(proposal, accept), arrived

    def _by_pair(self, swaps: dict[int, SwapInfo]) -> SwapInfo:
        """Interleave the halves: one row a pair, in the order of the ladder."""

        def rows(*halves):
            out = jnp.zeros(self.num_replicas - 1, halves[0].dtype)
            for parity, half in enumerate(halves):
                out = out.at[parity::2].set(half)
            return out

        return jax.tree.map(rows, *(swaps[parity] for parity in sorted(swaps)))


def _where(flags: Array, new: Array, old: Array) -> Array:
    return jnp.where(flags.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def _exchanged(tree: PyTree, low: slice, high: slice, down: PyTree, up: PyTree, accept: Array):
    """Put `down` on the lower and `up` on the upper rungs of the accepted pairs."""

    def one(old, below, above):
        new = old.at[low].set(_where(accept, below, old[low]))
        return new.at[high].set(_where(accept, above, old[high]))

    return jax.tree.map(one, tree, down, up)
