r"""A path of measures ρ_t ∝ e^{−U_t}, t = 0 the base, t = 1 the target.

`path.at(t)` is the energy at a fixed time, which HMC, heat baths and jumps use; `denergy_dt` is
what a log-weight along the path needs. With F_t = −log ∫ e^{−U_t}, log Z_t is relative to the base,
so it is the target's own when the base is normalised.
"""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array

from .._typing import Scalar, Time, X
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


def at_time(value: Array | Callable[[Time], Scalar], t: Time) -> Scalar:
    """Return a number that may depend on time: `value(t)` if callable, else `value`."""
    return value(t) if callable(value) else value
