"""A flow map between two fixed times as a bijection: for exchange, for independence Metropolis."""

import equinox as eqx
import jax.numpy as jnp

from .._tree import scalar
from .._typing import Scalar, Time, X
from ..networks.flow_map import AbstractFlowMap
from ..spaces import AbstractBijection
from .inverse import AbstractInverse, Newton, Solution, with_log_det


class MapBijection(AbstractBijection):
    """x ↦ X_{s,t}(x) with its exact log|det|, and its inverse by iteration.

    Parameters
    ----------
    map
        Any `AbstractFlowMap`. A network's map may fold: where the determinant is not positive the
        log-determinant is NaN, and whoever uses it rejects.
    s, t
        From where to where; default from the base to the data.
    search
        `Newton()`, or `FixedPoint()` where (t − s) Lip(v) < 1. It starts from X_{t,s}(y) if the map
        goes both ways, else from y.
    """

    map: AbstractFlowMap
    s: Time = eqx.field(default=0.0, converter=scalar)
    t: Time = eqx.field(default=1.0, converter=scalar)
    search: AbstractInverse = Newton()

    def forward(self, x: X) -> tuple[X, Scalar]:
        y, log_det, sign = with_log_det(lambda v: self.map(self.s, self.t, v), x)
        return y, jnp.where(sign > 0, log_det, jnp.nan)

    def inverse(self, y: X) -> tuple[X, Scalar]:
        found = self.solve(y)
        _, log_det = self.forward(found.x)
        return found.x, jnp.where(found.converged, -log_det, jnp.nan)

    def solve(self, y: X) -> Solution:
        """Return the search for x with X_{s,t}(x) = y."""
        guess = self.map(self.t, self.s, y) if self.map.both_ways else y
        return self.search(lambda v: self.map(self.s, self.t, v), y, guess)
