r"""Everything about a small finite system, by summing over all its states.

log Z = log Σ_x e^{−U(x)} and E f = Σ_x f(x) e^{−U(x)}/Z over q^D <= 2^20 states, energies in the
precision of the energy, sums in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from pushforward._errors import InputError
from pushforward._typing import Array, X
from pushforward.spaces import AbstractFiniteSpace, count_states
from pushforward.targets.base import AbstractEnergy

CHUNK = 4096


class Enumeration(NamedTuple):
    """The exact law of a finite system."""

    log_z: float  # log Σ_x e^{−U(x)}
    probability: np.ndarray  # e^{−U(x)}/Z of every state, in the order of `space.state`
    space: AbstractFiniteSpace

    def mean(self, f: Callable[[X], PyTree]) -> PyTree:
        """Return E f, f a function of ONE state that returns arrays."""

        def weighted(values: np.ndarray) -> np.ndarray:
            return np.tensordot(self.probability, values.astype(float), axes=1)

        return jax.tree.map(weighted, _over_states(f, self.space))


def enumerate_states(energy: AbstractEnergy) -> Enumeration:
    """Return log Z and the whole distribution of an energy with at most 2^20 states."""
    space = energy.space
    if not isinstance(space, AbstractFiniteSpace):
        raise InputError(f"only a finite space can be enumerated, got an energy on {space}")
    negative = -_over_states(energy, space).astype(float)
    top = negative.max()
    weights = np.exp(negative - top)
    return Enumeration(float(top + np.log(weights.sum())), weights / weights.sum(), space)


@eqx.filter_jit
def _mapped(f: Callable, space: AbstractFiniteSpace, states: Array) -> Array:
    return jax.lax.map(lambda k: f(space.state(k)), states, batch_size=CHUNK)


def _over_states(f: Callable, space: AbstractFiniteSpace) -> PyTree:
    num = count_states(space)
    return jax.tree.map(np.asarray, _mapped(f, space, jnp.arange(num, dtype=jnp.int32)))
