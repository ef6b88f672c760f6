r"""The noise of a sampler, chosen after training: dX = (v + ε s) dt + √(2ε) dW has the laws ρ_t.

The drift is v − (ε/α) e/s0² with e = E[x0|x], so ε/α is what is kept: it stays finite at t = 1
where the score does not. Papers write the noise in two ways; the factor 2 is the most frequent
mistake about these samplers:

| source | its SDE | ours |
|---|---|---|
| SiT's code, `diffusion` w | dX = (v + w s) dt + √(2w) dW | ε = w |
| SiT's paper w, REPA, g² | dX = (v + w s/2) dt + √w dW | ε = w/2 |

"sigma" of SiT's code is ε = α, which is the paper's w = 2α.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._tree import concrete, scalar
from .._typing import Scalar, Time
from .affine import AbstractAffine


class AbstractEpsilon(eqx.Module):
    """ε_t >= 0 in dX = (v + ε s) dt + √(2ε) dW, and ε/α."""

    references: ClassVar[tuple[str, ...]] = ("interpolants2023", "sit")

    @abstractmethod
    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return ε(t)."""

    @abstractmethod
    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return ε(t)/α(t), by its limit where α = 0."""


class AbstractScaled(AbstractEpsilon):
    """An ε with a factor n >= 0 in front: `scale`, the leaf to scan."""

    scale: eqx.AbstractVar[Scalar]

    def __check_init__(self):
        scale = concrete(self.scale)
        if scale is not None and not (scale >= 0).all():
            raise InputError(f"{type(self).__name__}({scale}): expected a number >= 0")


class ScoreSDE(AbstractScaled):
    r"""ε = n s0² αΔ/β: the time reversal of a diffusion (SiT's code "SBDM", ε = w = its g²/2).

    dX = (v + ε s) dt + √(2ε) dW. Infinite at t = 0 where β = 0: begin at t = 1e-3, say.

    Parameters
    ----------
    scale
        n. Good value 1.
    """

    scale: Scalar = eqx.field(default=1.0, converter=scalar)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n s0² αΔ/β."""
        return path.alpha(t) * self.over_alpha(path, t)

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n s0² Δ/β."""
        return self.scale * path.base_scale**2 / path.inverse_coefficients(t).beta_over_delta


class NoiseLevel(AbstractScaled):
    r"""ε = n α (SiT's code "sigma", its paper's w = 2α): the default, finite at both ends.

    dX = (v + ε s) dt + √(2ε) dW.

    Parameters
    ----------
    scale
        n. Good value 1.
    """

    scale: Scalar = eqx.field(default=1.0, converter=scalar)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n α."""
        return self.scale * path.alpha(t)

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n."""
        return self.scale * jnp.ones_like(t)


class ConstantEpsilon(AbstractScaled):
    r"""ε = n (SiT's code "constant"); ε/α is infinite at t = 1: end at t = .995, say.

    dX = (v + ε s) dt + √(2ε) dW.

    Parameters
    ----------
    scale
        n. Good value 1/2.
    """

    scale: Scalar = eqx.field(default=1.0, converter=scalar)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n."""
        return self.scale * jnp.ones_like(t)

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n/α."""
        return _over(self.value(path, t), path.alpha(t))


class LinearEpsilon(AbstractScaled):
    r"""ε = n (1 − t) (SiT's code "linear"); with the path `Linear` it is `NoiseLevel`.

    dX = (v + ε s) dt + √(2ε) dW.

    Parameters
    ----------
    scale
        n. Good value 1.
    """

    scale: Scalar = eqx.field(default=1.0, converter=scalar)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n (1 − t)."""
        return self.scale * (1 - t)

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n (1 − t)/α, and −n/α' at t = 1."""
        c = path.coefficients(t)
        inside = (1 - t) / jnp.where(c.alpha > 0, c.alpha, 1)
        return self.scale * jnp.where(c.alpha > 0, inside, -1 / c.dalpha)


class DecreasingEpsilon(AbstractScaled):
    r"""ε = ¼ (n cos πt + 1)² (SiT's code "decreasing"); ends at 0 for n = 1 alone.

    dX = (v + ε s) dt + √(2ε) dW.

    Parameters
    ----------
    scale
        n. Good value 1.
    """

    scale: Scalar = eqx.field(default=1.0, converter=scalar)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return ¼ (n cos πt + 1)²."""
        return 0.25 * (self.scale * jnp.cos(math.pi * t) + 1) ** 2

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return ε/α, 0 at t = 1 for n = 1."""
        return _over(self.value(path, t), path.alpha(t))


class SinSquaredEpsilon(AbstractScaled):
    r"""ε = n sin²(πt) (SiT's code "increasing-decreasing"): no noise at either end.

    dX = (v + ε s) dt + √(2ε) dW.

    Parameters
    ----------
    scale
        n. Good value 1.
    """

    scale: Scalar = eqx.field(default=1.0, converter=scalar)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return n sin²(πt)."""
        return self.scale * jnp.sin(math.pi * (1 - t)) ** 2  # of 1 − t: exactly 0 at t = 1

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return ε/α, 0 at t = 1."""
        return _over(self.value(path, t), path.alpha(t))


class EpsilonFunction(AbstractEpsilon):
    r"""ε = f(t), any function, in dX = (v + ε s) dt + √(2ε) dW.

    Parameters
    ----------
    function
        f(t) >= 0. `EpsilonFunction.from_squared_amplitude(g2)` for a noise g dW: ε = g²/2, the
        convention of SiT's paper and REPA; `EpsilonFunction.from_sit(w)` for SiT's code: ε = w.
    """

    function: Callable[[Time], Scalar]

    @classmethod
    def from_squared_amplitude(cls, g2: Callable[[Time], Scalar]) -> "EpsilonFunction":
        """Translate dX = (v + g² s/2) dt + g dW: ε = g²/2."""
        return cls(lambda t: 0.5 * g2(t))

    @classmethod
    def from_sit(cls, w: Callable[[Time], Scalar]) -> "EpsilonFunction":
        """Translate SiT's code, dX = (v + w s) dt + √(2w) dW: ε = w."""
        return cls(w)

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return f(t)."""
        return self.function(t)

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return f/α."""
        return _over(self.function(t), path.alpha(t))


class ZeroEpsilon(AbstractEpsilon):
    """ε = 0: the SDE sampler becomes the probability-flow ODE."""

    def value(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return 0."""
        return jnp.zeros_like(t)

    def over_alpha(self, path: AbstractAffine, t: Time) -> Scalar:
        """Return 0."""
        return jnp.zeros_like(t)


def _over(value: Scalar, alpha: Scalar) -> Scalar:
    """Return value/alpha; at alpha = 0 it is 0 for a value that vanishes there, else infinite."""
    limit = jnp.where(value == 0, 0.0, jnp.inf).astype(value.dtype)
    return jnp.where(alpha > 0, value / jnp.where(alpha > 0, alpha, 1), limit)
