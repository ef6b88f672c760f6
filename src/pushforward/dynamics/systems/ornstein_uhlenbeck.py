r"""The Ornstein–Uhlenbeck process dX = −θX dt + √(2D) dW, one exact step a lag.

x1 | x0 ~ N(e^{−θτ} x0, (D/θ)(1 − e^{−2θτ})): the test-bed on which every number of a forecast has
a closed form.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from ..._errors import InputError
from ..._tree import concrete, scalar
from ..._typing import Array, Context, Float, PRNGKey, Scalar, Time
from ...targets import GaussianConditional, Normal
from ..base import AbstractStationary, State, no_weight


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

    theta: Scalar
    diffusion: Scalar
    lag: Scalar
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        theta: ArrayLike = 1.0,
        diffusion: ArrayLike = 0.5,
        lag: ArrayLike = 1.0,
        dim: int = 1,
    ):
        self.theta, self.diffusion, self.lag = scalar(theta), scalar(diffusion), scalar(lag)
        self.dim = dim
        for name in ("theta", "diffusion", "lag"):
            known = concrete(getattr(self, name))
            if known is not None and not (known > 0).all():
                raise InputError(f"{name} must be positive, got {known}")

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

    def init(
        self,
        x: Float[Array, " dim"],
        t: Time,
        *,
        context: Context = None,
        energy: Any = None,
        key: PRNGKey,
    ) -> State:
        """Return the state at x."""
        return State(x, no_weight(x), context)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Draw from the law one lag later; there is nothing to tell beside."""
        law = self.exact_conditional
        mean, noise = law.gain * state.x, jax.random.normal(key, state.x.shape, state.x.dtype)
        x = mean + jnp.sqrt(law.variances) * noise
        return State(x, state.log_weight, state.context), None

    def reversed(self) -> "OrnsteinUhlenbeck":
        """Return itself: the stationary process is reversible."""
        return self

    def explain(self, info: Any) -> str:
        """Return the sentence for a failed step."""
        return "a step of the Ornstein–Uhlenbeck process failed"
