r"""How good an ensemble forecast is: proper scores that do not depend on the number of members.

For members x_1..x_M and what came, y, the continuous ranked probability score of the empirical
distribution is inflated by 1/M; the fair form estimates the score of the law behind the members
without bias, so ensembles of different size may be compared (Ferro 2014). A perfect forecast of a
Gaussian of standard deviation s has E CRPS = s/√π. All functions see one case; vmap over cases.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._typing import Array, Count, Float, Scalar


def fair_crps(members: Float[Array, "m ..."], truth: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Return (1/M) Σ|x_i − y| − (1/(M(M−1))) Σ_i (2i − M − 1) x_(i), component by component.

    Sorted, O(M log M). The second term is (1/(2M(M−1))) ΣΣ |x_i − x_j|.

    References
    ----------
    Ferro 2014, Q. J. R. Meteorol. Soc. 140, 1917.
    """
    distance, gini = _distance_and_gini(members, truth)
    m = members.shape[0]
    return distance - gini / (m * (m - 1))


def biased_crps(members: Float[Array, "m ..."], truth: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the score of the empirical distribution, 1 + 1/M times too large for a perfect one."""
    distance, gini = _distance_and_gini(members, truth)
    return distance - gini / members.shape[0] ** 2


def fair_energy_score(members: Float[Array, "m ..."], truth: Float[Array, "..."]) -> Scalar:
    r"""Return (1/M) Σ‖x_i − y‖ − (1/(2M(M−1))) ΣΣ‖x_i − x_j‖, of all components together.

    References
    ----------
    Gneiting and Raftery 2007, J. Am. Stat. Assoc. 102, 359.
    """
    m = _check_members(members, truth)
    flat, y = members.reshape(m, -1), jnp.ravel(truth)
    first = jnp.mean(jnp.linalg.norm(flat - y[None], axis=1))
    square = jnp.sum((flat[:, None] - flat[None]) ** 2, axis=-1)
    return first - jnp.sum(jnp.sqrt(square)) / (2 * m * (m - 1))


def sector(x: Float[Array, " 2"], bins: int = 64) -> Count:
    """Return in which of `bins` equal sectors about the origin a point of the plane lies."""
    turn = jnp.arctan2(x[1], x[0]) / (2 * np.pi) % 1
    return jnp.floor(turn * bins).astype(jnp.int32) % bins


def sector_counts(x: Float[Array, "n 2"], bins: int = 64) -> np.ndarray:
    """Return how many points lie in each sector."""
    return np.bincount(np.asarray(jax.vmap(lambda y: sector(y, bins))(x)), minlength=bins)


def sector_masses(
    log_density: Callable[[Float[Array, " 2"]], Scalar], radius: float, bins: int = 64
) -> np.ndarray:
    """Return the mass of a density of the plane in each sector, by quadrature up to `radius`."""
    fine, (nodes, weights) = 16, np.polynomial.legendre.leggauss(300)
    step, r = 2 * np.pi / (bins * fine), 0.5 * radius * (nodes + 1)
    angle = (np.arange(bins * fine) + 0.5) * step
    points = r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)[None]
    each = jax.jit(jax.vmap(log_density))(jnp.asarray(points.reshape(-1, 2), float))
    density = np.exp(np.asarray(each, float)).reshape(len(r), -1)
    area = (0.5 * radius * step) * weights * r
    return (area @ density).reshape(bins, fine).sum(1)


def counts_kl(exact: Float[Array, " bins"], found: Float[Array, " bins"]) -> float:
    """Return Σ p log(p/q) of two histograms of equal total, half a count added in each bin."""
    p, q = np.asarray(exact, float) + 0.5, np.asarray(found, float) + 0.5
    if p.shape != q.shape or p.ndim != 1:
        raise InputError(f"counts have shapes {p.shape} and {q.shape}, expected (bins,)")
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def _distance_and_gini(members: Array, truth: Array) -> tuple[Array, Array]:
    """Return mean |x_i − y| and Σ_i (2i − M − 1) x_(i) = ½ ΣΣ |x_i − x_j|."""
    m = _check_members(members, truth)
    rank = 2 * jnp.arange(1, m + 1, dtype=members.dtype) - m - 1
    ordered = jnp.sort(members, axis=0)
    return jnp.mean(jnp.abs(members - truth[None]), axis=0), jnp.tensordot(rank, ordered, axes=1)


def _check_members(members: Array, truth: Array) -> int:
    if members.ndim < 1 or members.shape[0] < 2:
        raise InputError(
            f"members have shape {members.shape}: a fair score needs at least two members"
        )
    if members.shape[1:] != jnp.shape(truth):
        raise InputError(
            f"members have shape {members.shape}, the truth {jnp.shape(truth)}: expected "
            "(M, *truth.shape), one case; vmap over cases"
        )
    return members.shape[0]
