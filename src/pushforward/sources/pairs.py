"""Couplings of base and data, or of present and future: where (t, x0, x1, label) come from."""

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
from .._typing import Array, Context, PRNGKey, X
from ..dynamics import AbstractKernel
from ..paths.time_laws import AbstractTimeLaw, UniformTime
from ..targets import AbstractDistribution
from .base import AbstractFreshSource, Pair


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
