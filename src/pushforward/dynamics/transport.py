r"""Deterministic transport: a Runge–Kutta step as a map with its exact log-determinant.

y = Φ_{t,t'}(x), ΔA = U_t(x) − U_t'(y) + log|det ∂Φ/∂x|. The Jacobian is that of the WHOLE
Runge–Kutta map, not the integral of the divergence, so the weight is exact at every step size as
long as Φ is injective (D·Lip(b) < 1 for Euler). Follow it by a kernel that leaves ρ_t' invariant,
`compose(Transport(path, b), HMC(path, ...))`; with b = 0 that is textbook AIS/SMC.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._typing import Context, Flag, PRNGKey, Scalar, Time, X
from ..flows.inverse import Newton
from ..flows.jacobian import with_log_det
from ..networks import Zero
from ..paths import AbstractAnnealing
from ..targets import energy_difference, energy_terms
from .base import AbstractProcess, Cost, State, no_weight, park
from .rate import path_drift, transport_rate


class RungeKutta(eqx.Module):
    """An explicit Runge–Kutta method by its Butcher tableau (nodes c, rows a, weights b)."""

    a: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    b: tuple[float, ...] = eqx.field(static=True)
    c: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, f: Callable[[Time, X], X], t: Time, t_next: Time, x: X) -> X:
        """Return one step of dx/dt = f(t, x)."""
        step, slopes = t_next - t, []
        for row, c in zip(self.a, self.c, strict=True):
            y = x + step * sum((w * k for w, k in zip(row, slopes, strict=True) if w), start=0 * x)
            slopes.append(f(t + c * step, y))
        return x + step * sum(w * k for w, k in zip(self.b, slopes, strict=True))


def Euler() -> RungeKutta:  # noqa: N802 - named as the method
    """Return Euler's method: one drift call a step; order 1."""
    return RungeKutta(((),), (1.0,), (0.0,))


def Heun() -> RungeKutta:  # noqa: N802
    """Return Heun's method: two drift calls a step; order 2."""
    return RungeKutta(((), (1.0,)), (0.5, 0.5), (0.0, 1.0))


def RK4() -> RungeKutta:  # noqa: N802
    """Return the classical method: four drift calls a step; order 4."""
    rows = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    return RungeKutta(rows, (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.5, 0.5, 1.0))


class TransportInfo(eqx.Module):
    """Info of a transport step: cost, log|det|, whether the map folded."""

    cost: Cost
    log_det: Scalar
    failed: Flag


