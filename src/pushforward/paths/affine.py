r"""Affine paths from a Gaussian base: I_t = α(t) x0 + β(t) x1, x0 ~ N(0, s0² 1) apart from x1.

With e = E[x0 | I_t = x] ("noise") and D = E[x1 | I_t = x] ("data"), everything is linear:
x = αe + βD and v = E[İ | x] = α'e + β'D. With Δ = αβ' − α'β the two invert to

    e = (β'x − βv)/Δ,    D = (αv − α'x)/Δ,    ∇log ρ_t = −e/(α s0²).

Each path gives the four numbers β'/Δ, β/Δ, −α'/Δ, α/Δ in a form that is finite wherever their
limits are, so no formula divides by α' or β'. α(1) = 0 always; β(0) = 0 but for
`VariancePreserving`.
"""

import math
from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._fields import positive
from .._tree import concrete, scalar
from .._typing import Scalar, Time, V, X
from .base import AbstractInterpolant


class Coefficients(NamedTuple):
    """α, α', β, β' at one time."""

    alpha: Scalar
    dalpha: Scalar
    beta: Scalar
    dbeta: Scalar


class InverseCoefficients(NamedTuple):
    """β'/Δ, β/Δ, −α'/Δ, α/Δ at one time, Δ = αβ' − α'β: they give e and D from x and v."""

    dbeta_over_delta: Scalar
    beta_over_delta: Scalar
    minus_dalpha_over_delta: Scalar
    alpha_over_delta: Scalar


class AbstractAffine(AbstractInterpolant):
    """I_t = α x0 + β x1 with x0 ~ N(0, s0² 1) independent of x1."""

    base_scale: eqx.AbstractVar[Scalar]

    @abstractmethod
    def coefficients(self, t: Time) -> Coefficients:
        """Return (α, α', β, β')."""

    @abstractmethod
    def inverse_coefficients(self, t: Time) -> InverseCoefficients:
        """Return (β'/Δ, β/Δ, −α'/Δ, α/Δ), finite wherever the limits are."""

    def alpha(self, t: Time) -> Scalar:
        """Return α(t), the share of the base."""
        return self.coefficients(t).alpha

    def beta(self, t: Time) -> Scalar:
        """Return β(t), the share of the data."""
        return self.coefficients(t).beta

    def state(self, t: Time, x0: X, x1: X, z: X) -> X:
        c = self.coefficients(t)
        return c.alpha * x0 + c.beta * x1

    def target(self, t: Time, x0: X, x1: X, z: X) -> V:
        c = self.coefficients(t)
        return c.dalpha * x0 + c.dbeta * x1

    def known(self, x0: X) -> tuple:
        return ()


class Linear(AbstractAffine):
    r"""α = 1 − t, β = t, Δ = 1: straight lines (SiT's "Linear", rectified flow).

    Parameters
    ----------
    base_scale
        s0 of the base N(0, s0² 1). Good value: 1, with data of unit width.

    References
    ----------
    Albergo and Vanden-Eijnden 2022; Ma et al. 2024 (arXiv 2401.08740), section 2.
    """

    base_scale: Scalar = positive(default=1.0)

    def coefficients(self, t: Time) -> Coefficients:
        one = jnp.ones_like(t)
        return Coefficients(1 - t, -one, t, one)

    def inverse_coefficients(self, t: Time) -> InverseCoefficients:
        one = jnp.ones_like(t)
        return InverseCoefficients(one, t, one, 1 - t)


class Trigonometric(AbstractAffine):
    r"""α = cos(πt/2), β = sin(πt/2), Δ = π/2: keeps unit variance (SiT's "GVP").

    Parameters
    ----------
    base_scale
        s0 of the base N(0, s0² 1).

    References
    ----------
    Albergo, Boffi and Vanden-Eijnden 2023 (arXiv 2303.08797); arXiv 2401.08740, section 2.
    """

    base_scale: Scalar = positive(default=1.0)

    def coefficients(self, t: Time) -> Coefficients:
        # the cosine as a sine, so that α(1) is 0 and not 6e-17
        cos, sin = jnp.sin(0.5 * math.pi * (1 - t)), jnp.sin(0.5 * math.pi * t)
        return Coefficients(cos, -0.5 * math.pi * sin, sin, 0.5 * math.pi * cos)

    def inverse_coefficients(self, t: Time) -> InverseCoefficients:
        c = self.coefficients(t)
        return InverseCoefficients(c.alpha, c.beta * (2 / math.pi), c.beta, c.alpha * (2 / math.pi))


class VariancePreserving(AbstractAffine):
    r"""β = e^L, α = √(1 − e^{2L}), L = −¼(1−t)²(b1 − b0) − ½(1−t) b0: diffusion's own path.

    With L' = ½(1−t)(b1 − b0) + ½ b0: β' = βL', α' = −β²L'/α, Δ = βL'/α. At the defaults β(0) =
    e^{−5.025} = .006572 and not 0: the base is biased by as much of the data. α' is −∞ at t = 1;
    use times up to 1 − 1e-5 in training and 1 − 1e-3 in sampling.

    Parameters
    ----------
    beta_min, beta_max
        b0, b1: rates of the forward noising process at its two ends, 0 < b0 <= b1.
    base_scale
        s0 of the base N(0, s0² 1).

    References
    ----------
    Song et al. 2021 (arXiv 2011.13456), eq. 33; arXiv 2401.08740, section 2.
    """

    beta_min: Scalar = eqx.field(default=0.1, converter=scalar)
    beta_max: Scalar = eqx.field(default=20.0, converter=scalar)
    base_scale: Scalar = positive(default=1.0)

    def __check_init__(self):
        low, high = concrete(self.beta_min), concrete(self.beta_max)
        if low is not None and high is not None and not (0 < low <= high).all():
            raise InputError(
                f"beta_min = {low}, beta_max = {high}: expected 0 < beta_min <= beta_max"
            )

    def _alpha_beta_rate(self, t: Time) -> tuple[Scalar, Scalar, Scalar]:
        tau, spread = 1 - t, self.beta_max - self.beta_min
        exponent = -0.25 * tau**2 * spread - 0.5 * tau * self.beta_min
        rate = 0.5 * tau * spread + 0.5 * self.beta_min
        return jnp.sqrt(-jnp.expm1(2 * exponent)), jnp.exp(exponent), rate

    def coefficients(self, t: Time) -> Coefficients:
        alpha, beta, rate = self._alpha_beta_rate(t)
        return Coefficients(alpha, -(beta**2) * rate / alpha, beta, beta * rate)

    def inverse_coefficients(self, t: Time) -> InverseCoefficients:
        # α, α/L', β, α²/(βL'): the cancelled forms, finite up to t = 1
        alpha, beta, rate = self._alpha_beta_rate(t)
        return InverseCoefficients(alpha, alpha / rate, beta, alpha**2 / (beta * rate))
