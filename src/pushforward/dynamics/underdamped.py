r"""Inertial (underdamped) Langevin dynamics with a learned drift, exact weights at any step.

dX = (p + b) dt, dP = −∇U dt − γ P dt + √(2γ) dW: the rate r and the best b are those of the
overdamped process, so a network trained there is used here unchanged. One step is a palindrome
around the map of the drift; only the Ornstein–Uhlenbeck parts are random, they leave the law of p
invariant, and the rest is a deterministic map of (x, p) whose work is exact.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._fields import non_negative, positive
from .._tree import scalar
from .._typing import PRNGKey, Scalar, Time, V, X
from ..networks import Zero
from ..paths import AbstractAnnealing
from ..spaces import as_manifold
from ..targets import energy_and_gradient, energy_difference
from .base import AbstractProcess, Info, State, zero_weight_behind_walls
from .rate import transport_rate
from .transport import Euler, RungeKutta, Transport


class UnderdampedLangevin(AbstractProcess):
    r"""The step O B A T A B O from t to t', with ΔA = H_a − H_b + log|det ∂T|.

    O: p ← c p + √(1−c²) ξ, c = e^{−γτ/2}. B: p ← p − (τ/2) ∇U (of U_t before T, of U_t' after).
    A: x ← x + (τ/2) p. T: the map of dx/dt = b from t to t'. H = U + ½|p|², H_a after the first O,
    H_b before the last.

    Parameters
    ----------
    path
        The annealing U_t.
    drift
        b(t, x, g), g = ∇U_t(x); `Zero()` computes no determinant.
    gamma
        Friction γ ≥ 0, an inverse physical time. Good value 2.
    tau
        Physical time τ > 0 of one step, free of the grid of t. Good value: .1 to .3 times the
        smallest width of the target.
    integrator
        Of T: `Euler()`, `Heun()` or `RK4()`.
    inverse
        Set by `reversed()`: T is then the inverse map.

    References
    ----------
    Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711); the discrete weight is derived.
    """

    references: ClassVar[tuple[str, ...]] = ("nets",)
    start_gradients: ClassVar[int] = 1
    path: AbstractAnnealing
    drift: Callable = Zero()
    gamma: Scalar = non_negative(default=2.0, converter=scalar)
    tau: Scalar = positive(default=0.1, converter=scalar, example=0.1)
    integrator: RungeKutta = Euler()
    inverse: bool = eqx.field(static=True, default=False)

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        held, gradient = energy_and_gradient(self.path.at(t), x)
        momentum = as_manifold(self.path.space).noise(x, key=key)
        return held if energy is None else energy, (momentum, gradient)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        momentum, gradient = state.memory
        p = self._refresh(state.x, momentum, jax.random.fold_in(key, 0))
        x, p, energy, gradient, work, info = self.conservative(
            t, t_next, state.x, p, state.energy, gradient
        )
        increment = zero_weight_behind_walls(-work, state.energy, energy)
        p = self._refresh(x, p, jax.random.fold_in(key, 1))
        return state.moved(x, energy, (p, gradient), increment=increment), info

    def conservative(self, t: Time, t_next: Time, x: X, p: V, energy: Any, gradient: V):
        """Return (x, p, U, ∇U, work, info) after B A T A B: work = H_b − H_a − log|det ∂T|."""
        space, half = as_manifold(self.path.space), 0.5 * self.tau

        def kick(p, gradient):
            return jax.tree.map(lambda a, g: a - half * g, p, gradient)

        def drifted(x, p):
            return space.retract(x, jax.tree.map(lambda a: half * a, p))

        start = space.inner(p, p)
        p = kick(p, gradient)
        x, log_det, failed = self._transport.move(t, t_next, drifted(x, p))
        x = drifted(x, p)
        new_energy, gradient = energy_and_gradient(self.path.at(t_next), x)
        p = kick(p, gradient)
        kinetic = 0.5 * (space.inner(p, p) - start)
        work = energy_difference(new_energy, energy) + kinetic - log_det
        info = Info(cost=self._transport.cost(gradient=1), log_det=log_det, failed=failed)
        return x, p, new_energy, gradient, work, info

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        return transport_rate(self.path, self.drift, t, x, key)

    def reversed(self) -> "UnderdampedLangevin":
        """Return the kernel with the inverse map; momenta are retraced with the opposite sign."""
        return UnderdampedLangevin(
            self.path, self.drift, self.gamma, self.tau, self.integrator, not self.inverse
        )

    @property
    def failure(self) -> str:
        return self._transport.failure

    @property
    def _transport(self) -> Transport:
        return Transport(self.path, self.drift, self.integrator, inverse=self.inverse)

    def _refresh(self, x: X, p: V, key: PRNGKey) -> V:
        keep = jnp.exp(-0.5 * self.gamma * self.tau)
        rest = jnp.sqrt(-jnp.expm1(-self.gamma * self.tau))
        noise = as_manifold(self.path.space).noise(x, key=key)
        return jax.tree.map(lambda a, n: keep * a + rest * n, p, noise)
