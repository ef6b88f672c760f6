r"""Lagrangian losses: the end point moves with the drift, ∂_t X_{s,t}(x) = b_t(X_{s,t}(x)).

X and ∂_t X come from one JVP of the whole map, and the drift is taken where the map arrives,
never at I_t. `LSD` distils the map's own diagonal, `LMD` a teacher.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from ..._typing import PRNGKey
from ...dynamics.map_defects import end_tangent
from ...networks.flow_map import extra_arguments
from ...paths.interpolants import AbstractInterpolant
from .base import AbstractMapObjective, AbstractStop, StopNothing, StopTarget


class LSD(AbstractMapObjective):
    r"""|∂_t X_{s,t}(x) − sg(v_{t,t}(X_{s,t}(x)))|², x = I_s: Lagrangian self-distillation.

    Add `Diagonal(path)`, as in `WithDiagonal(Diagonal(path), LSD(path))`, unless the map is tied to
    a drift: alone, it does not know which flow is meant.

    Parameters
    ----------
    path
        The interpolant.
    stop
        `StopTarget()` (default: the drift and the point where it is taken are numbers) or
        `StopNothing()`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825v2), LSD: the best of its losses there.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2025",)
    needs_diagonal: ClassVar[bool] = True
    path: AbstractInterpolant
    stop: AbstractStop = StopTarget()

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        """Return ∂_t X − v_{t,t}(X)."""
        x = self.path.state(pair.s, pair.x0, pair.x1, self.noise(pair.x1, key))
        y, tangent = end_tangent(model, pair.s, pair.t, x, context=pair.context)
        drift = model.drift(pair.t, y, **extra_arguments(pair.context))
        return (tangent - self.stop.target(drift),)


class LMD(AbstractMapObjective):
    r"""|∂_t X_{s,t}(x) − b_t(X_{s,t}(x))|², x = I_s: Lagrangian map distillation of a drift b.

    With a `FlowMap` add `Diagonal(path, drift)`; a `TiedFlowMap(drift, net)` needs nothing else.

    Parameters
    ----------
    path
        The interpolant, for the law of x only: any law that covers will do.
    drift
        b(t, x): an analytic drift or a frozen network.
    stop
        `StopNothing()` (default: gradients run through b's input) or `StopTarget()`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2024 (arXiv 2406.07507), LMD.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2024",)
    needs_diagonal: ClassVar[bool] = False
    path: AbstractInterpolant
    drift: Callable
    stop: AbstractStop = StopNothing()

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        """Return ∂_t X − b_t(X)."""
        x = self.path.state(pair.s, pair.x0, pair.x1, self.noise(pair.x1, key))
        y, tangent = end_tangent(model, pair.s, pair.t, x, context=pair.context)
        drift = self.drift(pair.t, y, **extra_arguments(pair.context))
        return (tangent - self.stop.target(drift),)
