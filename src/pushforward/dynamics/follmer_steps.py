r"""One step of dX = b^ε dt + √(2ε) dW from the point x0: Euler–Maruyama and stochastic Heun.

The first step, t = 0, takes ε = ½σ² whatever ε is: the law it leaves is right to O(h), the score,
which does not exist at a point, is not asked for, and a point spreads at once. The last step ends
at t = 1 with its noise, which is part of the law.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import Context, Count, Flag, Scalar, Time, V, X
from ..paths import AbstractPointEpsilon, AbstractPointMass


class PointField(eqx.Module):
    """The SDE that one step follows: b^ε and ε, with ε = ½σ² in the first step."""

    drift: Callable
    path: AbstractPointMass
    epsilon: AbstractPointEpsilon
    x0: X
    context: Context
    first: Flag

    def noise(self, t: Time) -> Scalar:
        """Return the ε of this step at time t."""
        matched = 0.5 * self.path.variance(t)
        return jax.lax.cond(self.first, lambda: matched, lambda: self.epsilon.value(self.path, t))

    def __call__(self, t: Time, x: X) -> V:
        """Return b + (ε − ½σ²) s from one evaluation of b."""
        b = self.drift(t, x, self.x0, context=self.context)

        def moved():
            surplus = self.epsilon.value(self.path, t) - 0.5 * self.path.variance(t)
            return b + surplus * self.path.score(t, x, self.x0, b)

        return jax.lax.cond(self.first, lambda: b, moved)


class AbstractPointStepper(eqx.Module):
    """A pure function of one step: field, times, point and unit noise in, new point out."""

    @abstractmethod
    def __call__(self, field: PointField, t: Time, t_next: Time, x: X, z: X) -> tuple[X, Count]:
        """Return the new point and how often b was evaluated."""


class PointEuler(AbstractPointStepper):
    """x' = x + h b^ε + √(2εh) z: one evaluation a step, weak order 1; for 50 steps and more."""

    references: ClassVar[tuple[str, ...]] = ("follmer2024",)

    def __call__(self, field: PointField, t: Time, t_next: Time, x: X, z: X) -> tuple[X, Count]:
        """Return x + h b^ε(t, x) + √(2 ε(t) h) z, and 1."""
        h = t_next - t
        x = x + h * field(t, x) + jnp.sqrt(2 * h * field.noise(t)) * z
        return x, jnp.ones((), jnp.int32)


class PointHeun(AbstractPointStepper):
    r"""n = √(2ε(t+h/2)h) z, x̃ = x + h b^ε(t, x) + n, x' = x + ½h [b^ε(t, x) + b^ε(t', x̃)] + n.

    Two evaluations a step, one in the last, which is an Euler step; weak order 2. For few steps,
    with `MatchedEpsilon()` on the grid 1 − (1 − u)^1.5.
    """

    def __call__(self, field: PointField, t: Time, t_next: Time, x: X, z: X) -> tuple[X, Count]:
        """Return the new point, and 2 (1 in the last step)."""
        h, slope = t_next - t, field(t, x)

        def euler():
            return x + h * slope + jnp.sqrt(2 * h * field.noise(t)) * z

        def heun():
            noise = jnp.sqrt(2 * h * field.noise(t + 0.5 * h)) * z
            ahead = field(t_next, x + h * slope + noise)
            return x + 0.5 * h * (slope + ahead) + noise

        last = t_next >= 1
        return jax.lax.cond(last, euler, heun), jnp.where(last, 1, 2).astype(jnp.int32)
