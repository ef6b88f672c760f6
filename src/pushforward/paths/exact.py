r"""Exact drifts and velocities of Gaussian mixtures: what a network should learn.

Point-mass path, x1|x0 ~ Σ_j w_j N(m_j, C_j). With Σ_j = β²C_j + tσ² 1, μ_j = α x0 + β m_j and
r_j ∝ w_j N(x; μ_j, Σ_j),

    b = α̇ x0 + Σ_j r_j [ β̇ m_j + (ββ̇ C_j + tσσ̇ 1) Σ_j⁻¹ (x − μ_j) ].

Affine path, x1 ~ Σ_k w_k N(m_k, C_k). With S_k = β²C_k + α²s0² 1, r_k ∝ w_k N(x; βm_k, S_k) and
q_k = S_k⁻¹(x − βm_k),

    e = α s0² Σ_k r_k q_k,    D = Σ_k r_k (m_k + β C_k q_k),    v = α'e + β'D.
"""

import equinox as eqx
import jax.numpy as jnp

from .._typing import Array, Context, PRNGKey, Time
from ..targets import AbstractConditional, Gaussians
from .affine import AbstractAffine
from .point import AbstractPointMass


class ExactDrift(eqx.Module):
    """b(t, x|x0) in closed form, called like a network.

    Parameters
    ----------
    path
        The point-mass path.
    conditional
        ρ(x1|x0): `GaussianConditional`, `MixtureConditional`, `JumpConditional`.
    """

    path: AbstractPointMass
    conditional: AbstractConditional

    def __call__(
        self, t: Time, x: Array, x0: Array, *, context: Context = None, key: PRNGKey | None = None
    ) -> Array:
        """Return b; at t = 0, where x = x0, α̇ x0 + β̇ E[x1|x0]."""
        law = self.conditional(x0)
        (alpha, beta, sigma), (dalpha, dbeta, dsigma) = self.path.values_and_rates(t)
        noise = jnp.where(t > 0, t * sigma**2, 1)  # at t = 0 all components meet in x0
        moved = law.noised(beta, noise)
        slope = (beta * dbeta * law.variances + t * sigma * dsigma) / moved.variances

        share, away = moved.posterior(x - alpha * x0)
        each = dbeta * law.means + law.from_axes(slope * away)
        return dalpha * x0 + share @ each


class ExactVelocity(eqx.Module):
    """v(t, x) in closed form, called like a network.

    Parameters
    ----------
    path
        The affine path.
    law
        The law of x1: `asymmetric_mixture()`.
    """

    path: AbstractAffine
    law: Gaussians

    def ends(self, t: Time, x: Array) -> tuple[Array, Array]:
        """Return e = E[x0|x] and D = E[x1|x]."""
        c, law = self.path.coefficients(t), self.law
        moved = law.noised(c.beta, (c.alpha * self.path.base_scale) ** 2)
        share, away = moved.posterior(x)
        pull = away / moved.variances
        noise = (c.alpha * self.path.base_scale**2) * (share @ law.from_axes(pull))
        data = share @ (law.means + c.beta * law.from_axes(law.variances * pull))
        return noise, data

    def __call__(
        self, t: Time, x: Array, *, context: Context = None, key: PRNGKey | None = None
    ) -> Array:
        c = self.path.coefficients(t)
        noise, data = self.ends(t, x)
        return c.dalpha * noise + c.dbeta * data
