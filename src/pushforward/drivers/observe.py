"""What `simulate` looks at while it runs: functions of x, of the whole State, and draws to keep."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._tree import concrete
from .._typing import Count
from ..dynamics import State

SMALL = 64  # entries up to which an observable of a chain is stored as a series


class OfState(eqx.Module):
    """Marks an observable that wants the particle's `State`: `observe=OfState(lambda s: ...)`."""

    fn: Callable[[State], dict[str, Any]]


class Keep(eqx.Module):
    """Which draws are stored.

    Parameters
    ----------
    every
        Steps between draws (the start of a march along `times` counts as step 0).
    what
        Function of x, or `OfState(f)`; default the sample itself.
    particles
        Only the first so many particles (of each member of a stack); None for all.
    """

    every: Count = eqx.field(default=1, converter=lambda n: jnp.asarray(n, jnp.int32))
    what: Callable[[Any], PyTree] | OfState = lambda x: x
    particles: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        every = concrete(self.every)
        for name, value in (("every", every), ("particles", self.particles)):
            if value is not None and value < 1:
                raise InputError(f"Keep({name}={value}): expected a positive integer")


def observed(observe: Callable | OfState | None, state: State) -> dict[str, jax.Array]:
    """Return the observables of one particle as a dict of arrays."""
    if observe is None:
        return {}
    out = observe.fn(state) if isinstance(observe, OfState) else observe(state.x)
    if not isinstance(out, dict):
        raise InputError(
            f"observe returned {type(out).__name__}, expected a dict of arrays: "
            "observe=lambda x: {'x2': jnp.sum(x**2)}"
        )
    return {name: jnp.asarray(value) for name, value in out.items()}
