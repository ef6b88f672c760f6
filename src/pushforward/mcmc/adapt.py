r"""Step sizes by dual averaging: log ε drifts until the mean acceptance meets its target.

With α_m the acceptance of update m, m = 1, 2, ..,

    H_m = (1 − 1/(m + t0)) H_{m−1} + (α* − α_m)/(m + t0),
    log ε_m = μ − (√m/γ) H_m,    log ε̄_m = m^{−κ} log ε_m + (1 − m^{−κ}) log ε̄_{m−1},

μ = log 10 ε_0. The steps ε_m explore, their weighted mean ε̄ is kept. Pure: the chains run elsewhere
(`recipes.adapt`), and stop adapting before anything is measured.
"""

import equinox as eqx
import jax.numpy as jnp

from .._fields import in_unit_interval, non_negative, positive
from .._tree import scalar
from .._typing import Scalar


class DualAveragingState(eqx.Module):
    """μ, H, log ε̄ and the number of updates."""

    centre: Scalar
    bias: Scalar
    log_mean: Scalar
    count: Scalar


class DualAveraging(eqx.Module):
    """Dual averaging of the logarithm of a step size.

    Parameters
    ----------
    target
        α*. Good values: .8 for integrators of order 2, .9 for order 4.
    gamma, t0, kappa
        Pull towards μ, damping of the first updates, forgetting of ε̄.

    References
    ----------
    Y. Nesterov 2009; M. D. Hoffman and A. Gelman, *The No-U-Turn sampler*, JMLR 15 (2014) 1593,
    section 3.2.
    """

    target: Scalar = in_unit_interval(default=0.8, converter=scalar)
    gamma: Scalar = positive(default=0.05, example=0.05)
    t0: Scalar = non_negative(default=10.0, example=10.0)
    kappa: Scalar = positive(default=0.75, example=0.75)

    def init(self, step_size: Scalar) -> DualAveragingState:
        """Start at a guess ε_0 > 0."""
        zero, log_step = scalar(0.0), jnp.log(scalar(step_size))
        return DualAveragingState(jnp.log(10.0) + log_step, zero, log_step, zero)

    def update(
        self, state: DualAveragingState, acceptance: Scalar
    ) -> tuple[DualAveragingState, Scalar]:
        """Return the state after an acceptance in [0, 1], and the next step size to try."""
        m = state.count + 1
        share = 1 / (m + self.t0)
        bias = (1 - share) * state.bias + share * (self.target - acceptance)
        log_step = state.centre - jnp.sqrt(m) / self.gamma * bias
        weight = m**-self.kappa
        mean = weight * log_step + (1 - weight) * state.log_mean
        return DualAveragingState(state.centre, bias, mean, m), jnp.exp(log_step)

    def final(self, state: DualAveragingState) -> Scalar:
        """Return ε̄."""
        return jnp.exp(state.log_mean)
