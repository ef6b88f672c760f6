r"""A flow map as a kernel: one step is x ↦ X_{t,t'}(x), however long.

On a grid 0 = t_0 < ... < t_N = 1 that is N-step sampling, on a decreasing grid encoding. Along an
annealing the weight of a step is exact however far the map is from any flow,

    ΔA = U_t(x) − U_t'(y) + log|det ∇X_{t,t'}(x)|,

so resampling between steps is SMC with deterministic moves, and one step from a normalised base has
log w = U_0(x) − U_1(y) + log|det ∇X_{0,1}(x)|.

**Folds.** A network's map need not be injective. With |det| the weights then count every preimage:
E w = ∫ e^{−U_1(y)} #{x: X(x) = y} dy > Z. By default the run stops where a determinant is not
positive. With `signed=True` E[sign(det) w] = deg(X) Z, and deg(X) = 1 for a proper map homotopic to
the identity (a velocity that grows less than linearly).
"""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._tree import real_dtype
from .._typing import Context, PRNGKey, Time, X
from ..flows.inverse import AbstractInverse, Newton, inverse_with_log_det, with_log_det
from ..networks.flow_map import AbstractFlowMap, extra_arguments
from ..paths import AbstractAnnealing
from ..targets import energy_difference, energy_terms
from .base import AbstractKernel, Cost, Info, State, zero_weight_behind_walls


class FlowMapKernel(AbstractKernel):
    r"""y = X_{t,t'}(x), with ΔA = U_t(x) − U_t'(y) + log|det ∇X| where a path is given.

    The info holds `log_det` (zero without a path; NaN if an inverse was not found), `folded` (1
    where the determinant is not positive: its mean is the fraction), `backwards` (the step goes
    down in time and the map was trained on s <= t only) and `error`, that of the inverse's last
    move. A map whose determinant is computed costs one divergence.

    Parameters
    ----------
    map
        An `AbstractFlowMap`.
    path
        An annealing with the energies U_t, or None: no determinant, no weight. With times=[0, 1]
        only its two ends matter.
    signed
        Go on where the map folds, and keep the sign of the determinant of all steps together in
        `State.memory`, for `signed_mean`; not inside `compose`, which makes memories anew:
        `Keep(what=OfState(lambda s: (s.x, s.log_weight.value, s.memory)))`.
    search
        How `reversed()` inverts a step: `Newton()` or `FixedPoint()`.
    inverse
        Set by `reversed()`: a step is x = X_{t',t}^{-1}(y), ΔA = U_t(y) − U_t'(x) − log|det ∇X|. A
        map's own X_{t,t'} is its inverse only as well as it was trained; this one is exact.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825); weights: change of variables.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2025", "flowmaps2024")
    stationary: ClassVar[bool] = False
    map: AbstractFlowMap
    path: AbstractAnnealing | None = None
    signed: bool = eqx.field(static=True, default=False)
    search: AbstractInverse = Newton()
    inverse: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not isinstance(self.map, AbstractFlowMap):
            raise InputError(
                f"map is {type(self.map).__name__}, expected an AbstractFlowMap: write "
                "FlowMap(net) around a network net(s, t, x)"
            )

    @property
    def weighted(self) -> bool:
        """True along a path of energies."""
        return self.path is not None

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        if energy is None and self.path is not None:
            energy = energy_terms(self.path.at(t), x)
        return energy, jnp.ones((), real_dtype(x)) if self.signed and self.weighted else None

    def move(self, t: Time, t_next: Time, x: X, context: Context = None):
        """Return where x goes, the log|det| of that map, its sign, and the error of an inverse."""
        s, u = (t_next, t) if self.inverse else (t, t_next)
        flow = eqx.Partial(self.map, s, u, **extra_arguments(context))
        zero = jnp.zeros((), real_dtype(x))
        if not self.inverse:
            y, log_det, sign = with_log_det(flow, x) if self.weighted else (flow(x), zero, zero + 1)
            return y, log_det, sign, zero
        guess = self.map(u, s, x, **extra_arguments(context)) if self.map.both_ways else x
        if self.weighted:
            found, log_det, sign = inverse_with_log_det(flow, x, guess, self.search)
            return found.x, log_det, sign, found.error
        found = self.search(flow, x, guess)
        return found.x, jnp.where(found.converged, zero, jnp.nan), zero + 1, found.error

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        y, log_det, sign, error = self.move(t, t_next, state.x, state.context)
        down = t < t_next if self.inverse else t_next < t
        backwards = jnp.asarray(down & (not self.map.both_ways))
        info = Info(
            cost=Cost.of(energy=int(self.weighted), divergence=int(self.weighted)),
            log_det=log_det,
            folded=(sign <= 0).astype(log_det.dtype),
            backwards=backwards,
            error=error,
            failed=(sign == 0 if self.signed else sign <= 0) | backwards | jnp.isnan(log_det),
        )
        if self.path is None:
            return state.moved(y), info
        energy = energy_terms(self.path.at(t_next), y)
        increment = log_det - energy_difference(energy, state.energy)
        increment = zero_weight_behind_walls(increment, state.energy, energy)
        memory = state.memory * sign if self.signed else None
        return state.moved(y, energy, memory, increment=increment), info

    def reversed(self) -> "FlowMapKernel":
        return FlowMapKernel(self.map, self.path, self.signed, self.search, not self.inverse)

    def failure(self, info: Info) -> str:
        """Return what went wrong and what to try."""
        if self.inverse and bool(jnp.isnan(info.log_det)):
            return (
                f"the inverse was not found (last move {float(info.error):.3g}): shorter steps, "
                "search=Newton(), or FixedPoint() only where (t - s) Lip(v) < 1"
            )
        if bool(info.backwards):
            return (
                "the map was trained on s <= t only and the grid decreases: train it on Square() "
                "with FlowMap(net, both_ways=True), or encode with kernel.reversed()"
            )
        return (
            "the map folds there (its Jacobian has a determinant <= 0), so |det| would count some "
            "points twice: take more steps, train longer, or use signed=True"
        )
