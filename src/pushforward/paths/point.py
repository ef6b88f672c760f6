r"""Paths that start at a point: I_t = α x0 + β x1 + σ W_t, from the present state to a future one.

W is a Wiener process, W_t = √t z in law, α(0) = β(1) = 1, α(1) = β(0) = σ(1) = 0, σ(0) > 0. At
t = 0 all mass sits in x0; at t = 1 the law of I_t given x0 is ρ(x1|x0). The regression target is
R = α̇ x0 + β̇ x1 + σ̇ √t z, NOT dI/dt: that would contain 1/√t. Its mean given I_t = x,

  b(t, x|x0) = E[R | I_t = x, x0] = v + ½σ² s,   v the probability flow, s = ∇ log ρ_t(x|x0),

is the drift of dX = b dt + σ dW, X_0 = x0, whose end has the law ρ(x1|x0). With D = β̇σ − βσ̇ > 0,

  b = d + ϱ s,   d = α̇ x0 + (β̇/β)(x − α x0) known,   ϱ = tσD/β,

so ONE evaluation of b gives the score s = (b − d)/ϱ, E[x1|x, x0], E[W|x, x0], and the drift
b + (ε − ½σ²) s at every other noise ε(t) ≥ 0. Among them ε_F = ½|G|, G = 2ϱ − σ², makes the
path-space KL of a learned drift smallest (the Föllmer process): there the drift is d + max(G, 0) s.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from .._errors import InputError
from .._fields import positive
from .._tree import concrete, scalar
from .._typing import Scalar, Time, X
from .base import AbstractInterpolant

Three = tuple[Scalar, Scalar, Scalar]


class AbstractPointMass(AbstractInterpolant):
    """A path from the point x0 to ρ(·|x0); everything follows from α, β, σ and ϱ."""

    references: ClassVar[tuple[str, ...]] = ("follmer2024",)

    @abstractmethod
    def values(self, t: Time) -> Three:
        """Return α, β, σ."""

    @abstractmethod
    def gain(self, t: Time) -> Scalar:
        """Return ϱ = tσD/β, what multiplies the score in b; finite on [0, 1]."""

    def values_and_rates(self, t: Time) -> tuple[Three, Three]:
        """Return (α, β, σ) and their derivatives in t."""
        return jax.jvp(self.values, (t,), (jnp.ones_like(t),))

    def state(self, t: Time, x0: X, x1: X, z: X) -> X:
        alpha, beta, sigma = self.values(t)
        return alpha * x0 + beta * x1 + sigma * jnp.sqrt(t) * z

    def target(self, t: Time, x0: X, x1: X, z: X) -> X:
        dalpha, dbeta, dsigma = self.values_and_rates(t)[1]
        return dalpha * x0 + dbeta * x1 + dsigma * jnp.sqrt(t) * z

    def known(self, x0: X) -> tuple:
        return (x0,)

    def variance(self, t: Time) -> Scalar:
        """Return σ²."""
        return self.values(t)[2] ** 2

    def wronskian(self, t: Time) -> Scalar:
        """Return D = β̇σ − βσ̇."""
        (_, beta, sigma), (_, dbeta, dsigma) = self.values_and_rates(t)
        return dbeta * sigma - beta * dsigma

    def known_drift(self, t: Time, x: X, x0: X) -> X:
        """Return d = α̇ x0 + (β̇/β)(x − α x0), known without a network; t > 0."""
        (alpha, beta, _), (dalpha, dbeta, _) = self.values_and_rates(t)
        return dalpha * x0 + (dbeta / beta) * (x - alpha * x0)

    def score(self, t: Time, x: X, x0: X, b: X) -> X:
        """Return s = (b − d)/ϱ; 0 < t < 1."""
        return (b - self.known_drift(t, x, x0)) / self.gain(t)

    def data(self, t: Time, x: X, x0: X, b: X) -> X:
        """Return E[x1|x, x0] = [σ(b − α̇ x0) − σ̇(x − α x0)]/D; t > 0."""
        (alpha, _, sigma), (dalpha, _, dsigma) = self.values_and_rates(t)
        return (sigma * (b - dalpha * x0) - dsigma * (x - alpha * x0)) / self.wronskian(t)

    def noise(self, t: Time, x: X, x0: X, b: X) -> X:
        """Return E[W_t|x, x0] = [β̇(x − α x0) − β(b − α̇ x0)]/D = −tσ s; t > 0."""
        (alpha, beta, _), (dalpha, dbeta, _) = self.values_and_rates(t)
        return (dbeta * (x - alpha * x0) - beta * (b - dalpha * x0)) / self.wronskian(t)

    def follmer_gap(self, t: Time) -> Scalar:
        """Return G = 2ϱ − σ² = 2tσ² d/dt log(β/(√t σ)); where G < 0 the drift d is all known."""
        return 2 * self.gain(t) - self.variance(t)

    def kl_weight(self, t: Time, epsilon: Scalar) -> Scalar:
        r"""Return w = [1 + (ε − ½σ²)/ϱ]²/(2ε), with which KL(P‖P̂) = ½ ∫ w E|b̂ − b|² dt; t < 1."""
        return (1 + (epsilon - 0.5 * self.variance(t)) / self.gain(t)) ** 2 / (2 * epsilon)


class PointMass(AbstractPointMass):
    r"""The path of any three schedules; derivatives by JVP.

    Parameters
    ----------
    alpha, beta, sigma
        Functions of t with α(0) = β(1) = 1, α(1) = β(0) = σ(1) = 0, σ(0) > 0 and β̇ > 0 on (0, 1].
        At t = 0, ϱ is 0/0 here (the other paths have its limit); samplers do not need it.
    """

    alpha: Callable[[Time], Scalar]
    beta: Callable[[Time], Scalar]
    sigma: Callable[[Time], Scalar]

    def __check_init__(self):
        start, end = (concrete(jnp.stack(self.values(scalar(t)))) for t in (0.0, 1.0))
        if start is None or end is None:
            return
        error = max(*abs(start[:2] - (1, 0)), *abs(end - (0, 1, 0)))
        if not (error < 1e-5 and start[2] > 0):
            raise InputError(
                f"alpha beta sigma at t = 0 and 1 are {start}, {end}: expected 1, 0, positive and "
                "0, 1, 0"
            )

    def values(self, t: Time) -> Three:
        return self.alpha(t), self.beta(t), self.sigma(t)

    def gain(self, t: Time) -> Scalar:
        (_, beta, sigma), (_, dbeta, dsigma) = self.values_and_rates(t)
        return t * sigma * (dbeta * sigma / beta - dsigma)


class LinearPoint(AbstractPointMass):
    r"""α = 1 − t, β = t, σ = a(1 − t): ϱ = a²(1 − t), g_F² = a²(1 − t²).

    Parameters
    ----------
    scale
        a > 0. Good values: 1 for data of unit rms, .1 for video latents.
    """

    scale: Scalar = positive(default=1.0, converter=scalar)

    def values(self, t: Time) -> Three:
        return 1 - t, t, self.scale * (1 - t)

    def gain(self, t: Time) -> Scalar:
        return self.scale**2 * (1 - t)


class QuadraticPoint(AbstractPointMass):
    r"""α = 1 − t, β = t², σ = a(1 − t) (default): ϱ = a²(1 − t)(2 − t), g_F² = a²(1 − t)(3 − t).

    Here b(0, x0) = α̇ x0 is known, so the drift starts smoothly.

    Parameters
    ----------
    scale
        a > 0. Good values: 1 for data of unit rms, .1 for video latents.
    """

    scale: Scalar = positive(default=1.0, converter=scalar)

    def values(self, t: Time) -> Three:
        return 1 - t, t**2, self.scale * (1 - t)

    def gain(self, t: Time) -> Scalar:
        return self.scale**2 * (1 - t) * (2 - t)


class BrownianBridgePoint(AbstractPointMass):
    r"""α = 1 − t, β = t, σ = a√(1 − t): ϱ = a²(1 − t/2), g_F = a.

    σ̇² ~ 1/(1 − t): the plain loss diverges logarithmically at t = 1. Train it on [0, 1 − 10⁻³], or
    with the weight 1 − t.

    Parameters
    ----------
    scale
        a > 0.
    """

    scale: Scalar = positive(default=1.0, converter=scalar)

    def values(self, t: Time) -> Three:
        return 1 - t, t, self.scale * jnp.sqrt(1 - t)

    def gain(self, t: Time) -> Scalar:
        return self.scale**2 * (1 - 0.5 * t)
