"""Couplings of base and data: where (t, x0, x1, label) come from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import InputError
from .._tree import Frozen
from .._typing import Context, PRNGKey, Scalar
from ..paths.time_laws import AbstractTimeLaw, UniformTime
from ..targets import AbstractDistribution
from .base import AbstractSource, NoInfo, Pair


class IndependentPairs(AbstractSource):
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
    """

    base: AbstractDistribution
    data: Frozen[PyTree]
    times: AbstractTimeLaw
    labels: Frozen[Context]

    def __init__(
        self,
        base: AbstractDistribution,
        data: Any,
        times: AbstractTimeLaw | None = None,
        labels: Context = None,
    ):
        self.base, self.times = base, UniformTime() if times is None else times
        if not isinstance(data, AbstractDistribution):
            data = jnp.asarray(data)
            _check_data(base, data, labels)
        elif labels is not None:
            raise InputError("labels belong to arrays, and data is a distribution")
        self.data, self.labels = Frozen(data), Frozen(jax.tree.map(jnp.asarray, labels))

    def init(self, model: PyTree, *, key: PRNGKey) -> PyTree:
        """Return nothing: the draws depend on the key alone."""
        return ()

    def draw(self, state: PyTree, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        """Return `size` pairs."""
        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(size))
        return jax.vmap(self._pair)(keys), state, NoInfo()

    def _pair(self, key: PRNGKey) -> Pair:
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        x0, t = self.base.sample(key=keys[1]), self.times.sample(key=keys[2])
        data = self.data.value
        if isinstance(data, AbstractDistribution):
            return Pair(t, x0, data.sample(key=keys[0]))
        row = jax.random.randint(keys[0], (), 0, data.shape[0])
        context = jax.tree.map(lambda leaf: leaf[row], self.labels.value)
        return Pair(t, x0, data[row], context)


def _check_data(base: AbstractDistribution, data: Any, labels: Context) -> None:
    if data.ndim < 1 or data.shape[0] < 1 or not jnp.issubdtype(data.dtype, jnp.floating):
        raise InputError(
            f"data has shape {data.shape} and dtype {data.dtype}, expected floating samples with a "
            "leading axis; 8-bit images become x / 127.5 - 1"
        )
    base.space.check(data[0], "a row of the data")
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(labels)}
    if sizes - {data.shape[:1]}:
        raise InputError(f"labels have lengths {sorted(sizes)}, the data {data.shape[0]} rows")
