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

from .._errors import InputError
from .._tree import concrete, scalar
from .._typing import Context, PRNGKey, Scalar, Time, V, X
from ..networks import Zero
from ..paths import AbstractAnnealing
from ..spaces import as_manifold
from ..targets import energy_and_gradient, energy_difference
from .base import AbstractProcess, State, no_weight, park
from .rate import transport_rate
from .transport import Euler, InverseTransport, RungeKutta, Transport, TransportInfo


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
    backward
        Set by `reversed()`: T is then the inverse map.

    References
    ----------
    Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711); the discrete weight is derived.
    """

    references: ClassVar[tuple[str, ...]] = ("nets",)
    start_gradients: ClassVar[int] = 1
    path: AbstractAnnealing
    drift: Callable = Zero()
    gamma: Scalar = eqx.field(default=2.0, converter=scalar)
    tau: Scalar = eqx.field(default=0.1, converter=scalar)
    integrator: RungeKutta = Euler()
    backward: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        for name, least in (("gamma", "0 or more"), ("tau", "positive")):
            known = concrete(getattr(self, name))
            if known is not None and ((known < 0) | ((known == 0) & (name == "tau"))).any():
                raise InputError(f"{name} = {known}, expected {least}: {name}=0.1")

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state with U, ∇U and a momentum p ~ N(0, 1)."""
        held, gradient = energy_and_gradient(self.path.at(t), x)
        momentum = as_manifold(self.path.space).noise(x, key=key)
        held = held if energy is None else energy
        return State(x, no_weight(x), context, held, (momentum, gradient))

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Move from t to t_next: one gradient, and what the map of the drift costs."""
        momentum, gradient = state.memory
        p = self._refresh(state.x, momentum, jax.random.fold_in(key, 0))
        x, p, energy, gradient, work, info = self.conservative(
            t, t_next, state.x, p, state.energy, gradient
        )
        log_weight = state.log_weight.add(park(-work, state.energy, energy))
        p = self._refresh(x, p, jax.random.fold_in(key, 1))
        return State(x, log_weight, state.context, energy, (p, gradient)), info

    def conservative(self, t: Time, t_next: Time, x: X, p: V, energy: Any, gradient: V):
        """Return (x, p, U, ∇U, work, info) after B A T A B: work = H_b − H_a − log|det ∂T|."""
        space, half = as_manifold(self.path.space), 0.5 * self.tau

        def kick(p, gradient):
            return jax.tree.map(lambda a, g: a - half * g, p, gradient)

        def drifted(x, p):
            return space.retract(x, jax.tree.map(lambda a: half * a, p))

        start = space.inner(p, p)
        p = kick(p, gradient)
        x, log_det, failed = self._mover().move(t, t_next, drifted(x, p))
        x = drifted(x, p)
        new_energy, gradient = energy_and_gradient(self.path.at(t_next), x)
        p = kick(p, gradient)
        kinetic = 0.5 * (space.inner(p, p) - start)
        work = energy_difference(new_energy, energy) + kinetic - log_det
        cost = self._mover().cost(gradient=1)
        return x, p, new_energy, gradient, work, TransportInfo(cost, log_det, failed)

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        """Return r = div b − b·∇U_t − ∂_t U_t, that of the overdamped process."""
        return transport_rate(self.path, self.drift, t, x, key)

    def reversed(self) -> "UnderdampedLangevin":
        """Return the kernel with the inverse map; momenta are retraced with the opposite sign."""
        return UnderdampedLangevin(
            self.path, self.drift, self.gamma, self.tau, self.integrator, not self.backward
        )

    def explain(self, info: TransportInfo) -> str:
        """Return the sentence for a folded map."""
        return self._mover().explain(info)

    def _mover(self) -> Transport | InverseTransport:
        transport = Transport(self.path, self.drift, self.integrator)
        inverse = InverseTransport(self.path, self.drift, self.integrator)
        return inverse if self.backward and not isinstance(self.drift, Zero) else transport

    def _refresh(self, x: X, p: V, key: PRNGKey) -> V:
        keep = jnp.exp(-0.5 * self.gamma * self.tau)
        rest = jnp.sqrt(-jnp.expm1(-self.gamma * self.tau))
        noise = as_manifold(self.path.space).noise(x, key=key)
        return jax.tree.map(lambda a, n: keep * a + rest * n, p, noise)
