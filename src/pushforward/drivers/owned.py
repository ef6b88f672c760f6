"""Copies at the entrance of a verb: the caller's arrays survive, and types are strong."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def owned(tree: PyTree) -> PyTree:
    """Copy every array, so that a donated buffer is never the caller's (law 9).

    The copies are strong-typed: what a first step returns has the types it was given, and nothing
    is traced twice.
    """
    return jax.tree.map(lambda leaf: _copy(leaf) if eqx.is_array_like(leaf) else leaf, tree)


def _copy(leaf):
    array = jnp.asarray(leaf)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jnp.array(array, copy=True)
    return jnp.array(array, dtype=array.dtype, copy=True)
