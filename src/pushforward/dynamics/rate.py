r"""The log-weight production rate of a drift along an annealing, computed once for all processes.

r = div b − b·∇U_t − ∂_t U_t (arXiv 2410.02711, eq. 10). It vanishes up to −∂_t F_t exactly when b
transports ρ_t: the continuity equation. The divergence differentiates x ↦ b(t, x, ∇U_t(x)).
"""

from collections.abc import Callable

from .._typing import PRNGKey, Scalar, Time, V, X
from ..networks import Zero
from ..paths import AbstractAnnealing
from ..targets import energy_and_gradient


def path_drift(path: AbstractAnnealing, drift: Callable, t: Time, x: X) -> V:
    """Return b(t, x, ∇U_t(x)); skipped for `Zero`, and ∇U is zero behind a hard wall."""
    if isinstance(drift, Zero):
        return drift(t, x)
    return drift(t, x, energy_and_gradient(path.at(t), x)[1])


def transport_rate(
    path: AbstractAnnealing, drift: Callable, t: Time, x: X, key: PRNGKey | None = None
) -> Scalar:
    """Return r_t(x); the divergence is exact, or one Hutchinson probe when a key is given."""
    production = -path.denergy_dt(t, x)
    if isinstance(drift, Zero):
        return production
    space = path.space
    _, gradient = energy_and_gradient(path.at(t), x)
    divergence = space.divergence(lambda y: path_drift(path, drift, t, y), x, key=key)
    return divergence - space.inner(drift(t, x, gradient), gradient) + production
