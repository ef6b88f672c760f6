r"""Samples for two-time maps: pairs of ends with two times, alone or in bundles.

A bundle is k diagonal points (s = t, for the drift) and m off-diagonal points (for the map), each
with ends of its own. So exactly the fraction η = k/(k + m) of all points is diagonal, and no point
runs both branches, as one would under a `vmap` of a coin toss.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._fields import integer
from .._typing import Context, PRNGKey, Scalar, Time, X
from ..paths.time_laws import AbstractPairTimes, Triangle
from .base import AbstractSource, Pair


class MapPair(eqx.Module):
    """A training sample of a two-time map: from s to t along the path from x0 to x1."""

    s: Time
    t: Time
    x0: X
    x1: X
    context: Context = None


class Bundle(eqx.Module):
    """k diagonal points and m off-diagonal ones, leading axes (k,) and (m,)."""

    diagonal: Pair
    off_diagonal: MapPair


class MapPairs(AbstractSource):
    """Pairs of ends with two times.

    Parameters
    ----------
    pairs
        A source of `Pair`, such as `IndependentPairs(base, data)`; its own time is not used.
    times
        `Triangle()` (default), or `Square()` to train the inverse too.
    """

    pairs: AbstractSource
    times: AbstractPairTimes = Triangle()

    def init(self, model: PyTree, *, key: PRNGKey) -> PyTree:
        return self.pairs.init(model, key=key)

    def draw(self, state: PyTree, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        inside, outside = jax.random.split(key)
        pairs, state, info = self.pairs.draw(state, model, size, progress=progress, key=inside)
        return _with_times(self.times, pairs, progress, outside), state, info


_ALONE = "a bundle has both; for a loss without diagonal points write MapPairs(pairs)"


class Bundles(AbstractSource):
    """Bundles of `diagonal` + `off_diagonal` points: η = k/(k + m), M = (k + m) batch.

    Parameters
    ----------
    pairs
        A source of `Pair`; the diagonal points use its times.
    times
        Of the off-diagonal points: `Triangle()` (default) or `Square()`.
    diagonal, off_diagonal
        k and m. Good values: 3 and 1, so that `batch=128` is 512 points with η = .75.
    """

    pairs: AbstractSource
    times: AbstractPairTimes = Triangle()
    diagonal: int = integer(least=1, default=3, hint=_ALONE)
    off_diagonal: int = integer(least=1, default=1, hint=_ALONE)

    def init(self, model: PyTree, *, key: PRNGKey) -> PyTree:
        return self.pairs.init(model, key=key)

    def draw(self, state: PyTree, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        k, m = self.diagonal, self.off_diagonal
        inside, outside = jax.random.split(key)
        num = size * (k + m)
        pairs, state, info = self.pairs.draw(state, model, num, progress=progress, key=inside)
        diagonal = jax.tree.map(lambda a: a[: size * k].reshape(size, k, *a.shape[1:]), pairs)
        rest = jax.tree.map(lambda a: a[size * k :], pairs)
        rest = _with_times(self.times, rest, progress, outside)
        rest = jax.tree.map(lambda a: a.reshape(size, m, *a.shape[1:]), rest)
        return Bundle(diagonal, rest), state, info


def _with_times(times: AbstractPairTimes, pairs: Pair, progress: Scalar, key: PRNGKey) -> MapPair:
    num = jnp.shape(pairs.t)[0]
    keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(num))
    s, t = jax.vmap(lambda one: times.sample(progress=progress, key=one))(keys)
    return MapPair(s, t, pairs.x0, pairs.x1, pairs.context)
