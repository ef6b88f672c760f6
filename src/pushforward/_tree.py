"""Small things every floor uses: frozen leaves, strong scalars, leaf names, compensated sums.

A number in a Module must be a strong-typed array, or the second value of it retraces
(`scalar`). Leaves that travel with a model but are never trained sit in `Frozen`. Log-weights
are compensated sums (`Sum`): in float32, ten thousand increments of size 1e-3 would otherwise
lose four digits.
"""

from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def scalar(value: Any) -> jax.Array:
    """Return `value` as a strong-typed inexact array.

    JAX arrays keep their inexact dtype; numbers and NumPy arrays get JAX's default one (complex
    stays complex), so that a float32 table does not meet float64 fields under x64.
    """
    array = jnp.asarray(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.asarray(array, dtype=array.dtype)
    kind = complex if jnp.issubdtype(array.dtype, jnp.complexfloating) else float
    return jnp.asarray(array, dtype=jnp.result_type(kind))


def scalar_or_law(value: Any) -> Any:
    """Return a function of time as it is, a number as `scalar` does: for fields that take both."""
    return value if callable(value) else scalar(value)


def real_dtype(x: Any) -> Any:
    """Return the real dtype of a sample's energy: that of its first leaf, or JAX's default one.

    Complex samples have energies of their real part's precision, integer ones of the default.
    """
    dtype = jax.tree.leaves(x)[0].dtype
    inexact = jnp.issubdtype(dtype, jnp.inexact)
    return jnp.finfo(dtype if inexact else jnp.result_type(float)).dtype


def concrete(array: Any) -> np.ndarray | None:
    """Return the value of an array, or None while it is traced (checks are skipped then)."""
    try:
        return np.asarray(array)
    except jax.errors.TracerArrayConversionError:
        return None


class Frozen(eqx.Module, Generic[T]):
    """A value that travels with a model but is never trained, averaged or clipped.

    `frozen.value` is the wrapped pytree behind `stop_gradient`; `fit` leaves it alone.
    """

    _value: T

    @property
    def value(self) -> T:
        """The wrapped pytree, constant under differentiation."""
        return jax.tree.map(
            lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf,
            self._value,
        )


def is_frozen(node: Any) -> bool:
    """Tell whether `node` is a `Frozen` wrapper (for `is_leaf`)."""
    return isinstance(node, Frozen)


def trainable(tree: Any) -> Any:
    """Return a tree of booleans: True at inexact array leaves outside `Frozen`."""
    return jax.tree.map(
        lambda node: (
            jax.tree.map(lambda _: False, node) if is_frozen(node) else eqx.is_inexact_array(node)
        ),
        tree,
        is_leaf=is_frozen,
    )


def take(tree: T, rows: Any) -> T:
    """Return the tree with `leaf[rows]` for every array: some members of a stack, or one."""
    arrays = (jax.Array, np.ndarray)
    return jax.tree.map(lambda leaf: leaf[rows] if isinstance(leaf, arrays) else leaf, tree)


def leaf_name(path: tuple) -> str:
    """Format a key path: `.layers[0].weight`, `['k']`; stable across JAX versions."""
    parts = []
    for entry in path:
        match entry:
            case jax.tree_util.GetAttrKey():
                parts.append(f".{entry.name}")
            case jax.tree_util.SequenceKey():
                parts.append(f"[{entry.idx}]")
            case jax.tree_util.DictKey():
                parts.append(f"[{entry.key!r}]")
            case jax.tree_util.FlattenedIndexKey():
                parts.append(f"[{entry.key}]")
            case _:
                parts.append(str(entry))
    return "".join(parts)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """List `(name, leaf)` in tree order."""
    return [(leaf_name(p), leaf) for p, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def private_copy(tree: Any) -> Any:
    """Copy every array leaf, so that a donated buffer is never the caller's (law 9).

    The copies are strong-typed: what a first step returns has the types it was given, and nothing
    is traced twice.
    """

    def copy(leaf):
        array = jnp.asarray(leaf)
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jnp.array(array, copy=True)
        return jnp.array(array, dtype=array.dtype, copy=True)

    return jax.tree.map(lambda leaf: copy(leaf) if eqx.is_array_like(leaf) else leaf, tree)


def two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return `s = fl(a + b)` and the exact error `e`, so that `a + b = s + e` (Knuth's TwoSum)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


class Sum(eqx.Module):
    r"""A running sum with its rounding error, `value = high + low`.

    The error of N additions is O(u + N u²) instead of O(N u), u the unit roundoff. At an
    infinite value the error term is zero, so that -inf stays -inf.
    """

    high: jax.Array
    low: jax.Array

    @classmethod
    def of(cls, value: jax.Array) -> "Sum":
        """Start a sum at `value`."""
        return cls(value, jnp.zeros_like(value))

    def add(self, increment: jax.Array) -> "Sum":
        """Return the sum plus `increment`."""
        high, error = two_sum(self.high, increment)
        low = jnp.where(jnp.isfinite(high), self.low + error, 0)
        return Sum(high, low)

    @property
    def value(self) -> jax.Array:
        """The sum, rounded once."""
        return self.high + self.low


def compensated_sum(x: jax.Array) -> jax.Array:
    """Sum all entries: a plain sum in float64, a pairwise compensated one below.

    In float32 the entries are folded in halves by `two_sum`, log2(n) vector operations; the
    result is the true sum rounded once, to about n u² relative to sum |x|.
    """
    flat = jnp.ravel(x)
    if flat.dtype != jnp.float32 or flat.size < 2:
        return jnp.sum(flat)
    low = jnp.zeros_like(flat)
    while flat.size > 1:
        if flat.size % 2:
            flat, low = jnp.pad(flat, (0, 1)), jnp.pad(low, (0, 1))
        half = flat.size // 2
        high, error = two_sum(flat[:half], flat[half:])
        flat, low = high, low[:half] + low[half:] + error
    return flat[0] + jnp.where(jnp.isfinite(flat[0]), low[0], 0)
