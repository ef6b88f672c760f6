"""Fresh training pairs (present, future) from a simulator: no data set, no overfitting."""

from typing import Any

import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import PRNGKey
from ..dynamics import AbstractKernel
from ..paths.time_laws import AbstractTimeLaw, UniformTime
from .base import AbstractFreshSource, Pair


class PairSimulator(AbstractFreshSource):
    """x0 from `initial`, x1 one step of the kernel later, t from its law.

    Parameters
    ----------
    kernel
        A system whose step is one lag, such as `JumpDiffusion()`.
    initial
        Law of x0, anything with `sample(key=)`: the stationary law `kernel.path` (default).
    times
        Law of t; `UniformTime()` (default).
    """

    kernel: AbstractKernel
    initial: Any
    times: AbstractTimeLaw

    def __init__(
        self, kernel: AbstractKernel, initial: Any = None, times: AbstractTimeLaw | None = None
    ):
        self.kernel, self.times = kernel, UniformTime() if times is None else times
        self.initial = getattr(kernel, "path", None) if initial is None else initial
        if not hasattr(self.initial, "sample"):
            raise InputError(
                f"initial is {type(self.initial).__name__}, expected a law to draw x0 from: "
                "PairSimulator(system, initial=system.path)"
            )

    def sample(self, *, key: PRNGKey) -> Pair:
        keys = [jax.random.fold_in(key, k) for k in range(4)]
        t, x0 = self.times.sample(key=keys[0]), self.initial.sample(key=keys[1])
        now = self.kernel.init(x0, jnp.ones_like(t), key=keys[2])
        later, _ = self.kernel.step(now, jnp.ones_like(t), jnp.ones_like(t), key=keys[3])
        return Pair(t, x0, later.x)
