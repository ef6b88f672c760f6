"""Schedules and time grids; the laws of training times are in `time_laws`.

A schedule s(t) is the position along the path at time t; a grid lists the times of the steps. Both
start at 0 and end at 1.
"""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._tree import concrete, scalar
from .._typing import Array, Float, Scalar, Time


class AbstractSchedule(eqx.Module):
    """A monotone map s of [0, 1] onto itself, with its derivative."""

    @abstractmethod
    def __call__(self, t: Time) -> Scalar:
        """Return s(t)."""

    @abstractmethod
    def rate(self, t: Time) -> Scalar:
        """Return s'(t)."""


class Identity(AbstractSchedule):
    """s(t) = t."""

    def __call__(self, t: Time) -> Scalar:
        return t

    def rate(self, t: Time) -> Scalar:
        return jnp.ones_like(t)


class ExponentialWarp(AbstractSchedule):
    r"""s(t) = (e^{κt} − 1)/(e^κ − 1): equal times for equal factors of the width.

    Parameters
    ----------
    kappa
        κ > 0. Good value about 2 log(σ_0/s_1), σ_0 the width of the base and s_1 the narrowest
        length of the target: then the local variance shrinks by a constant factor a unit of time.
    """

    kappa: Scalar = eqx.field(converter=scalar)

    def __call__(self, t: Time) -> Scalar:
        return jnp.expm1(self.kappa * t) / jnp.expm1(self.kappa)

    def rate(self, t: Time) -> Scalar:
        return self.kappa * jnp.exp(self.kappa * t) / jnp.expm1(self.kappa)


class Interpolated(AbstractSchedule):
    """Piecewise linear s through given values at equally spaced times.

    Parameters
    ----------
    knots
        Increasing values s_0 = 0, ..., s_n = 1, such as the grid found by an adaptive pilot run.
    """

    knots: Float[Array, " n"]

    def __init__(self, knots):
        self.knots = scalar(knots)
        known = concrete(self.knots)
        if known is not None and not (
            known.ndim == 1 and known[0] == 0 and known[-1] == 1 and (np.diff(known) > 0).all()
        ):
            raise InputError(f"knots must increase from 0 to 1, got {known}")

    def __call__(self, t: Time) -> Scalar:
        times = jnp.linspace(0, 1, self.knots.size, dtype=self.knots.dtype)
        return jnp.interp(t, times, self.knots)

    def rate(self, t: Time) -> Scalar:
        pieces = self.knots.size - 1
        k = jnp.clip(jnp.floor(t * pieces).astype(jnp.int32), 0, pieces - 1)
        return (self.knots[k + 1] - self.knots[k]) * pieces


class LocalVariance(eqx.Module):
    r"""ℓ²(t) = 1/((1 − s)/σ_0² + s/s_1²): the local squared length along a geometric path.

    A natural unit for step sizes, diffusions ε_t and drifts, since the width changes by orders of
    magnitude between base and target.

    Parameters
    ----------
    schedule
        The schedule s(t) of the path.
    base_scale, target_scale
        σ_0, the width of the base, and s_1, the narrowest length of the target.
    """

    schedule: AbstractSchedule
    base_scale: Scalar = eqx.field(converter=scalar)
    target_scale: Scalar = eqx.field(converter=scalar)

    def __call__(self, t: Time) -> Scalar:
        s = self.schedule(t)
        return 1 / ((1 - s) / self.base_scale**2 + s / self.target_scale**2)


def uniform_times(num: int) -> Float[Array, " num+1"]:
    """Return `num` equal steps from 0 to 1."""
    return power_times(num, 1.0)


def power_times(num: int, power: float) -> Float[Array, " num+1"]:
    """Return (k/num)^power, k = 0..num: denser near the base for power > 1."""
    if num < 1:
        raise InputError(f"a time grid needs at least one step, got {num}")
    return jnp.asarray(np.linspace(0, 1, num + 1) ** power, dtype=jnp.result_type(float))


def check_times(times) -> Float[Array, " n"]:
    """Return the grid as an array, or raise unless it is strictly monotone within [0, 1]."""
    array = np.asarray(times, dtype=float)
    if array.ndim != 1 or array.size < 2:
        raise InputError(f"times has shape {array.shape}, expected (n,) with n >= 2")
    steps = np.diff(array)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(
            "times must be strictly increasing (or decreasing), got "
            f"{np.array2string(array, threshold=8)}"
        )
    if array.min() < 0 or array.max() > 1:
        raise InputError(f"times must lie in [0, 1], got [{array.min()}, {array.max()}]")
    return jnp.asarray(array, dtype=jnp.result_type(float))
