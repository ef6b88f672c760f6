"""Pairs of ends (x0, x1) with their times and labels, alone or in bundles.

`IndependentPairs` couples a base and data, `PairSimulator` present and future. `MapPairs` and
`Bundles` give the pairs of another source two times. A bundle is k diagonal points (s = t, for the
drift) and m off-diagonal points (for the map), each with ends of its own: exactly the fraction
η = k/(k + m) of all points is diagonal, and no point runs both branches, as one would under a
`vmap` of a coin toss.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import InputError
from .._fields import integer
from .._tree import Frozen
from .._typing import Array, Context, PRNGKey, Scalar, Time, X
from ..dynamics import AbstractKernel
from ..paths.time_laws import AbstractPairTimes, AbstractTimeLaw, Triangle, UniformTime
from ..targets import AbstractDistribution
from .base import AbstractFreshSource, AbstractSource, Pair


class Dequantise(eqx.Module):
    """x = 2(k + u)/L − 1, u uniform in [0, 1): integers 0..L−1 become a density on [−1, 1].

    Parameters
    ----------
    levels
        L: 256 for bytes, 17 for the digits.
    """

    levels: int = integer(least=1, example=256)

    def __call__(self, k: Array, *, key: PRNGKey) -> Array:
        u = jax.random.uniform(key, k.shape)
        return 2 * (k.astype(u.dtype) + u) / self.levels - 1


class IndependentPairs(AbstractFreshSource):
    """x0 from a base, x1 from data or a distribution, t from its law: all independent.

    Parameters
    ----------
    base
        Law of x0; for the affine paths `Normal(shape, scale=path.base_scale)`.
    data
        An array with samples first, drawn with replacement, or a distribution.
    times
        `UniformTime()`, `LogitNormal()`.
    labels
        One context a row of the data (a pytree), or None.
    augment
        `augment(row, key=key)`, fresh at every draw: `Dequantise(17)`; or None.
    """

    base: AbstractDistribution
    data: Frozen[PyTree]
    times: AbstractTimeLaw
    labels: Frozen[Context]
    augment: Callable[..., X] | None

    def __init__(
        self,
        base: AbstractDistribution,
        data: Any,
        times: AbstractTimeLaw | None = None,
        labels: Context = None,
        augment: Callable[..., X] | None = None,
    ):
        self.base, self.times = base, UniformTime() if times is None else times
        self.augment = augment
        if not isinstance(data, AbstractDistribution):
            data = jnp.asarray(data)
            _check_data(base, data, labels, augment)
        elif labels is not None:
            raise InputError("labels belong to arrays, and data is a distribution")
        self.data, self.labels = Frozen(data), Frozen(jax.tree.map(jnp.asarray, labels))

    def sample(self, *, key: PRNGKey) -> Pair:
        keys = [jax.random.fold_in(key, k) for k in range(4)]
        x0, t = self.base.sample(key=keys[1]), self.times.sample(key=keys[2])
        data, context = self.data.value, None
        if isinstance(data, AbstractDistribution):
            x1 = data.sample(key=keys[0])
        else:
            row = jax.random.randint(keys[0], (), 0, data.shape[0])
            x1, context = data[row], jax.tree.map(lambda leaf: leaf[row], self.labels.value)
        if self.augment is not None:
            x1 = self.augment(x1, key=keys[3])
        return Pair(t, x0, x1, context)


class PairSimulator(AbstractFreshSource):
    """x0 from `initial`, x1 one step of the kernel later, t from its law.

    Parameters
    ----------
    kernel
        A system whose step is one lag, such as `JumpDiffusion()`.
    initial
        Law of x0, anything with `sample(key=)`: the stationary law `kernel.path` (default).
    times
        Law of t; `UniformTime()` (default).
    """

    kernel: AbstractKernel
    initial: Any
    times: AbstractTimeLaw

    def __init__(
        self, kernel: AbstractKernel, initial: Any = None, times: AbstractTimeLaw | None = None
    ):
        self.kernel, self.times = kernel, UniformTime() if times is None else times
        self.initial = getattr(kernel, "path", None) if initial is None else initial
        if not hasattr(self.initial, "sample"):
            raise InputError(
                f"initial is {type(self.initial).__name__}, expected a law to draw x0 from: "
                "PairSimulator(system, initial=system.path)"
            )

    def sample(self, *, key: PRNGKey) -> Pair:
        keys = [jax.random.fold_in(key, k) for k in range(4)]
        t, x0 = self.times.sample(key=keys[0]), self.initial.sample(key=keys[1])
        now = self.kernel.init(x0, jnp.ones_like(t), key=keys[2])
        later, _ = self.kernel.step(now, jnp.ones_like(t), jnp.ones_like(t), key=keys[3])
        return Pair(t, x0, later.x)


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


def _check_data(base, data: Array, labels: Context, augment: Callable[..., X] | None) -> None:
    if data.ndim < 1 or data.shape[0] < 1:
        raise InputError(f"data has shape {data.shape}, expected samples along a leading axis")
    row = data[0] if augment is None else augment(data[0], key=jax.random.key(0))
    if not jnp.issubdtype(row.dtype, jnp.floating):
        raise InputError(
            f"data has dtype {data.dtype}, expected a floating one: augment=Dequantise(256) for "
            "bytes, or x / 127.5 - 1"
        )
    base.space.check(row, "a row of the data")
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(labels)}
    if sizes - {data.shape[:1]}:
        raise InputError(f"labels have lengths {sorted(sizes)}, the data {data.shape[0]} rows")
