r"""Laws of two times (s, t): from where and to where a flow map is trained to jump.

`Triangle` (s <= t) suffices to generate; `Square` trains the backward map X_{t,s} too, which
encodes. s and t always come from different keys: one key for both would put every pair on a curve,
and no loss would show it.
"""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import PRNGKey, Scalar, Time


class AbstractPairTimes(eqx.Module):
    """A law of (s, t) on the unit square."""

    @property
    @abstractmethod
    def both_ways(self) -> bool:
        """Whether t < s occurs: only then is the backward map trained."""

    @abstractmethod
    def sample(self, *, progress: Scalar, key: PRNGKey) -> tuple[Time, Time]:
        """Draw (s, t); `progress` is the step divided by the steps of the schedule."""

    @abstractmethod
    def log_density(self, s: Time, t: Time) -> Scalar:
        """Return the log density at (s, t), −inf outside."""


class Triangle(AbstractPairTimes):
    """Two independent uniform times in order, s <= t: density 2, E s = 1/3, E t = 2/3."""

    @property
    def both_ways(self) -> bool:
        """False."""
        return False

    def sample(self, *, progress: Scalar, key: PRNGKey) -> tuple[Time, Time]:
        """Draw both and sort them."""
        u, v = _two(key)
        return jnp.minimum(u, v), jnp.maximum(u, v)

    def log_density(self, s: Time, t: Time) -> Scalar:
        """Return log 2 where 0 <= s <= t <= 1."""
        return jnp.where((0 <= s) & (s <= t) & (t <= 1), math.log(2.0), -jnp.inf)


class Square(AbstractPairTimes):
    """Two independent uniform times in either order."""

    @property
    def both_ways(self) -> bool:
        """True."""
        return True

    def sample(self, *, progress: Scalar, key: PRNGKey) -> tuple[Time, Time]:
        """Draw both."""
        return _two(key)

    def log_density(self, s: Time, t: Time) -> Scalar:
        """Return 0 on the unit square."""
        inside = (0 <= s) & (s <= 1) & (0 <= t) & (t <= 1)
        return jnp.where(inside, 0.0, -jnp.inf)


def _two(key: PRNGKey) -> tuple[Time, Time]:
    here, there = jax.random.split(key)
    return jax.random.uniform(here), jax.random.uniform(there)
