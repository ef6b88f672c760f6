r"""Laws of the training time t in [0, 1], and of pairs of times (s, t) for flow maps.

A law of one time is given by its quantile function: `law.sample(key=key)` is the quantile of a
uniform number, so a law can be shifted, stratified over a batch, or integrated by quadrature
without another formula. The literature often states time laws in noise time 1 − t; here t = 0 is
the base. A pair says from where and to where a flow map is trained to jump: `Triangle` (s <= t)
suffices to generate; `Square` trains the backward map X_{t,s} too, which encodes.
"""

import math
from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from .._errors import InputError
from .._fields import positive
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
    std: Scalar = positive(default=1.0)

    def quantile(self, u: Scalar) -> Time:
        return jax.nn.sigmoid(self.std * ndtri(u) - self.mean)


class AbstractPairTimes(eqx.Module):
    """A law of (s, t) on the unit square.

    `both_ways` says whether t < s occurs: only then is the backward map trained.
    """

    both_ways: eqx.AbstractClassVar[bool]

    @abstractmethod
    def sample(self, *, progress: Scalar, key: PRNGKey) -> tuple[Time, Time]:
        """Draw (s, t); `progress` is the step divided by the steps of the schedule."""

    @abstractmethod
    def log_density(self, s: Time, t: Time) -> Scalar:
        """Return the log density at (s, t), −inf outside."""


class Triangle(AbstractPairTimes):
    """Two independent uniform times in order, s <= t: density 2, E s = 1/3, E t = 2/3."""

    both_ways: ClassVar[bool] = False

    def sample(self, *, progress: Scalar, key: PRNGKey) -> tuple[Time, Time]:
        u, v = _two(key)
        return jnp.minimum(u, v), jnp.maximum(u, v)

    def log_density(self, s: Time, t: Time) -> Scalar:
        return jnp.where((0 <= s) & (s <= t) & (t <= 1), math.log(2.0), -jnp.inf)


class Square(AbstractPairTimes):
    """Two independent uniform times in either order."""

    both_ways: ClassVar[bool] = True

    def sample(self, *, progress: Scalar, key: PRNGKey) -> tuple[Time, Time]:
        return _two(key)

    def log_density(self, s: Time, t: Time) -> Scalar:
        inside = (0 <= s) & (s <= 1) & (0 <= t) & (t <= 1)
        return jnp.where(inside, 0.0, -jnp.inf)


def _two(key: PRNGKey) -> tuple[Time, Time]:
    # with one key for both, every pair would lie on a curve, and no loss would show it
    here, there = jax.random.split(key)
    return jax.random.uniform(here), jax.random.uniform(there)
