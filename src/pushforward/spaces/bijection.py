"""Maps with a log-determinant: from one space onto itself, or from R^n onto allowed values.

A bijection f pushes a density r to q(f(x)) = r(x)/|det df/dx|. Both directions are methods of one
object: `forward` and `inverse`.
"""

from abc import abstractmethod

import equinox as eqx

from pushforward._typing import Scalar, X


class AbstractBijection(eqx.Module):
    """An invertible map of one sample with the log of its volume change.

    An inverse that did not converge returns log|det| = NaN: whoever uses it rejects non-finite
    work and counts it.
    """

    @abstractmethod
    def forward(self, x: X) -> tuple[X, Scalar]:
        """Return (y, log|det dy/dx|)."""

    @abstractmethod
    def inverse(self, y: X) -> tuple[X, Scalar]:
        """Return (x, log|det dx/dy|)."""
