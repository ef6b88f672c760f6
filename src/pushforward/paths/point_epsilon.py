r"""The noise of a forecast, chosen after training: dX = b^ε dt + √(2ε) dW, b^ε = b + (ε − ½σ²) s.

All give the same law at every time. `MatchedEpsilon` needs no score; `FollmerEpsilon` makes the
path-space KL of a drift with errors smallest; less noise than half of ½σ² near t = 0 converges
slowly, since a point cannot spread without noise.
"""

from abc import abstractmethod

import equinox as eqx

from .._errors import InputError
from .._tree import concrete, scalar
from .._typing import Scalar, Time
from .point import AbstractPointMass


class AbstractPointEpsilon(eqx.Module):
    """ε(t) ≥ 0 along a point-mass path; the paper's g is √(2ε)."""

    @abstractmethod
    def value(self, path: AbstractPointMass, t: Time) -> Scalar:
        """Return ε(t)."""


class MatchedEpsilon(AbstractPointEpsilon):
    """ε_σ = ½σ²: the noise of the path itself; the drift is b."""

    def value(self, path: AbstractPointMass, t: Time) -> Scalar:
        """Return ½σ²."""
        return 0.5 * path.variance(t)


class FollmerEpsilon(AbstractPointEpsilon):
    r"""ε_F = ½|G|, G = 2tσ² d/dt log(β/(√t σ)): smallest path KL of a learned drift (default).

    References
    ----------
    Chen et al. 2024 (arXiv 2403.13724), section 3.3; for any schedules: derived.
    """

    def value(self, path: AbstractPointMass, t: Time) -> Scalar:
        """Return ½|G|."""
        return 0.5 * abs(path.follmer_gap(t))


class ScaledEpsilon(AbstractPointEpsilon):
    """A factor times another ε: a scan over `factor` is one compilation.

    Parameters
    ----------
    factor
        At least 0; below 1/2 near t = 0 the sampler converges slowly. A factor f scales the
        amplitude g by √f.
    of
        `MatchedEpsilon()`, `FollmerEpsilon()`.
    """

    factor: Scalar = eqx.field(converter=scalar)
    of: AbstractPointEpsilon

    def __check_init__(self):
        factor = concrete(self.factor)
        if factor is not None and not (factor >= 0).all():
            raise InputError(f"factor is {factor}, expected at least 0")

    def value(self, path: AbstractPointMass, t: Time) -> Scalar:
        """Return factor · ε(t)."""
        return self.factor * self.of.value(path, t)
