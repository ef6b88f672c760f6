r"""Skip connections through what is known: the position and the score.

The exact drift of a Gaussian-mixture path with one common variance v(t) is
b = x/t − v g/t + (v'/2) g, g = ∇U_t(x): linear in x and in the score with coefficients of t alone.
A network that starts from that form trains in seconds there, and it is a good prior anywhere.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from .._tree import Frozen, scalar
from .._typing import Array, PRNGKey, Scalar, Time
from .mlp import NUM_TIME_FREQUENCIES, time_features, zero_last_layer


class ScoreSkip(eqx.Module):
    r"""b = c_0(t) x + c_1(t) √v h + network(t, x, g), h = √v g cut to |h| <= limit √d, g = ∇U_t(x).

    Where the cut does not act, √v h = v g. It acts far out, where energies of real models grow
    steeply and a step along the raw score would fold the transport map.

    Parameters
    ----------
    network
        Any drift; sees x and g.
    variance
        v(t), the local squared length along the path (frozen): `LocalVariance`, or
        `MixturePath.variance`. Makes v·g a displacement of order one at all times.
    width, depth
        Of the small MLP that gives c_0, c_1; its last layer starts at zero.
    limit
        Largest |h|/√d; h is of order one where the walkers are. Good value 10.
    """

    network: Callable
    coefficients: eqx.nn.MLP
    variance: Frozen[Callable[[Time], Scalar]]
    limit: Frozen[Scalar]

    def __init__(
        self,
        network: Callable,
        variance: Callable,
        width: int = 64,
        depth: int = 2,
        limit: float = 10.0,
        *,
        key: PRNGKey,
    ):
        size = 1 + 2 * NUM_TIME_FREQUENCIES
        mlp = eqx.nn.MLP(size, 2, width, depth, jnp.tanh, key=key)
        self.network, self.coefficients = network, zero_last_layer(mlp)
        self.variance, self.limit = Frozen(variance), Frozen(scalar(limit))

    def __call__(self, t: Time, x: Array, g: Array, **kwargs) -> Array:
        """Return b_t(x)."""
        c = self.coefficients(time_features(t))
        root = jnp.sqrt(self.variance.value(t))
        h = root * g
        square, bound = jnp.sum(h * h), self.limit.value**2 * x.size
        h = h * jnp.sqrt(bound / jnp.maximum(square, bound))
        return c[0] * x + (c[1] * root) * h + self.network(t, x, g, **kwargs)
