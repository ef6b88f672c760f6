r"""The Ornstein–Uhlenbeck process dX = −θX dt + √(2D) dW, one exact step a lag.

x1 | x0 ~ N(e^{−θτ} x0, (D/θ)(1 − e^{−2θτ})): the test-bed on which every number of a forecast has
a closed form.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ..._fields import integer, positive
from ..._tree import scalar
from ..._typing import Array, Float, PRNGKey, Scalar, Time
from ...targets import GaussianConditional, Normal
from ..base import AbstractStationary, Info, State


class OrnsteinUhlenbeck(AbstractStationary):
    r"""One step is one lag of dX = −θX dt + √(2D) dW in `dim` independent components.

    Parameters
    ----------
    theta
        θ > 0, the rate of relaxation.
    diffusion
        D > 0; the stationary variance is D/θ.
    lag
        τ > 0.
    dim
        Number of components.
    """

    theta: Scalar = positive(default=1.0, converter=scalar)
    diffusion: Scalar = positive(default=0.5, converter=scalar)
    lag: Scalar = positive(default=1.0, converter=scalar)
    dim: int = integer(least=1, default=1)

    @property
    def path(self) -> Normal:
        """The stationary law N(0, D/θ)."""
        return Normal(self.dim, 0.0, jnp.sqrt(self.diffusion / self.theta))

    @property
    def exact_conditional(self) -> GaussianConditional:
        """ρ(x1|x0)."""
        return self.after(1)

    def after(self, leads: int) -> GaussianConditional:
        """Return the law after so many lags."""
        time = leads * self.lag
        variance = -(self.diffusion / self.theta) * jnp.expm1(-2 * self.theta * time)
        bias = jnp.zeros(self.dim, variance.dtype)
        return GaussianConditional(jnp.exp(-self.theta * time), bias, variance)

    def begin(self, x: Float[Array, " dim"], t: Time, energy: Any, key: PRNGKey):
        return None, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        law = self.exact_conditional
        mean, noise = law.gain * state.x, jax.random.normal(key, state.x.shape, state.x.dtype)
        return state.moved(mean + jnp.sqrt(law.variances) * noise), Info()
