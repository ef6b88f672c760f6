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

from .._fields import integer
from .._tree import real_dtype
from .._typing import Flag, PRNGKey, Scalar, Time, X
from ..flows.inverse import Newton, inverse_with_log_det, with_log_det
from ..networks import Zero, is_zero
from ..paths import AbstractAnnealing
from ..targets import energy_difference, energy_terms
from .base import AbstractProcess, Cost, Info, State, zero_weight_behind_walls
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
    max_steps
        Newton iterations of the inverse; 20 are plenty when the step is short enough for Φ to be
        injective.
    inverse
        Set by `reversed()`: a step is x = Φ_{t',t}^{-1}(y), ΔA = U_t(y) − U_t'(x) − log|det ∂Φ/∂x|.
        A Runge–Kutta step backwards is not the inverse of the step forwards (3e-5 apart at usual
        steps); the work of a reversal needs the inverse.

    References
    ----------
    Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711), eps = 0; Vaikuntanathan and Jarzynski 2008.
    """

    references: ClassVar[tuple[str, ...]] = ("nets", "jarzynski1997")
    path: AbstractAnnealing
    drift: Callable = Zero()
    integrator: RungeKutta = RK4()
    max_steps: int = integer(least=1, default=20)
    inverse: bool = eqx.field(static=True, default=False)

    def flow(self, t: Time, t_next: Time, x: X) -> X:
        """Return Φ_{t,t'}(x)."""
        return self.integrator(lambda s, y: path_drift(self.path, self.drift, s, y), t, t_next, x)

    def move(self, t: Time, t_next: Time, x: X) -> tuple[X, Scalar, Flag]:
        """Return where x goes, the log|det| of that map (NaN if Newton's method did not converge).

        The third value says whether Φ folds there or no x was found.
        """
        if is_zero(self.drift):
            zero = jnp.zeros((), real_dtype(x))
            return x, zero, jnp.zeros((), bool)
        if not self.inverse:
            y, log_det, sign = with_log_det(lambda v: self.flow(t, t_next, v), x)
            return y, log_det, sign <= 0
        guess, search = self.flow(t, t_next, x), Newton(self.max_steps)
        found, log_det, sign = inverse_with_log_det(
            lambda v: self.flow(t_next, t, v), x, guess, search
        )
        return found.x, log_det, (sign <= 0) | ~found.converged

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        return energy_terms(self.path.at(t), x) if energy is None else energy, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        y, log_det, failed = self.move(t, t_next, state.x)
        energy = energy_terms(self.path.at(t_next), y)
        increment = log_det - energy_difference(energy, state.energy)
        increment = zero_weight_behind_walls(increment, state.energy, energy)
        info = Info(cost=self.cost(energy=1), log_det=log_det, failed=failed)
        return state.moved(y, energy, increment=increment), info

    def cost(self, *, energy: int = 0, gradient: int = 0) -> Cost:
        """Return the cost of Φ (Newton's iterations not counted) and of what else a step does."""
        stages = 0 if is_zero(self.drift) else len(self.integrator.b)
        return Cost.of(energy, gradient + stages, stages)

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        return transport_rate(self.path, self.drift, t, x, key)

    def reversed(self) -> "Transport":
        """Return the inverse map (itself for `Zero`)."""
        if is_zero(self.drift):
            return self
        return Transport(self.path, self.drift, self.integrator, self.max_steps, not self.inverse)

    @property
    def failure(self) -> str:
        if self.inverse:
            return "the inverse transport did not converge or the map folds: halve the step"
        return (
            "the transport map is not injective (its Jacobian has a determinant <= 0): halve the "
            "step, as in uniform_times(2 * n), or use integrator=RK4()"
        )
