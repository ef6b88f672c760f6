r"""Paths from samples: I_t between a base point x0 and a data point x1.

I_t = α(t) x0 + β(t) x1 + γ(t) z with z ~ N(0, 1) and α(0) = β(1) = 1, α(1) = β(0) = 0: the law of
I_t runs from base to data, and E[target | I_t = x] is the drift that carries it.
"""

from abc import abstractmethod

import equinox as eqx

from .._typing import Time, V, X


class AbstractInterpolant(eqx.Module):
    """A path of measures given by samples of its ends."""

    @abstractmethod
    def state(self, t: Time, x0: X, x1: X, z: X) -> X:
        """Return I_t."""

    @abstractmethod
    def target(self, t: Time, x0: X, x1: X, z: X) -> V:
        """Return the regression target of the drift: not always dI/dt."""

    @abstractmethod
    def known(self, x0: X) -> tuple:
        """Return what the drift gets beside (t, x): nothing, or (x0,) of a point mass.

        A drift is called `drift(t, x, *path.known(x0), context=..., key=...)`.
        """
