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


class ScoreCut(eqx.Module):
    r"""g cut to √v |g| <= limit √d, where v(t) is the local squared length along a path.

    The cut does not act where walkers are (there √v g is of order one). Far out, energies of real
    models grow steeply: a Euler step along the raw g would overshoot more and more, a transport map
    built on it would fold.

    Parameters
    ----------
    variance
        v(t); frozen.
    limit
        Largest √v |g|/√d. Good value 10.
    """

    variance: Frozen[Callable[[Time], Scalar]]
    limit: Frozen[Scalar]

    def __init__(self, variance: Callable[[Time], Scalar], limit: float = 10.0):
        self.variance, self.limit = Frozen(variance), Frozen(scalar(limit))

    def __call__(self, t: Time, g: Array) -> Array:
        square = self.variance.value(t) * jnp.sum(g * g)
        bound = self.limit.value**2 * g.size
        return g * jnp.sqrt(bound / jnp.maximum(square, bound))


class ScoreSkip(eqx.Module):
    r"""b = c_0(t) x + c_1(t) v(t) cut(g) + network(t, x, g), g = ∇U_t(x).

    Parameters
    ----------
    network
        Any drift; sees x and g.
    variance
        v(t), the local squared length along the path (frozen): `LocalVariance` or
        `MixtureVariance`. Makes v g a displacement of order one at all times.
    width, depth
        Of the small MLP that gives c_0, c_1; its last layer starts at zero.
    limit
        Of the `ScoreCut`.
    """

    network: Callable
    coefficients: eqx.nn.MLP
    cut: ScoreCut

    def __init__(
        self,
        network: Callable,
        variance: Callable[[Time], Scalar],
        width: int = 64,
        depth: int = 2,
        limit: float = 10.0,
        *,
        key: PRNGKey,
    ):
        size = 1 + 2 * NUM_TIME_FREQUENCIES
        mlp = eqx.nn.MLP(size, 2, width, depth, jnp.tanh, key=key)
        self.network, self.coefficients = network, zero_last_layer(mlp)
        self.cut = ScoreCut(variance, limit)

    def __call__(self, t: Time, x: Array, g: Array, **kwargs) -> Array:
        c = self.coefficients(time_features(t))
        skip = (c[1] * self.cut.variance.value(t)) * self.cut(t, g)
        return c[0] * x + skip + self.network(t, x, g, **kwargs)
