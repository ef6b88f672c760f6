r"""The velocity of an affine path to a mixture of Gaussians: what a network should learn.

With S_k = β²C_k + α²s0² 1, r_k ∝ w_k N(x; βm_k, S_k) and q_k = S_k⁻¹(x − βm_k),

    e = α s0² Σ_k r_k q_k,    D = Σ_k r_k (m_k + β C_k q_k),    v = α'e + β'D.
"""

import equinox as eqx

from .._typing import Array, Context, PRNGKey, Time
from ..targets import Gaussians
from .affine import AbstractAffine


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
