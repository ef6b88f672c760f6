r"""From one step of a forecast to a roll-out: one step of `Lead` is one lag of physical time.

`simulate(Lead(kernel, times), x0, steps=4, key=key)` gives four leads. The joint law over leads is
right if what is observed is Markov; else put history into `context`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .._errors import InputError
from .._tree import concrete
from .._typing import Array, Float, PRNGKey, Time, X
from .base import (
    AbstractKernel,
    AbstractTransition,
    Info,
    State,
    failure_of,
    reduce_particles,
)
from .follmer import PointForecast, check_spread
from .march import march


class Lead(AbstractTransition):
    """One lag: start `kernel` at the present state, march it over `times`, keep where it ends.

    Parameters
    ----------
    kernel
        Steps along (0, 1): a `PointForecast`.
    times
        From 0 to 1: `uniform_times(50)`.
    """

    kernel: AbstractKernel
    times: Float[Array, " n"]

    def __check_init__(self):
        known = concrete(self.times)
        if known is None:
            return
        if known.ndim != 1 or known.size < 2 or known[0] != 0 or known[-1] != 1:
            raise InputError(f"times are {known}, expected a grid from 0 to 1: uniform_times(50)")
        if isinstance(self.kernel, PointForecast) and known.size > 2:
            check_spread(self.kernel, self.times[1])

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        return None, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        keys = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        times = self.times.astype(jnp.result_type(state.log_weight.high))
        start = self.kernel.init(state.x, times[0], context=state.context, key=keys[0])
        end, seen = march(self.kernel, start, times, key=keys[1])
        return state.moved(end.x), reduce_particles(seen.info)

    def reversed(self) -> "Lead":
        raise InputError("a forecast has no reversal: the past is not forecast from the future")

    def failure(self, info: Info) -> str:
        """Return the sentence of the kernel."""
        return failure_of(self.kernel, info)
