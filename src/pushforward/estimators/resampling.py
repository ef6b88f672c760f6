r"""Resampling: copies of heavy walkers replace light ones, and all weights become equal.

Three ways to draw n indices with E[count_i] = n w̄_i. Lay the weights end to end on (0, 1] and read
off n points: independent uniforms (`Multinomial`, Gordon, Salmond and Smith 1993), one in each
cell of width 1/n (`Stratified`, Kitagawa 1996), or all at one offset (`Systematic`, Carpenter,
Clifford and Fearnhead 1999; the least noise here, and the default). `Never` is plain AIS.

After it, `reset` gives every walker the log of the MEAN weight, not 0. So log Z is
logmeanexp(A) at all times, resampled or not, and nothing else need be added: with
E[count_i] = n w̄_i, the measure Σ_i w_i δ(x_i)/n and so Z are kept on average, exactly.

```python
indices, resampled = Systematic(0.5)(log_weights, key=key)
x = jax.tree.map(lambda leaf: leaf[indices], x)
log_weights = reset(log_weights, resampled)
```
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._fields import checked
from .._tree import Sum, scalar
from .._typing import Array, Flag, Float, Int, PRNGKey
from .weights import ess, log_z, relative_weights


def _threshold() -> Any:
    return checked(
        holds=lambda x: (0 <= x) & (x <= 1) & (x.ndim == 0),
        expected="one number in [0, 1]",
        hint="the ESS per walker below which to resample, as in Systematic(0.5)",
        example=0.5,
        default=0.5,
    )


class AbstractResampling(eqx.Module):
    """When and how to draw new indices. One population at a time; jit and vmap friendly.

    Attributes
    ----------
    threshold
        Resample when ESS falls below it; in [0, 1]. Good values: 0.5, or 0.3 for few steps.
    """

    threshold: eqx.AbstractVar[Float[Array, ""]]

    @abstractmethod
    def points(self, n: int, dtype: jnp.dtype, *, key: PRNGKey) -> Float[Array, " n"]:
        """Draw n points in (0, 1], each uniform on average over the n."""

    def __call__(
        self, log_weights: Float[Array, " n"], *, key: PRNGKey
    ) -> tuple[Int[Array, " n"], Flag]:
        """Return (indices, resampled): 0..n−1 and False unless ESS < threshold.

        If no walker is alive there is nothing to draw from: identity and False.
        """
        weights, n = relative_weights(log_weights), log_weights.size
        threshold = self.threshold.astype(weights.dtype)
        resampled = (ess(log_weights) < threshold) & (jnp.max(weights) > 0)
        drawn = _read_off(weights, self.points(n, log_weights.dtype, key=key))
        return jnp.where(resampled, drawn, jnp.arange(n, dtype=drawn.dtype)), resampled


class Systematic(AbstractResampling):
    """Points (i + u)/n with one u for all: each count is n w̄_i rounded up or down."""

    threshold: Float[Array, ""] = _threshold()

    def points(self, n: int, dtype: jnp.dtype, *, key: PRNGKey) -> Float[Array, " n"]:
        return (jnp.arange(n, dtype=dtype) + _uniform(key, (), dtype)) / n


class Stratified(AbstractResampling):
    """Points (i + u_i)/n with independent u_i."""

    threshold: Float[Array, ""] = _threshold()

    def points(self, n: int, dtype: jnp.dtype, *, key: PRNGKey) -> Float[Array, " n"]:
        return (jnp.arange(n, dtype=dtype) + _uniform(key, (n,), dtype)) / n


class Multinomial(AbstractResampling):
    """Independent uniform points: n draws with replacement. The noisiest; a reference."""

    threshold: Float[Array, ""] = _threshold()

    def points(self, n: int, dtype: jnp.dtype, *, key: PRNGKey) -> Float[Array, " n"]:
        return _uniform(key, (n,), dtype)


class Never(AbstractResampling):
    """Never resample: annealed importance sampling. A threshold of zero, which no ESS is below."""

    threshold: Float[Array, ""]

    def __init__(self):
        self.threshold = scalar(0.0)

    def points(self, n: int, dtype: jnp.dtype, *, key: PRNGKey) -> Float[Array, " n"]:
        return (jnp.arange(n, dtype=dtype) + 0.5) / n


def reset(log_weights: Float[Array, " n"] | Sum, resampled: Flag) -> Float[Array, " n"] | Sum:
    """Return log weights after resampling: all equal to logmeanexp(A) where `resampled`, else A.

    A compensated `Sum` of arrays comes back as one: its largest member, high and low, plus the log
    of the mean relative weight, so that a float32 log Z of 10³ keeps its digits through a hundred
    resamplings.
    """
    if not isinstance(log_weights, Sum):
        return jnp.where(resampled, log_z(log_weights), log_weights)
    top = jnp.argmax(log_weights.value)
    high, low = log_weights.high[top], log_weights.low[top]
    apart = (log_weights.high - high) + (log_weights.low - low)
    fresh = Sum(high, low).add(log_z(jnp.where(log_weights.high == -jnp.inf, -jnp.inf, apart)))
    return jax.tree.map(lambda new, old: jnp.where(resampled, new, old), fresh, log_weights)


def _read_off(weights: Float[Array, " n"], points: Float[Array, " n"]) -> Int[Array, " n"]:
    """Return for each point p in (0, 1] the walker whose interval (c_{i−1}, c_i] holds it.

    A parallel cumulative sum is not monotone in its last bits; its running maximum over the living
    is, and it leaves a dead walker an empty interval: it is never drawn, not even by rounding.
    """
    ends = jax.lax.cummax(jnp.where(weights > 0, jnp.cumsum(weights), 0))
    return jnp.searchsorted(ends, points * ends[-1], side="left")


def _uniform(key: PRNGKey, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    return 1 - jax.random.uniform(key, shape, dtype)  # (0, 1]: a point at 0 has no walker
