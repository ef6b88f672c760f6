r"""Replica exchange: chains on a ladder of energies that swap what they hold, through bridges.

One step is: local updates of all replicas, swaps of the pairs (0,1), (2,3), .., local updates,
swaps of the pairs (1,2), (3,4), ... All replicas are ONE stacked kernel and the pairs of a half ONE
vmapped swap. A swap of x ~ p_r and y ~ p_{r+1} proposes x' = backward(y), y' = forward(x) and is
accepted with min{1, e^{−(W_f(x) + W_b(y))}}; with `IdentityBridge` this is

    D = S_r(y) + S_{r+1}(x) − S_r(x) − S_{r+1}(y).

The new energies are known from the crossing and handed over, never computed again.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._fields import integer
from .._tree import take
from .._typing import Array, Int, PRNGKey, Time, X
from ..dynamics import (
    AbstractKernel,
    Info,
    State,
    any_failed,
    failure_of,
    march,
    reduce_particles,
)
from ..targets import AbstractEnergy, Ladder
from .bridges import AbstractBridge, IdentityBridge, Proposal, propose_swap


class Replicas(NamedTuple):
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

    ONE sample is the whole ladder: a leading axis of R replicas. The info of a step:

    - `update`: that of the local kernel, one number a replica, reduced over the updates;
    - `swaps`, one number a pair: `accepted`, the `acceptance` min{1, e^{−D}}, `work` D = W_f + W_b
      and `work_squared` (0 where D is not finite), `not_converged` (1 there);
    - `round_trips`: walkers that came back to rung 0 after having been at the last one;
    - `failed`: a local update failed.

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
    stationary: ClassVar[bool] = True
    weighted: ClassVar[bool] = False
    kernel: AbstractKernel
    bridge: AbstractBridge = IdentityBridge()
    updates_per_swap: int = integer(least=1, default=1)
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

    @property
    def path(self) -> Ladder:
        """The product of the rungs."""
        return Ladder(self.kernel.path)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def num_replicas(self) -> int:
        """Number of rungs R."""
        return self.path.num

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        """Return the energies and the memories of all replicas; walker r stands on rung r."""
        energy, memory = self._begin(x, t, energy, key)
        label = jnp.arange(self.num_replicas, dtype=jnp.int32)
        return energy, Replicas(memory, label, (label == 0).astype(jnp.int32))

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
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
        return state, Info(
            update=update,
            swaps=self._by_pair(swaps),
            round_trips=trips,
            failed=any_failed(update),
        )

    def reversed(self) -> "ReplicaExchange":
        """Return the reversed updates and the swaps, which are reversible, in reverse order."""
        kernel = self.kernel.reversed()
        return ReplicaExchange(kernel, self.bridge, self.updates_per_swap, not self.backward)

    def failure(self, info: Info) -> str:
        """Return the sentence of the first local kernel that failed."""
        failed = [any_failed(take(info.update, r)) for r in range(self.num_replicas)]
        r = int(jnp.argmax(jnp.stack(failed)))
        return f"at replica {r}: {failure_of(self.kernel, take(info.update, r))}"

    def _begin(self, x: X, t: Time, energy: Any, key: PRNGKey) -> tuple[Any, PyTree]:
        def one(kernel, x, energy, r):
            return kernel.begin(x, t, energy, jax.random.fold_in(key, r))

        return eqx.filter_vmap(one)(self.kernel, x, energy, jnp.arange(self.num_replicas))

    def _update(self, state: State, t: Time, key: PRNGKey) -> tuple[State, Any]:
        times = jnp.broadcast_to(t, (self.updates_per_swap + 1,))

        def one(kernel, x, energy, memory, r):
            start = state.moved(x, energy, memory)
            end, seen = march(kernel, start, times, key=jax.random.fold_in(key, r))
            return end.x, end.energy, end.memory, reduce_particles(seen.info)

        replicas = state.memory
        x, energy, memory, info = eqx.filter_vmap(one)(
            self.kernel, state.x, state.energy, replicas.kernel, jnp.arange(self.num_replicas)
        )
        return state.moved(x, energy, replicas._replace(kernel=memory)), info

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
        _, fresh = self._begin(x, t, energy, jax.random.fold_in(key, self.num_replicas))
        new = jnp.zeros(self.num_replicas, bool).at[low].set(accept).at[high].set(accept)
        memory = jax.tree.map(lambda a, b: _where(new, a, b), fresh, state.memory.kernel)

        walkers = (state.memory.label, state.memory.heading)
        label, heading = _exchanged(
            walkers, low, high, take(walkers, high), take(walkers, low), accept
        )
        arrived = (heading[0] == -1).astype(jnp.int32)
        heading = heading.at[0].set(1).at[-1].set(-jnp.abs(heading[-1]))
        state = state.moved(x, energy, Replicas(memory, label, heading))
        return state, _swapped(proposal, accept), arrived

    def _by_pair(self, swaps: dict[int, Info]) -> Info:
        """Interleave the halves: one row a pair, in the order of the ladder."""

        def rows(*halves):
            out = jnp.zeros(self.num_replicas - 1, halves[0].dtype)
            for parity, half in enumerate(halves):
                out = out.at[parity::2].set(half)
            return out

        return jax.tree.map(rows, *(swaps[parity] for parity in sorted(swaps)))


def _swapped(proposal: Proposal, accept: Array) -> Info:
    """Read the proposals of some pairs."""
    finite = jnp.isfinite(proposal.work)
    work = jnp.where(finite, proposal.work, 0)
    return Info(
        accepted=accept.astype(work.dtype),
        acceptance=proposal.acceptance,
        work=work,
        work_squared=work**2,
        not_converged=(~finite).astype(jnp.int32),
    )


def _where(flags: Array, new: Array, old: Array) -> Array:
    return jnp.where(flags.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def _exchanged(tree: PyTree, low: slice, high: slice, down: PyTree, up: PyTree, accept: Array):
    """Put `down` on the lower and `up` on the upper rungs of the accepted pairs."""

    def one(old, below, above):
        new = old.at[low].set(_where(accept, below, old[low]))
        return new.at[high].set(_where(accept, above, old[high]))

    return jax.tree.map(one, tree, down, up)
