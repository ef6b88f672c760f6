r"""Bridges: moves between two energies that say what they cost.

A bridge takes x ~ e^{−S_a} to x' near e^{−S_b} and back, possibly at random, and returns the work W
(minus the change of the log-weight). For every bridge

    E_a e^{−W_f} = Z_b/Z_a,   E_b e^{−W_b} = Z_a/Z_b,

and the swap x' = backward(y), y' = forward(x) with A = min{1, e^{−(W_f(x) + W_b(y))}} leaves
p_a × p_b invariant. With the identity this is replica exchange, with a flow T-REX, with an annealed
path replica exchange with nonequilibrium switches. Energies are arguments: a learned bridge is only
its map, so training never moves a coupling.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._tree import Frozen, concrete, scalar, take
from .._typing import Array, Float, PRNGKey, Scalar, X
from ..dynamics import AbstractKernel, any_failed, march
from ..flows import AbstractBijection
from ..paths import AbstractAnnealing, Annealing, check_times
from ..targets import AbstractEnergy, Ladder, energy_difference, energy_terms


class Crossing(NamedTuple):
    """Where a bridge leads.

    Attributes
    ----------
    x
        The sample on the other side.
    energy
        The `energy_terms` there, of the energy on that side.
    work
        W = −Δ log weight.
    """

    x: X
    energy: Any
    work: Scalar


class AbstractBridge(eqx.Module):
    """A move from `lower` to `upper` and back, with its work."""

    @abstractmethod
    def forward(
        self, lower: AbstractEnergy, upper: AbstractEnergy, x: X, energy: Any, *, key: PRNGKey
    ) -> Crossing:
        """Cross from x ~ lower, whose terms are `energy`; return (x', upper's terms, W_f)."""

    @abstractmethod
    def backward(
        self, lower: AbstractEnergy, upper: AbstractEnergy, y: X, energy: Any, *, key: PRNGKey
    ) -> Crossing:
        """Cross from y ~ upper, whose terms are `energy`; return (y', lower's terms, W_b)."""


class Proposal(NamedTuple):
    """A swap before the decision: the crossings, their total work and min{1, e^{−work}}."""

    up: Crossing
    down: Crossing
    work: Scalar
    acceptance: Scalar


def propose_swap(
    bridge: AbstractBridge,
    lower: AbstractEnergy,
    upper: AbstractEnergy,
    below: tuple[X, Any],
    above: tuple[X, Any],
    *,
    key: PRNGKey,
) -> Proposal:
    """Return the proposal that swaps (x, terms) of `lower` with (y, terms) of `upper`.

    A work that is no finite number is never accepted.
    """
    up = bridge.forward(lower, upper, *below, key=jax.random.fold_in(key, 0))
    down = bridge.backward(lower, upper, *above, key=jax.random.fold_in(key, 1))
    work = up.work + down.work
    acceptance = jnp.where(jnp.isfinite(work), jnp.exp(jnp.minimum(-work, 0)), 0)
    return Proposal(up, down, work, acceptance)


def forward_works(bridge: AbstractBridge, ladder: Ladder, x: X, *, key: PRNGKey) -> Array:
    """Return W_f(x_r) of every pair (r, r + 1) of a ladder, for bridges stacked over the pairs."""

    def work(bridge, lower, upper, x, energy, key):
        return bridge.forward(lower, upper, x, energy, key=key).work

    return _pairwise(work, bridge, ladder, x, slice(-1), key)


def backward_works(bridge: AbstractBridge, ladder: Ladder, x: X, *, key: PRNGKey) -> Array:
    """Return W_b(x_{r+1}) of every pair (r, r + 1) of a ladder."""

    def work(bridge, lower, upper, y, energy, key):
        return bridge.backward(lower, upper, y, energy, key=key).work

    return _pairwise(work, bridge, ladder, x, slice(1, None), key)


def _pairwise(work: Callable, bridge, ladder: Ladder, x: X, start: slice, key: PRNGKey) -> Array:
    lower, upper = take(ladder.rungs, slice(-1)), take(ladder.rungs, slice(1, None))
    keys = jax.vmap(lambda pair: jax.random.fold_in(key, pair))(jnp.arange(ladder.num - 1))
    x, energy = take((x, ladder.terms(x)), start)
    return eqx.filter_vmap(work)(bridge, lower, upper, x, energy, keys)


class IdentityBridge(AbstractBridge):
    """Stay: W_f = S_b(x) − S_a(x). Plain replica exchange."""

    references: ClassVar[tuple[str, ...]] = ("swendsen1986",)

    def forward(self, lower, upper, x, energy, *, key) -> Crossing:
        new = energy_terms(upper, x)
        return Crossing(x, new, energy_difference(new, energy))

    def backward(self, lower, upper, y, energy, *, key) -> Crossing:
        new = energy_terms(lower, y)
        return Crossing(y, new, energy_difference(new, energy))


class FlowBridge(AbstractBridge):
    r"""A bijection f: W_f = S_b(f(x)) − S_a(x) − log J_f(x), and W_b(f(x)) = −W_f(x).

    An inverse that did not converge has log J = NaN, hence a work that is rejected and counted.

    Parameters
    ----------
    bijection
        f, from the lower energy to the upper one; the identity before training.

    References
    ----------
    Abbott et al. 2024 (arXiv 2404.11674).
    """

    references: ClassVar[tuple[str, ...]] = ("trex2024",)
    bijection: AbstractBijection

    def forward(self, lower, upper, x, energy, *, key) -> Crossing:
        return _mapped(self.bijection.forward, upper, x, energy)

    def backward(self, lower, upper, y, energy, *, key) -> Crossing:
        return _mapped(self.bijection.inverse, lower, y, energy)


def _mapped(function: Callable, energy_there: AbstractEnergy, x: X, energy: Any) -> Crossing:
    y, log_det = function(x)
    new = energy_terms(energy_there, y)
    return Crossing(y, new, energy_difference(new, energy) - log_det)


class PathBridge(AbstractBridge):
    r"""A weighted process marched along the path from `lower` to `upper`: W = −A.

    Backward marches the REVERSED kernel on the reversed grid: (reweight, move) going up is (move,
    reweight) coming down. Marching the same kernel down satisfies Jarzynski's equality and
    Bennett's relation as well, yet its swaps are wrong.

    Parameters
    ----------
    process
        Maps the annealing between the two energies to a kernel, a Module or `eqx.Partial`:
        `lambda path: compose(Transport(path), HMC(path, .3))` is AIS.
    times
        Grid from 0 to 1. Good values: work of spread below 2.
    path
        Maps (lower, upper) to the annealing; default the geometric one.

    References
    ----------
    Ballard and Jarzynski 2009; Jarzynski 1997.
    """

    references: ClassVar[tuple[str, ...]] = ("ballard2009", "jarzynski1997")
    process: Callable[[AbstractAnnealing], AbstractKernel]
    times: Frozen[Float[Array, " n"]]
    path: Callable[[AbstractEnergy, AbstractEnergy], AbstractAnnealing]

    def __init__(self, process: Callable, times: Any, path: Callable = Annealing):
        self.process, self.path = process, path
        known = concrete(times)
        if known is not None and tuple(check_times(known)[jnp.array([0, -1])]) != (0, 1):
            raise InputError(f"times go from {known[0]} to {known[-1]}, expected from 0 to 1")
        self.times = Frozen(scalar(times))

    def forward(self, lower, upper, x, energy, *, key) -> Crossing:
        kernel = self.process(self.path(lower, upper))
        return _marched(kernel, self.times.value, x, energy, key)

    def backward(self, lower, upper, y, energy, *, key) -> Crossing:
        """March the reversed kernel from upper to lower."""
        kernel = self.process(self.path(lower, upper)).reversed()
        return _marched(kernel, self.times.value[::-1], y, energy, key)


def _marched(kernel: AbstractKernel, times: Array, x: X, energy: Any, key: PRNGKey) -> Crossing:
    start = kernel.init(x, times[0], energy=energy, key=jax.random.fold_in(key, 0))
    end, seen = march(kernel, start, times, key=jax.random.fold_in(key, 1))
    work = jnp.where(any_failed(seen.info), jnp.nan, -end.log_weight.value)
    return Crossing(end.x, end.energy, work)
