"""Flow map matching without a drift: go back from I_t to time s, come forward again."""

from typing import Any, ClassVar

from ..._errors import InputError
from ..._typing import PRNGKey
from ...dynamics.map_defects import end_tangent
from ...networks.flow_map import extra_arguments
from ...paths.interpolants import AbstractInterpolant
from .base import AbstractMapObjective


class FMM(AbstractMapObjective):
    r"""|∂_t X_{s,t}(y) − İ_t|² + |X_{s,t}(y) − I_t|², y = X_{t,s}(I_t), (s, t) on the whole square.

    Needs no teacher and no diagonal term; gradients run through everything, y included. At the flow
    map the first term is E Var(İ_t | I_t), as that of `Diagonal`, and the second is zero.

    Parameters
    ----------
    path
        The interpolant. Times are `Square()`, the map is `FlowMap(net, both_ways=True)`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2024 (arXiv 2406.07507), FMM.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2024",)
    needs_diagonal: ClassVar[bool] = False
    path: AbstractInterpolant

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        """Return (∂_t X_{s,t}(y) − İ_t, X_{s,t}(y) − I_t)."""
        if not model.both_ways:
            raise InputError(
                "FMM goes back and forth, and this map says that it goes forward only: write "
                "FlowMap(net, both_ways=True) and MapPairs(pairs, Square())"
            )
        z = self.noise(pair.x1, key)
        x = self.path.state(pair.t, pair.x0, pair.x1, z)
        y = model(pair.t, pair.s, x, **extra_arguments(pair.context))
        back, tangent = end_tangent(model, pair.s, pair.t, y, context=pair.context)
        return tangent - self.path.target(pair.t, pair.x0, pair.x1, z), back - x
