r"""The semigroup loss: one jump equals two, X_{s,t} = X_{u,t} ∘ X_{s,u}.

With u = g s + (1 − g) t and X = x + (t − s) v, dividing by t − s leaves
v_{s,t}(x) = (1 − g) v_{s,u}(x) + g v_{u,t}(X_{s,u}(x)): no derivative is needed. Of the end
points' distance, the factor (t − s)² is dropped on purpose: it only adds variance.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._typing import PRNGKey, Scalar, Time
from ...networks.flow_map import extra_arguments
from ...paths.interpolants import AbstractInterpolant
from .base import AbstractMapObjective, AbstractStop, StopTarget


class AbstractFraction(eqx.Module):
    """A law of g in u = g s + (1 − g) t."""

    @abstractmethod
    def sample(self, t: Time, *, key: PRNGKey) -> Scalar:
        """Draw g in the dtype of t."""


class Half(AbstractFraction):
    """g = 1/2, half-way (PSD-M)."""

    def sample(self, t: Time, *, key: PRNGKey) -> Scalar:
        """Return 1/2."""
        return jnp.full_like(t, 0.5)


class UniformFraction(AbstractFraction):
    """g ~ U(0, 1) (PSD-U)."""

    def sample(self, t: Time, *, key: PRNGKey) -> Scalar:
        """Draw g."""
        return jax.random.uniform(key, (), t.dtype)


class PSD(AbstractMapObjective):
    r"""|v_{s,t}(x) − sg((1 − g) v_{s,u}(x) + g v_{u,t}(X_{s,u}(x)))|², x = I_s.

    Needs `Diagonal(path)` beside it. A map that is b on the diagonal and the identity off it makes
    this loss zero too: look at the Lagrangian defect before trusting a run.

    Parameters
    ----------
    path
        The interpolant.
    fraction
        `UniformFraction()` (default) or `Half()`.
    stop
        `StopTarget()` (default) or `StopNothing()`.
    endpoint
        True multiplies by (t − s)²: the distance of the end points.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825v2), PSD.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2025",)
    needs_diagonal: ClassVar[bool] = True
    path: AbstractInterpolant
    fraction: AbstractFraction = UniformFraction()
    stop: AbstractStop = StopTarget()
    endpoint: bool = eqx.field(static=True, default=False)

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        """Return v_{s,t} − ((1 − g) v_{s,u} + g v_{u,t}(X_{s,u})), times t − s for end points."""
        s, t, extra = pair.s, pair.t, extra_arguments(pair.context)
        g = self.fraction.sample(t, key=jax.random.fold_in(key, 1))
        u = g * s + (1 - g) * t
        x = self.path.state(s, pair.x0, pair.x1, self.noise(pair.x1, key))
        first = model.velocity(s, u, x, **extra)
        second = model.velocity(u, t, model(s, u, x, **extra), **extra)
        two = self.stop.target((1 - g) * first + g * second)
        apart = model.velocity(s, t, x, **extra) - two
        return ((t - s) * apart if self.endpoint else apart,)
