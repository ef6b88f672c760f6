r"""Skip connections through what is known: the position and the score.

The exact drift of a Gaussian-mixture path with one common variance v(t) is
b = x/t − v g/t + (v'/2) g, g = ∇U_t(x): linear in x and in the score with coefficients of t alone.
A network that starts from that form trains in seconds there, and it is a good prior anywhere.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from .._tree import Frozen
from .._typing import Array, PRNGKey, Scalar, Time
from .mlp import NUM_TIME_FREQUENCIES, time_features, zero_last_layer


class ScoreSkip(eqx.Module):
    r"""b = c_0(t) x + c_1(t) v(t) g + network(t, x, g), g = ∇U_t(x).

    Parameters
    ----------
    network
        Any drift; sees x and g.
    variance
        v(t), the local squared length along the path (frozen): `LocalVariance`, or
        `MixturePath.variance`. Makes v·g a displacement of order one at all times.
    width, depth
        Of the small MLP that gives c_0, c_1; its last layer starts at zero.
    """

    network: Callable
    coefficients: eqx.nn.MLP
    variance: Frozen[Callable[[Time], Scalar]]

    def __init__(
        self, network: Callable, variance: Callable, width: int = 64, depth: int = 2, *, key: PRNGKey
    ):
        size = 1 + 2 * NUM_TIME_FREQUENCIES
        mlp = eqx.nn.MLP(size, 2, width, depth, jnp.tanh, key=key)
        self.network, self.coefficients = network, zero_last_layer(mlp)
        self.variance = Frozen(variance)

    def __call__(self, t: Time, x: Array, g: Array, **kwargs) -> Array:
        """Return b_t(x)."""
        c = self.coefficients(time_features(t))
        v = self.variance.value(t)
        return c[0] * x + (c[1] * v) * g + self.network(t, x, g, **kwargs)
