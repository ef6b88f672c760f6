r"""Distances between two sets of points: exact W2 by assignment, sliced W2 by sorting.

W2² = min over couplings of E|x − y|². Both are BIASED upwards at finite n even for equal laws
(the exact one falls as n^{−1/d} only), so a W2 means nothing without its protocol: state n, the
seed, and the value between two independent sets of exact samples of the same sizes.

- `w2`: n equal weights against n, minimised over all permutations (`scipy`'s assignment, O(n³), a
  second at n = 2000). Weighted samples are resampled first.
- `sliced_w2`: mean over random directions θ of the one-dimensional W2² of θ·x and θ·y, which is
  exact by quantiles, with weights (Rabin, Peyré, Delon and Bernot 2011). A translation by δ has
  W2 = |δ| but sliced W2 = |δ|/√d.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from .._errors import InputError, NonFinite
from .._typing import Array, Float, PRNGKey, Scalar
from .weights import normalised_weights

MOST = 4096  # points of an exact assignment: a cost matrix of 134 MB, some ten seconds


def w2(x: Any, y: Any) -> float:
    """Return the exact W2 between two sets of n equally weighted points, (n, ...), host side."""
    x, y = (np.asarray(a, np.float64) for a in (x, y))
    if x.ndim < 1 or x.shape != y.shape or not 1 <= len(x) <= MOST:
        raise InputError(
            f"x and y have shapes {x.shape} and {y.shape}, expected equal ones (n, ...) with "
            f"n <= {MOST}: take the first n of both, or use sliced_w2"
        )
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise NonFinite("a point is not finite: leave dead walkers out by resampling")
    cost = cdist(x, y, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def w2_line(
    x: Float[Array, " n"],
    y: Float[Array, " m"],
    x_log_weights: Float[Array, " n"] | None = None,
    y_log_weights: Float[Array, " m"] | None = None,
) -> Scalar:
    r"""Return the exact W2 between two weighted sets of numbers, (∫_0^1 |F⁻¹(u) − G⁻¹(u)|² du)^½.

    Both quantile functions are steps, so the integral is a finite sum over the merged jumps.
    """
    x, x_ends = _quantiles(x, x_log_weights)
    y, y_ends = _quantiles(y, y_log_weights)
    ends = jnp.sort(jnp.concatenate([x_ends, y_ends]))
    widths = jnp.diff(ends, prepend=jnp.zeros_like(ends[:1]))
    middles = ends - widths / 2
    apart = x[_step(x_ends, middles)] - y[_step(y_ends, middles)]
    return jnp.sqrt(jnp.sum(widths * apart**2))


def sliced_w2(
    x: Float[Array, "n ..."],
    y: Float[Array, "m ..."],
    x_log_weights: Float[Array, " n"] | None = None,
    y_log_weights: Float[Array, " m"] | None = None,
    *,
    directions: int = 256,
    key: PRNGKey,
) -> Scalar:
    """Return the sliced W2 between two weighted sets of points.

    Parameters
    ----------
    x, y
        Points, leading axis first; further axes are flattened.
    x_log_weights, y_log_weights
        Their log weights; equal when left out.
    directions
        Number of random directions. Good values: 256; more for d > 100.
    key
        Draws the directions. Use one key for all values to be compared.
    """
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"points of x have {x.shape[1]} coordinates, of y {y.shape[1]}")
    theta = jax.random.normal(key, (directions, x.shape[1]), x.dtype)
    theta = theta / jnp.linalg.norm(theta, axis=1, keepdims=True)

    def slice_squared(axis: Array) -> Scalar:
        return w2_line(x @ axis, y @ axis, x_log_weights, y_log_weights) ** 2

    return jnp.sqrt(jnp.mean(jax.lax.map(slice_squared, theta)))


def _quantiles(x: Array, log_weights: Array | None) -> tuple[Array, Array]:
    order = jnp.argsort(x)
    n = x.shape[0]
    if log_weights is None:
        return x[order], jnp.arange(1, n + 1, dtype=x.dtype) / n
    ends = jnp.cumsum(normalised_weights(log_weights)[order].astype(x.dtype))
    return x[order], ends / ends[-1]


def _step(ends: Array, at: Array) -> Array:
    return jnp.clip(jnp.searchsorted(ends, at), 0, ends.shape[0] - 1)
