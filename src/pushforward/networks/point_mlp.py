"""A multilayer perceptron that knows where the forecast started."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._tree import Frozen, scalar
from .._typing import Array, Context, PRNGKey, Scalar, Time
from .mlp import NUM_TIME_FREQUENCIES, time_features, zero_last_layer


class PointMLP(eqx.Module):
    r"""out_scale · MLP((x − c)/scale, (x0 − c)/scale, features(t), context), zero at first.

    Parameters
    ----------
    dim
        Number of coordinates; x and x0 may have any shape of that size.
    width, depth
        Hidden units and hidden layers. Good values 128, 4.
    scale
        Length by which x and x0 are divided: the rms of the data.
    out_scale
        Multiplies the output; default `scale`.
    centre
        c, subtracted first: the mean of the data.
    num_context
        Numbers in the context (history, forcing, a flattened pytree), 0 for none.
    activation
        Default SiLU.
    """

    mlp: eqx.nn.MLP
    scale: Frozen[Scalar]
    out_scale: Frozen[Scalar]
    centre: Frozen[Scalar]

    def __init__(
        self,
        dim: int,
        *,
        width: int = 128,
        depth: int = 4,
        scale: ArrayLike = 1.0,
        out_scale: ArrayLike | None = None,
        centre: ArrayLike = 0.0,
        num_context: int = 0,
        activation: Callable = jax.nn.silu,
        key: PRNGKey,
    ):
        size = 2 * dim + 1 + 2 * NUM_TIME_FREQUENCIES + num_context
        self.mlp = zero_last_layer(eqx.nn.MLP(size, dim, width, depth, activation, key=key))
        self.scale, self.centre = Frozen(scalar(scale)), Frozen(scalar(centre))
        self.out_scale = Frozen(scalar(scale if out_scale is None else out_scale))

    def __call__(
        self, t: Time, x: Array, x0: Array, *, context: Context = None, key: PRNGKey | None = None
    ) -> Array:
        """Return an array of x's shape."""
        parts = [jnp.ravel((v - self.centre.value) / self.scale.value) for v in (x, x0)]
        told = [jnp.ravel(leaf).astype(x.dtype) for leaf in jax.tree.leaves(context)]
        out = self.mlp(jnp.concatenate([*parts, time_features(t), *told]))
        return (self.out_scale.value * out.reshape(x.shape)).astype(x.dtype)
