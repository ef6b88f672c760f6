r"""A flow map as a kernel: one step is x ↦ X_{t,t'}(x), however long.

On a grid 0 = t_0 < ... < t_N = 1 that is N-step sampling, on a decreasing grid encoding. Along an
annealing the weight of a step is exact however far the map is from any flow,

    ΔA = U_t(x) − U_t'(y) + log|det ∇X_{t,t'}(x)|,

so resampling between steps is SMC with deterministic moves, and one step from a normalised base has
log w = U_0(x) − U_1(y) + log|det ∇X_{0,1}(x)|.

**Folds.** A network's map need not be injective. With |det| the weights then count every preimage:
E w = ∫ e^{−U_1(y)} #{x: X(x) = y} dy > Z. `RefuseFolds` stops where a determinant is not positive.
With `SignedWeights` E[sign(det) w] = deg(X) Z, and deg(X) = 1 for a proper map homotopic to the
identity (a velocity that grows less than linearly).
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._typing import Context, Flag, PRNGKey, Scalar, Time, X
from ..flows.inverse import AbstractInverse, Newton
from ..flows.jacobian import with_log_det
from ..networks.flow_map import AbstractFlowMap, extra_arguments
from ..paths import AbstractAnnealing
from ..targets import energy_difference, energy_terms
from .base import AbstractKernel, Cost, State, no_weight, park


class AbstractFolds(eqx.Module):
    """What is done where a map's determinant is not positive."""

    @abstractmethod
    def failed(self, sign: Scalar) -> Flag:
        """Return whether the run stops, from the sign of a step's determinant."""

    @abstractmethod
    def memory(self, memory: Any, sign: Scalar) -> Any:
        """Return what a particle remembers after a step, from what it remembered before."""


class RefuseFolds(AbstractFolds):
    """Stop at the first determinant that is not positive: weights are exact or there are none."""

    def failed(self, sign: Scalar) -> Flag:
        """Return sign <= 0."""
        return sign <= 0

    def memory(self, memory: Any, sign: Scalar) -> Any:
        """Return nothing."""
        return None


class SignedWeights(AbstractFolds):
    """Keep the sign of the whole map's determinant in `State.memory`, for `signed_mean`.

    ```python
    keep = Keep(what=OfState(lambda s: (s.x, s.log_weight.value, s.memory)))
    ```

    Not inside `compose`, whose members begin every step with a memory of their own.
    """

    def failed(self, sign: Scalar) -> Flag:
        """Return sign == 0: there the weight is infinite or the map constant."""
        return sign == 0

    def memory(self, memory: Any, sign: Scalar) -> Any:
        """Return the product of signs."""
        return sign if memory is None else memory * sign


class FlowMapInfo(eqx.Module):
    """Info of a step.

    Attributes
    ----------
    cost
        Evaluations; the map's own count as one divergence where a determinant is computed.
    log_det
        log|det ∇X|; zero without a path, where none is computed; NaN if an inverse was not found.
    folded
        1 where the determinant is not positive: its mean is the fraction.
    backwards
        The step goes down in time and the map was trained on s <= t only.
    error
        Of the inverse's last move; zero forwards.
    failed
        Whether the run stops.
    """

    cost: Cost
    log_det: Scalar
    folded: Scalar
    backwards: Flag
    error: Scalar
    failed: Flag


