r"""The drift of a point-mass path whose conditional law is known: what a network should learn.

For x1|x0 ~ Σ_j w_j N(m_j, C_j): Σ_j = β²C_j + tσ² 1, μ_j = α x0 + β m_j, r_j ∝ w_j N(x; μ_j, Σ_j),

  b = α̇ x0 + Σ_j r_j [ β̇ m_j + (ββ̇ C_j + tσσ̇ 1) Σ_j⁻¹ (x − μ_j) ].
"""

import equinox as eqx
import jax.numpy as jnp

from .._typing import Array, Context, PRNGKey, Time
from ..targets import AbstractConditional
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
