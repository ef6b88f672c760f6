"""Randomness is a function of (seed, stage, stream, absolute step, global sample index) alone.

Keys are derived by fold_in, never split and stored: resuming and extending need no key, and
micro-batches, shards and processes see the same numbers.
"""

from zlib import crc32

import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import Array, Int, PRNGKey


def stream(key: PRNGKey, *names: str) -> PRNGKey:
    """Return the key of a named stream: fold_in(key, crc32(name)) for each name in turn."""
    for name in names:
        key = jax.random.fold_in(key, crc32(name.encode()))
    return key


def sample_keys(key: PRNGKey, index: Int[Array, "*n"] | Int[Array, "*n k"]) -> PRNGKey:
    """Return one key a sample, its global index folded in (k integers one after the other)."""
    for column in jnp.moveaxis(index, -1, 0):
        key = _fold(key, column)
    return key


def _fold(key: PRNGKey, column: Int[Array, "*n"]) -> PRNGKey:
    fold, mapped = jax.random.fold_in, key.ndim > 0
    for _ in range(column.ndim):
        fold = jax.vmap(fold, in_axes=(0 if mapped else None, 0))
    return fold(key, column)


def check_key(key: PRNGKey) -> PRNGKey:
    """Return the key, or raise unless it is one typed key."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key) or key.shape != ():
        raise InputError(f"key is {type(key).__name__} {key!r}, expected key=jax.random.key(0)")
    return key