class FlowMapKernel(AbstractKernel):
    r"""y = X_{t,t'}(x), with ΔA = U_t(x) − U_t'(y) + log|det ∇X| where a path is given.

    Parameters
    ----------
    map
        An `AbstractFlowMap`.
    path
        An annealing with the energies U_t, or None: no determinant, no weight. With times=[0, 1]
        only its two ends matter.
    folds
        `RefuseFolds()` (default) or `SignedWeights()`.
    search
        How `reversed()` inverts a step: `Newton()` or `FixedPoint()`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825); weights: change of variables.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2025", "flowmaps2024")
    map: AbstractFlowMap
    path: AbstractAnnealing | None = None
    folds: AbstractFolds = RefuseFolds()
    search: AbstractInverse = Newton()

    def __check_init__(self):
        if not isinstance(self.map, AbstractFlowMap):
            raise InputError(
                f"map is {type(self.map).__name__}, expected an AbstractFlowMap: write "
                "FlowMap(net) around a network net(s, t, x)"
            )

    @property
    def stationary(self) -> bool:
        """False: it moves."""
        return False

    @property
    def weighted(self) -> bool:
        """True along a path of energies."""
        return self.path is not None

    @property
    def signed(self) -> bool:
        """True when the weights have signs, kept in `State.memory`."""
        return self.weighted and isinstance(self.folds, SignedWeights)

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state with U at (t, x) if there is a path."""
        if energy is None and self.path is not None:
            energy = energy_terms(self.path.at(t), x)
        weight = no_weight(x)
        memory = self.folds.memory(None, jnp.ones_like(weight.high)) if self.weighted else None
        return State(x, weight, context, energy, memory)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Move to X_{t,t'}(x) and add the increment of the weight."""
        backwards = (t_next < t) & (not self.map.both_ways)
        error = jnp.zeros_like(state.log_weight.high)

        def flow(x):
            return self.map(t, t_next, x, **extra_arguments(state.context))

        if self.path is None:
            return self._arrive(state, t_next, flow(state.x), error, error + 1, backwards, error)
        y, log_det, sign = with_log_det(flow, state.x)
        return self._arrive(state, t_next, y, log_det, sign, backwards, error)

    def _arrive(
        self,
        state: State,
        t_next: Time,
        y: X,
        log_det: Scalar,
        sign: Scalar,
        backwards: Flag,
        error: Scalar,
    ) -> tuple[State, FlowMapInfo]:
        """Return the state after a move to y, and the info; a log|det| of NaN is a failure."""
        energy, weight, memory = None, state.log_weight, None
        if self.path is not None:
            energy = energy_terms(self.path.at(t_next), y)
            increment = log_det - energy_difference(energy, state.energy)
            weight = weight.add(park(increment, state.energy, energy))
            memory = self.folds.memory(state.memory, sign)
        known = int(self.path is not None)
        return State(y, weight, state.context, energy, memory), FlowMapInfo(
            Cost.of(energy=known, divergence=known),
            log_det,
            (sign <= 0).astype(log_det.dtype),
            jnp.asarray(backwards),
            error,
            self.folds.failed(sign) | backwards | jnp.isnan(log_det),
        )

    def reversed(self) -> "InverseFlowMap":
        """Return the inverse map, found by iteration."""
        return InverseFlowMap(self)

    def explain(self, info: FlowMapInfo) -> str:
        """Return the sentence for a step that failed."""
        if bool(info.backwards):
            return (
                "the map was trained on s <= t only and the grid decreases: train it on Square() "
                "with FlowMap(net, both_ways=True), or encode with kernel.reversed()"
            )
        return (
            "the map folds there (its Jacobian has a determinant <= 0), so |det| would count some "
            "points twice: take more steps, train longer, or use folds=SignedWeights()"
        )


class InverseFlowMap(AbstractKernel):
    r"""x = X_{t',t}^{-1}(y) for a step from t to t': what undoes a `FlowMapKernel`.

    ΔA = U_t(y) − U_t'(x) − log|det ∇X_{t',t}(x)|. A map's own X_{t,t'} is its inverse only as
    well as it was trained; this one is exact.

    Parameters
    ----------
    forward
        The kernel whose steps are undone.
    """

    forward: FlowMapKernel

    @property
    def stationary(self) -> bool:
        """False: it moves."""
        return False

    @property
    def weighted(self) -> bool:
        """True along a path of energies."""
        return self.forward.weighted

    @property
    def path(self) -> AbstractAnnealing | None:
        """The path of the forward kernel."""
        return self.forward.path

    @property
    def signed(self) -> bool:
        """True when the forward kernel is."""
        return self.forward.signed

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state with U at (t, x) if there is a path."""
        return self.forward.init(x, t, context=context, energy=energy, key=key)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Move from t to t_next by the inverse of the forward map from t_next to t."""
        kernel = self.forward
        flow = eqx.Partial(kernel.map, **extra_arguments(state.context))
        guess = flow(t, t_next, state.x) if kernel.map.both_ways else state.x
        found = kernel.search(lambda v: flow(t_next, t, v), state.x, guess)
        log_det, sign = jnp.zeros_like(found.error), jnp.ones_like(found.error)
        if kernel.path is not None:
            _, log_det, sign = with_log_det(lambda v: flow(t_next, t, v), found.x)
        backwards = (t < t_next) & (not kernel.map.both_ways)
        log_det = jnp.where(found.converged, -log_det, jnp.nan)
        return kernel._arrive(state, t_next, found.x, log_det, sign, backwards, found.error)

    def reversed(self) -> FlowMapKernel:
        """Return the forward kernel."""
        return self.forward

    def explain(self, info: FlowMapInfo) -> str:
        """Return the sentence for an inverse that was not found, or for a fold."""
        if bool(jnp.isnan(info.log_det)):
            return (
                f"the inverse was not found (last move {float(info.error):.3g}): shorter steps, "
                "search=Newton(), or FixedPoint() only where (t - s) Lip(v) < 1"
            )
        return self.forward.explain(info)
