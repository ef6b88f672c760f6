"""March one particle along a time grid: a differentiable scan, no I/O. Sources and tests use it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import Array, Float, PRNGKey, X
from .base import AbstractKernel, State


class Trajectory(eqx.Module):
    """What `march` saw at every time of its grid, the start included (leading axis n).

    `info` is that of the steps, one row less.
    """

    t: Float[Array, " n"]
    x: X
    log_weight: Float[Array, " n"]
    info: Any = None


def march(
    kernel: AbstractKernel, state: State, times: Float[Array, " n"], *, key: PRNGKey
) -> tuple[State, Trajectory]:
    """Step `kernel` along `times` from `state` at times[0]; step i uses fold_in(key, i)."""

    def seen(s: State):
        return s.x, s.log_weight.value

    def body(s: State, i):
        s, info = kernel.step(s, times[i], times[i + 1], key=jax.random.fold_in(key, i))
        return s, (seen(s), info)

    start = seen(state)
    state, (rest, infos) = jax.lax.scan(body, state, jnp.arange(times.shape[0] - 1))
    x, log_weight = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, rest)
    return state, Trajectory(times, x, log_weight, infos)