class Transport(AbstractProcess):
    r"""The map Φ_{t,t'} of dx/dt = b_t(x) with ΔA = U_t(x) − U_t'(y) + log|det ∂Φ|.

    Parameters
    ----------
    path
        The annealing U_t.
    drift
        b(t, x, g), g = ∇U_t(x); `Zero()` reweights and computes no determinant.
    integrator
        `RK4()`, `Heun()` or `Euler()`. Cost: d JVPs of the step, so d <= 64. Good values: 20 steps
        of RK4 or 100 of Euler.

    References
    ----------
    Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711), eps = 0; Vaikuntanathan and Jarzynski 2008.
    """

    references: ClassVar[tuple[str, ...]] = ("nets", "jarzynski1997")
    path: AbstractAnnealing
    drift: Callable = Zero()
    integrator: RungeKutta = RK4()

    def flow(self, t: Time, t_next: Time, x: X) -> X:
        """Return Φ_{t,t'}(x)."""
        return self.integrator(lambda s, y: path_drift(self.path, self.drift, s, y), t, t_next, x)

    def map(self, t: Time, t_next: Time, x: X) -> tuple[X, Scalar, Scalar]:
        """Return Φ(x), log|det ∂Φ/∂x| and the sign of the determinant."""
        if isinstance(self.drift, Zero):
            zero = no_weight(x).high
            return x, zero, zero + 1
        return with_log_det(lambda v: self.flow(t, t_next, v), x)

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state with U at (t, x)."""
        held = energy_terms(self.path.at(t), x) if energy is None else energy
        return State(x, no_weight(x), context, held)

    def move(self, t: Time, t_next: Time, x: X) -> tuple[X, Scalar, Flag]:
        """Return Φ(x), log|det ∂Φ/∂x| and whether the map folds there."""
        y, log_det, sign = self.map(t, t_next, x)
        return y, log_det, sign <= 0

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Move along Φ and add U_t(x) − U_t'(y) + log|det ∂Φ|."""
        return self.arrive(state, t_next, *self.move(t, t_next, state.x))

    def arrive(self, state: State, t_next: Time, y: X, log_det: Scalar, failed: Flag):
        """Return the state after a map to y with the given log-determinant."""
        energy = energy_terms(self.path.at(t_next), y)
        increment = log_det - energy_difference(energy, state.energy)
        log_weight = state.log_weight.add(park(increment, state.energy, energy))
        info = TransportInfo(self.cost(energy=1), log_det, failed)
        return State(y, log_weight, state.context, energy), info

    def cost(self, *, energy: int = 0, gradient: int = 0) -> Cost:
        """Return what the map costs, with what else a step evaluates."""
        stages = 0 if isinstance(self.drift, Zero) else len(self.integrator.b)
        return Cost.of(energy, gradient + stages, stages)

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        """Return r = div b − b·∇U_t − ∂_t U_t."""
        return transport_rate(self.path, self.drift, t, x, key)

    def reversed(self) -> "AbstractProcess":
        """Return the inverse map (itself for `Zero`)."""
        if isinstance(self.drift, Zero):
            return self
        return InverseTransport(self.path, self.drift, self.integrator)

    def explain(self, info: TransportInfo) -> str:
        """Return the sentence for a folded map."""
        return (
            "the transport map is not injective (its Jacobian has a determinant <= 0): halve the "
            "step, as in uniform_times(2 * n), or use integrator=RK4()"
        )


class InverseTransport(AbstractProcess):
    r"""x = Φ_{t,t'}^{-1}(y) by Newton's method, ΔA = U_t'(y) − U_t(x) − log|det ∂Φ/∂x|.

    A Runge–Kutta step backwards is not the inverse of the step forwards (3e-5 apart at usual
    steps); the work of a reversal needs the inverse. If Newton does not converge the
    log-determinant is NaN and the run stops.

    Parameters
    ----------
    path, drift, integrator
        Of the `Transport` whose steps are undone.
    max_steps
        Newton iterations; 20 are plenty when the step is short enough for Φ to be injective.
    """

    path: AbstractAnnealing
    drift: Callable
    integrator: RungeKutta
    max_steps: int = eqx.field(static=True, default=20)

    @property
    def forward(self) -> Transport:
        """The transport whose steps are undone."""
        return Transport(self.path, self.drift, self.integrator)

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state with U at (t, x)."""
        return self.forward.init(x, t, context=context, energy=energy, key=key)

    def move(self, t: Time, t_next: Time, y: X) -> tuple[X, Scalar, Flag]:
        """Return x = Φ^{-1}(y), −log|det ∂Φ/∂x| and whether it was not found or Φ folds there."""
        search, guess = Newton(self.max_steps), self.forward.flow(t, t_next, y)
        found = search(lambda v: self.forward.flow(t_next, t, v), y, guess)
        _, log_det, sign = self.forward.map(t_next, t, found.x)
        log_det = jnp.where(found.converged, -log_det, jnp.nan)
        return found.x, log_det, (sign <= 0) | ~found.converged

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Move from t to t_next by the inverse of the forward map from t_next to t."""
        return self.forward.arrive(state, t_next, *self.move(t, t_next, state.x))

    def cost(self, *, energy: int = 0, gradient: int = 0) -> Cost:
        """Return the cost of the forward map, Newton's iterations not counted."""
        return self.forward.cost(energy=energy, gradient=gradient)

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        """Return the rate of the forward transport."""
        return self.forward.log_weight_rate(t, x, key=key)

    def reversed(self) -> Transport:
        """Return the forward transport."""
        return self.forward

    def explain(self, info: TransportInfo) -> str:
        """Return the sentence for an inverse that was not found."""
        return "the inverse transport did not converge or the map folds: halve the step"
