"""Weighted sums of energies: what an annealing is at a fixed time."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from pushforward._typing import Array, Float, Scalar, X
from pushforward.spaces import AbstractFiniteSpace, AbstractSpace

from .base import AbstractEnergy, AbstractFiniteEnergy, AbstractLocalEnergy


class Mixed(AbstractEnergy):
    """The weighted sum Σ_k w_k U_k; see `mix`."""

    energies: tuple[AbstractEnergy, ...]
    weights: Float[Array, " k"]
    space: AbstractSpace

    def __call__(self, x: X) -> Scalar:
        return _weighted(list(self.energies), self.weights, x)


class MixedLocal(AbstractLocalEnergy):
    """The weighted sum of local energies, term by term; see `mix`."""

    energies: tuple[AbstractLocalEnergy, ...]
    weights: Float[Array, " k"]
    space: AbstractSpace

    def terms(self, x: X) -> Float[Array, "..."]:
        return _weighted([energy.terms for energy in self.energies], self.weights, x)


class MixedFinite(AbstractFiniteEnergy):
    """The weighted sum of energies on a finite space, site by site; see `mix`."""

    energies: tuple[AbstractFiniteEnergy, ...]
    weights: Float[Array, " k"]
    space: AbstractFiniteSpace

    def terms(self, x: X) -> Float[Array, "..."]:
        return _weighted([energy.terms for energy in self.energies], self.weights, x)

    def local_differences(self, x: X) -> Float[Array, "..."]:
        return _weighted([e.local_differences for e in self.energies], self.weights, x)


def mix(energies: Sequence[AbstractEnergy], weights: Float[Array, " k"]) -> AbstractEnergy:
    """Return Σ_k w_k U_k, finite or local when all members are.

    A zero coefficient times an infinite energy counts as 0, so a hard wall may appear at t > 0.
    """
    energies = tuple(energies)
    space = energies[0].space
    finite = tuple(e for e in energies if isinstance(e, AbstractFiniteEnergy))
    if len(finite) == len(energies):
        return MixedFinite(energies=finite, weights=weights, space=finite[0].space)
    local = tuple(e for e in energies if isinstance(e, AbstractLocalEnergy))
    if len(local) == len(energies):
        return MixedLocal(energies=local, weights=weights, space=space)
    return Mixed(energies=energies, weights=weights, space=space)


def _weighted(parts: Sequence[Callable[[X], Array]], weights: Float[Array, " k"], x: X) -> Array:
    # A member of weight zero is not evaluated: outside its support its value is infinite and its
    # gradient NaN, and zero times either is NaN.
    def scaled(w: Scalar, part: Callable[[X], Array]) -> Array:
        shape = jax.eval_shape(part, x)
        nothing = jnp.zeros(shape.shape, shape.dtype)
        return jax.lax.cond(w == 0, lambda: nothing, lambda: w * part(x))

    first, *rest = [scaled(weights[k], part) for k, part in enumerate(parts)]
    return sum(rest, start=first)
