r"""A learned drift b̂(t, x|x0): a network and what is added to it.

Networks know nothing of paths, so what a path knows is added here. With `AffineReference` the
untrained forecaster is the classical one, damped persistence with the right spread (law 4); with
`Plain` the network is all; `Endpoint` adds what b is at t = 1.
"""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._tree import Frozen
from .._typing import Array, Context, Float, PRNGKey, Time, X
from ..paths import AbstractPointMass, ExactDrift
from ..targets import GaussianConditional


class AbstractParametrisation(eqx.Module):
    """What is added to the output of a network."""

    @abstractmethod
    def __call__(self, raw: X, t: Time, x: X, x0: X) -> X:
        """Return b̂ from the raw output."""


class Plain(AbstractParametrisation):
    """b̂ = network."""

    def __call__(self, raw: X, t: Time, x: X, x0: X) -> X:
        return raw


class Endpoint(AbstractParametrisation):
    """b̂ = α̇ x0 + β̇ x + network: what b is at t = 1, where all is known, and a correction.

    Good value where the future has separate modes: a network that starts from the best affine drift
    stays there long (forecast-jump, 600 steps: loss 3.0 from here, 4.5 from `AffineReference`).

    Parameters
    ----------
    path
        The point-mass path of the training; frozen.
    """

    path: Frozen[AbstractPointMass]

    def __init__(self, path: AbstractPointMass):
        self.path = Frozen(path)

    def __call__(self, raw: X, t: Time, x: X, x0: X) -> X:
        dalpha, dbeta, _ = self.path.value.values_and_rates(t)[1]
        return raw + dalpha * x0 + dbeta * x


class AffineReference(AbstractParametrisation):
    r"""b̂ = exact drift of N(ϱ x0 + c, v) + network: untrained, a calibrated damped persistence.

    Parameters
    ----------
    reference
        Made by `AffineReference.fit(path, x0, x1)`; frozen.
    """

    reference: Frozen[ExactDrift]

    @classmethod
    def fit(
        cls, path: AbstractPointMass, x0: Float[Array, "n d"], x1: Float[Array, "n d"]
    ) -> "AffineReference":
        """Fit x1 ≈ ϱ x0 + c with residual variance v in each component, by least squares."""
        if jnp.shape(x0) != jnp.shape(x1) or jnp.ndim(x0) != 2 or len(x0) < 3:
            raise InputError(
                f"x0 {jnp.shape(x0)} and x1 {jnp.shape(x1)}: expected training pairs (n, d), n > 2"
            )
        mean0, mean1 = x0.mean(0), x1.mean(0)
        away0, away1 = x0 - mean0[None], x1 - mean1[None]
        gain = jnp.mean(away0 * away1, 0) / jnp.mean(away0**2, 0)
        variance = jnp.mean((away1 - gain[None] * away0) ** 2, 0) * (len(x0) / (len(x0) - 2))
        law = GaussianConditional(gain, mean1 - gain * mean0, variance)
        return cls(Frozen(ExactDrift(path, law)))

    def __call__(self, raw: X, t: Time, x: X, x0: X) -> X:
        return raw + self.reference.value(t, x, x0)


class PointDrift(eqx.Module):
    """The model of a forecast: drift(t, x, x0, context=...) → b̂.

    Parameters
    ----------
    network
        network(t, x, x0, context=..., key=...), such as `PointMLP`.
    parametrisation
        `Plain()` or `AffineReference.fit(...)`.
    """

    network: Callable
    parametrisation: AbstractParametrisation = Plain()

    def __call__(
        self, t: Time, x: X, x0: X, *, context: Context = None, key: PRNGKey | None = None
    ) -> X:
        """Return b̂."""
        raw = self.network(t, x, x0, context=context, key=key)
        return self.parametrisation(raw, t, x, x0)
