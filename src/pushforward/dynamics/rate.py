r"""The log-weight production rate r along an annealing, computed once for all processes.

- a drift b: r = div b − b·∇U_t − ∂_t U_t (arXiv 2410.02711, eq. 10). The divergence
  differentiates x ↦ b(t, x, ∇U_t(x)).
- jump rates Q: r = −∂_t U_t − K_t, K_t(x) = Σ_y [ Q_t(y→x) e^{−(U_t(y) − U_t(x))} − Q_t(x→y) ].

It is −∂_t F_t everywhere exactly when the process transports ρ_t: the continuity equation.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._typing import Array, Flag, Float, PRNGKey, Scalar, Time, V, X
from ..networks import is_zero
from ..paths import AbstractAnnealing
from ..spaces import as_manifold
from ..targets import AbstractFiniteEnergy, energy_and_gradient


def path_drift(path: AbstractAnnealing, drift: Callable, t: Time, x: X) -> V:
    """Return b(t, x, ∇U_t(x)); skipped for `Zero`, and ∇U is zero behind a hard wall."""
    if is_zero(drift):
        return drift(t, x)
    return drift(t, x, energy_and_gradient(path.at(t), x)[1])


def transport_rate(
    path: AbstractAnnealing, drift: Callable, t: Time, x: X, key: PRNGKey | None = None
) -> Scalar:
    """Return r_t(x); the divergence is exact, or one Hutchinson probe when a key is given."""
    production = -path.denergy_dt(t, x)
    if is_zero(drift):
        return production
    space = as_manifold(path.space)
    _, gradient = energy_and_gradient(path.at(t), x)
    divergence = space.divergence(lambda y: path_drift(path, drift, t, y), x, key=key)
    return divergence - space.inner(drift(t, x, gradient), gradient) + production


LOG_LARGEST_RATIO = 69.0  # e^69 = 1e30


class Moves(eqx.Module):
    r"""All one-site moves out of a state x at a time t, one entry a move.

    With the one-way function G, G(move | x) = −G(move back | y), one evaluation gives the rates
    out, Q(x→y) = [G]_+ + δ w, and those of the time-reversed process, Q(y→x) e^{−ΔU} = [−G]_+
    e^{−ΔU} + δ w: the heat bath w is reversible. [G]_+ = max(G, 0) has the derivative ½ at 0: with
    `relu` (0 there) a network that starts at zero would never train.

    Attributes
    ----------
    differences
        ΔU = U_t(y) − U_t(x).
    one_way
        G.
    bath
        δ w, w = e^{−U_t(y)} / Σ_τ e^{−U_t(x; i<-τ)}.
    """

    differences: Float[Array, "..."]
    one_way: Float[Array, "..."]
    bath: Float[Array, "..."]

    @property
    def out(self) -> Float[Array, "..."]:
        """Q(x→y)."""
        return jnp.maximum(self.one_way, 0.0) + self.bath

    @property
    def back(self) -> Float[Array, "..."]:
        """Q(y→x) e^{−ΔU}: the rates of the process reversed in time."""
        return self._back + self.bath

    @property
    def balance(self) -> Scalar:
        """K = Σ [−G]_+ e^{−ΔU} − [G]_+; the heat bath contributes exactly 0."""
        return jnp.sum(self._back - jnp.maximum(self.one_way, 0.0))

    @property
    def overflow(self) -> Flag:
        """Whether a ratio e^{−ΔU} above 1e30 was needed (the sums here stop there)."""
        return jnp.any((self.one_way < 0) & (-self.differences > LOG_LARGEST_RATIO))

    @property
    def _back(self) -> Float[Array, "..."]:
        ratio = jnp.exp(jnp.minimum(-self.differences, LOG_LARGEST_RATIO))
        return jnp.maximum(-self.one_way, 0.0) * ratio


def path_moves(path: AbstractAnnealing, rates: Callable, delta: Scalar, t: Time, x: X) -> Moves:
    """Return the moves out of x with G = rates(t, x, ΔU); G = 0 for `Zero`."""
    energy = path.at(t)
    if not isinstance(energy, AbstractFiniteEnergy):
        raise InputError(
            "jumps need energies that know ΔU on a finite space, the path has "
            f"{type(energy).__name__} on {energy.space}: write FiniteEnergy(fn, Spins((8, 8))), "
            "and Uniform(space) as the base"
        )
    differences = energy.local_differences(x)
    zero = is_zero(rates)
    one_way = jnp.zeros_like(differences) if zero else rates(t, x, differences)
    return Moves(differences, one_way, delta * energy.space.redraw(x, differences))


def jump_rate(path: AbstractAnnealing, moves: Moves, t: Time, x: X) -> Scalar:
    """Return r_t(x) = −∂_t U_t(x) − K_t(x)."""
    return -path.denergy_dt(t, x) - moves.balance
