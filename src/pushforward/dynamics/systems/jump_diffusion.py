r"""A diffusion among wells on a circle that jumps to the next well at Poisson times.

In the frame that turns with the regime k the process is one Ornstein–Uhlenbeck process, so a lag is
simulated exactly: y' = P y + √V ξ, k' = k + j with chance w_j, the law of a Poisson(λτ) count
modulo n. What is observed is x = R^k(μ_0 + y); the regime is hidden in the particle's memory, drawn
from P(k|x0) at the start.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..._errors import InputError
from ..._typing import Array, Float, PRNGKey, Time
from ...targets import Gaussians, JumpConditional
from ..base import AbstractKernel, Info, State


class JumpDiffusion(AbstractKernel):
    """One step is one lag of the jump diffusion, by its exact law.

    The info counts by how many wells it went on (`jumps`, modulo n).

    Parameters
    ----------
    law
        The constants and the closed form: `JumpConditional(lag=.5)`. With `euler_dt` the steps
        follow the law of that Euler scheme.

    References
    ----------
    Chen et al. 2024 (arXiv 2403.13724), section 4.1.
    """

    references: ClassVar[tuple[str, ...]] = ("follmer2024",)
    stationary: ClassVar[bool] = True
    weighted: ClassVar[bool] = False
    law: JumpConditional

    def __init__(self, law: JumpConditional | None = None):
        self.law = JumpConditional() if law is None else law

    @property
    def path(self) -> Gaussians:
        """The stationary law, which starts trajectories: `initial=system.path`."""
        return self.law.stationary()

    @property
    def exact_conditional(self) -> JumpConditional:
        """ρ(x1|x0)."""
        return self.law

    def begin(self, x: Float[Array, " 2"], t: Time, energy: Any, key: PRNGKey):
        return None, jax.random.categorical(key, self.law.posterior(x)).astype(jnp.int32)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        law, k = self.law, state.memory
        decay, variance = law.relaxation()
        jump_key, noise_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        still = law.rotations[k].T @ state.x - law.centre
        noise = jnp.sqrt(variance) * jax.random.normal(noise_key, (2,), state.x.dtype)
        jumps = jax.random.categorical(jump_key, jnp.log(law.jump_weights())).astype(jnp.int32)
        k = (k + jumps) % law.num_wells
        x = law.rotations[k] @ (law.centre + decay * still + noise)
        return state.moved(x, memory=k), Info(jumps=jumps)

    def reversed(self) -> "JumpDiffusion":
        raise InputError("the jump diffusion is not reversible: its wells are left in one order")
