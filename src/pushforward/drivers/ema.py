"""The average of the weights along a training."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._fields import checked
from .._typing import Count, Scalar


class EMA(eqx.Module):
    """Average of the weights, a_i = d_i a_{i−1} + (1 − d_i) θ_i, a_0 = θ_0, no bias correction.

    Parameters
    ----------
    decay
        d in [0, 1). Good values .99 for 1,000 steps, .9999 for 100,000.
    ramp
        d_i = min(d, (1 + i)/(10 + i)), i = 1, 2, ...: forgets the start sooner.
    """

    decay: Scalar = checked(
        holds=lambda d: (0 <= d) & (d < 1), expected="a number in [0, 1)", example=0.99
    )
    ramp: bool = eqx.field(static=True, default=False)

    def update(self, average: PyTree, params: PyTree, i: Count) -> PyTree:
        """Return a_i from a_{i−1} and θ_i, i = 1, 2, ..."""
        d = self.decay
        if self.ramp:
            step = i.astype(d.dtype)
            d = jnp.minimum(d, (1 + step) / (10 + step))
        return jax.tree.map(lambda a, p: (d * a + (1 - d) * p).astype(a.dtype), average, params)


def start_average(params: PyTree) -> PyTree:
    """Return a_0 = θ_0 in at least float32: in bfloat16 an average would never move."""

    def wide(leaf):
        return jnp.array(leaf, dtype=jnp.promote_types(leaf.dtype, jnp.float32), copy=True)

    return jax.tree.map(wide, params)
