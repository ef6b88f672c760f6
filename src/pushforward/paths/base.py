r"""The two kinds of path, t = 0 the base, t = 1 the target.

An *annealing* is a path of energies, ρ_t ∝ e^{−U_t}: `path.at(t)` is the energy at a fixed time,
which HMC, heat baths and jumps use; `denergy_dt` is what a log-weight along the path needs. With
F_t = −log ∫ e^{−U_t}, log Z_t is relative to the base, so it is the target's own when the base is
normalised.

An *interpolant* is given by samples of its ends: I_t = α(t) x0 + β(t) x1 + γ(t) z with z ~ N(0, 1)
and α(0) = β(1) = 1, α(1) = β(0) = 0. The law of I_t runs from base to data, and
E[target | I_t = x] is the drift that carries it.
"""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array

from .._typing import Scalar, Time, V, X
from ..spaces import AbstractSpace
from ..targets import AbstractEnergy


class AbstractAnnealing(eqx.Module):
    """A path of energies; log Z is relative to its base."""

    base: eqx.AbstractVar[AbstractEnergy]

    @abstractmethod
    def at(self, t: Time) -> AbstractEnergy:
        """Return the energy U_t."""

    @abstractmethod
    def denergy_dt(self, t: Time, x: X) -> Scalar:
        """Return ∂_t U_t(x) at fixed x."""

    def energy(self, t: Time, x: X) -> Scalar:
        """Return U_t(x)."""
        return self.at(t)(x)

    @property
    def space(self) -> AbstractSpace:
        """Where the samples live."""
        return self.base.space


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


def at_time(value: Array | Callable[[Time], Scalar], t: Time) -> Scalar:
    """Return a number that may depend on time: `value(t)` if callable, else `value`."""
    return value(t) if callable(value) else value
