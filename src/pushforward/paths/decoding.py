r"""What a network's output means: velocity, noise, score or data, all from ONE evaluation.

The canonical pair is (e, D) = (E[x0|x], E[x1|x]) along an affine path. By raw output r:

    Velocity  e = (β'x − βr)/Δ       D = (αr − α'x)/Δ     nowhere singular (Linear, GVP)
    Noise     e = r                  D = (x − αr)/β       β = 0
    Score     e = −α s0² r           D = (x − αe)/β       β = 0
    Data      e = (x − βr)/α         D = r                α = 0

A velocity is not divided by anything; it is what to train by default.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx

from .._errors import InputError
from .._typing import Array, Context, PRNGKey, Time, V, X
from .affine import AbstractAffine
from .base import AbstractInterpolant


class Decoded(eqx.Module):
    """E[x0|x], E[x1|x] and E[İ|x] at one (t, x): the score is −noise/(α s0²)."""

    noise: Array
    data: Array
    velocity: Array

    def score(self, path: AbstractAffine, t: Time) -> Array:
        """Return ∇log ρ_t(x) = −e/(α s0²); infinite at t = 1 where the data are a point set."""
        return -self.noise / (path.alpha(t) * path.base_scale**2)


class AbstractPrediction(eqx.Module):
    """The meaning of a raw output: how to read it, and the residual that trains it."""

    @abstractmethod
    def estimate(self, path: AbstractAffine, t: Time, x: X, raw: V) -> Decoded:
        """Return noise, data and velocity from the raw output at (t, x)."""

    @abstractmethod
    def residual(self, path: Any, t: Time, x0: X, x1: X, z: X, raw: V) -> V:
        """Return the vector whose mean square is the loss of one sample, unweighted."""


class Velocity(AbstractPrediction):
    """r = E[İ|x]; trained on `path.target`, for any interpolant (a Föllmer drift, say)."""

    def estimate(self, path: AbstractAffine, t: Time, x: X, raw: V) -> Decoded:
        i = path.inverse_coefficients(t)
        noise = i.dbeta_over_delta * x - i.beta_over_delta * raw
        data = i.minus_dalpha_over_delta * x + i.alpha_over_delta * raw
        return Decoded(noise, data, raw)

    def residual(self, path: AbstractInterpolant, t: Time, x0: X, x1: X, z: X, raw: V) -> V:
        return raw - path.target(t, x0, x1, z)


class Noise(AbstractPrediction):
    """r = E[x0|x]; singular at β = 0: use times in [1e-3, 1 − 1e-3]."""

    def estimate(self, path: AbstractAffine, t: Time, x: X, raw: V) -> Decoded:
        c = path.coefficients(t)
        return _with_velocity(path, t, raw, (x - c.alpha * raw) / c.beta)

    def residual(self, path: AbstractAffine, t: Time, x0: X, x1: X, z: X, raw: V) -> V:
        return raw - x0


class Score(AbstractPrediction):
    """r = ∇log ρ_t(x); singular at β = 0."""

    def estimate(self, path: AbstractAffine, t: Time, x: X, raw: V) -> Decoded:
        c = path.coefficients(t)
        noise = -(c.alpha * path.base_scale**2) * raw
        return _with_velocity(path, t, noise, (x - c.alpha * noise) / c.beta)

    def residual(self, path: AbstractAffine, t: Time, x0: X, x1: X, z: X, raw: V) -> V:
        return (path.alpha(t) * path.base_scale**2) * raw + x0


class Data(AbstractPrediction):
    """r = E[x1|x]; e is singular at α = 0: use times up to 1 − 1e-3."""

    def estimate(self, path: AbstractAffine, t: Time, x: X, raw: V) -> Decoded:
        c = path.coefficients(t)
        return _with_velocity(path, t, (x - c.beta * raw) / c.alpha, raw)

    def residual(self, path: AbstractAffine, t: Time, x0: X, x1: X, z: X, raw: V) -> V:
        return raw - x1


def _with_velocity(path: AbstractAffine, t: Time, noise: Array, data: Array) -> Decoded:
    c = path.coefficients(t)
    return Decoded(noise, data, c.dalpha * noise + c.dbeta * data)


class Predictor(eqx.Module):
    """A network, the path it was trained on and what its output means: (t, x) -> `Decoded`.

    Parameters
    ----------
    model
        `model(t, x, context=..., key=...)`, called exactly once.
    path
        The affine path of the training.
    prediction
        `Velocity()`, `Noise()`, `Score()` or `Data()`.
    """

    model: Callable
    path: AbstractAffine
    prediction: AbstractPrediction = Velocity()

    def __check_init__(self):
        if not isinstance(self.path, AbstractAffine):
            raise InputError(
                f"path is {type(self.path).__name__}: only along an affine path from a Gaussian "
                "base does one output give velocity and score; write Predictor(model, Linear())"
            )

    def __call__(
        self, t: Time, x: X, *, context: Context = None, key: PRNGKey | None = None
    ) -> Decoded:
        """Return noise, data and velocity at (t, x)."""
        raw = self.model(t, x, context=context, key=key)
        return self.prediction.estimate(self.path, t, x, raw)
