r"""Laws of the training time t in [0, 1], each by its quantile function.

`law.sample(key=key)` is the quantile of a uniform number, so a law can be shifted, stratified over
a batch, or integrated by quadrature without another formula. Time laws in the literature are
often stated in noise time 1 − t; here t = 0 is the base.
"""

from abc import abstractmethod

import equinox as eqx
import jax
from jax.scipy.special import ndtri

from .._errors import InputError
from .._tree import concrete, scalar
from .._typing import PRNGKey, Scalar, Time


class AbstractTimeLaw(eqx.Module):
    """A law of t on [0, 1]."""

    @abstractmethod
    def quantile(self, u: Scalar) -> Time:
        """Return the time below which the law has mass u."""

    def sample(self, *, key: PRNGKey) -> Time:
        """Draw one time."""
        return self.quantile(jax.random.uniform(key))


class UniformTime(AbstractTimeLaw):
    """t uniform in [low, high).

    Parameters
    ----------
    low, high
        0 <= low < high <= 1. Good values: the whole [0, 1] for velocities of `Linear` and
        `Trigonometric`; [1e-3, 1 − 1e-3] for noise and scores; high = 1 − 1e-5 for
        `VariancePreserving`.
    """

    low: Scalar = eqx.field(default=0.0, converter=scalar)
    high: Scalar = eqx.field(default=1.0, converter=scalar)

    def __check_init__(self):
        low, high = concrete(self.low), concrete(self.high)
        if low is not None and high is not None and not (0 <= low < high <= 1):
            raise InputError(f"UniformTime({low}, {high}): expected 0 <= low < high <= 1")

    def quantile(self, u: Scalar) -> Time:
        """Return low + (high − low) u."""
        return self.low + (self.high - self.low) * u


class LogitNormal(AbstractTimeLaw):
    r"""log((1 − t)/t) ~ N(mean, std²): more training where the path is hardest.

    Parameters
    ----------
    mean, std
        Of the logit of the NOISE time 1 − t: mean > 0 means more noise. Good values 0, 1.

    References
    ----------
    Esser et al. 2024 (arXiv 2403.03206), section 3.1.
    """

    mean: Scalar = eqx.field(default=0.0, converter=scalar)
    std: Scalar = eqx.field(default=1.0, converter=scalar)

    def __check_init__(self):
        std = concrete(self.std)
        if std is not None and not std > 0:
            raise InputError(f"LogitNormal(std={std}): expected a positive number")

    def quantile(self, u: Scalar) -> Time:
        """Return sigmoid(std Φ^{-1}(u) − mean)."""
        return jax.nn.sigmoid(self.std * ndtri(u) - self.mean)
