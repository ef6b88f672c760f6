r"""Whether all modes were found, and in the right proportion.

The weight of mode k is the weighted mean of its responsibility p_k(x), the posterior probability
that x came from component k: exact samples give the exact mode weights on average, even where modes
overlap. Counting the nearest centre instead is biased where overlapping modes differ in weight or
width, or meet by threes (measured on gmm40: up to 3 % of a mode's weight).

Two numbers are read off: how many modes are covered, and the total variation ½ Σ |w_k − w*_k|,
to be compared with `multinomial_floor`, what n exact independent samples would show.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from .._errors import InputError
from .._typing import Array, Count, Float, Scalar, X
from .weights import mean


def mode_weights(
    responsibilities: Callable[[X], Float[Array, " k"]],
    x: X,
    log_weights: Float[Array, " n"] | None = None,
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Return (weights of the modes, their standard errors) of a population.

    Parameters
    ----------
    responsibilities
        One sample -> (K,) probabilities that sum to 1, such as `Mixture.responsibilities`.
    x
        Samples, leading axis n.
    log_weights
        Their log weights; equal when left out.
    """
    each = jax.vmap(responsibilities)(x)
    if each.ndim != 2:
        raise InputError(
            f"responsibilities of one sample have shape {each.shape[1:]}, expected (K,)"
        )
    if log_weights is None:
        log_weights = jnp.zeros_like(each[:, 0])
    return mean(each, log_weights)


def coverage(
    weights: Float[Array, " k"], exact: Float[Array, " k"], fraction: float = 0.1
) -> Count:
    """Count the modes that hold at least `fraction` of their exact weight."""
    _check_modes(weights, exact)
    return jnp.sum(weights >= fraction * exact)


def total_variation(weights: Float[Array, " k"], exact: Float[Array, " k"]) -> Scalar:
    """Return ½ Σ_k |w_k − w*_k|, between 0 (equal) and 1 (disjoint)."""
    _check_modes(weights, exact)
    return 0.5 * jnp.sum(jnp.abs(weights - exact))


def multinomial_floor(exact: Float[Array, " k"], n: int) -> float:
    r"""Return the mean total variation of n independent exact samples with known modes.

    ½ Σ_k E|c_k/n − w*_k| for binomial counts, by de Moivre's formula E|c − n p| =
    2 (1−p) ν P(c = ν), ν = floor(n p) + 1. For weighted samples take n = the number that count,
    n·ESS rounded.
    """
    if n < 1:
        raise InputError(f"n is {n}, expected at least one sample")
    p = np.asarray(exact, np.float64)
    above = np.floor(n * p) + 1
    return float(np.sum((1 - p) * above * stats.binom.pmf(above, n, p)) / n)


def _check_modes(weights: Array, exact: Array) -> None:
    if jnp.shape(weights) != jnp.shape(exact) or jnp.ndim(weights) != 1:
        raise InputError(
            f"mode weights have shape {jnp.shape(weights)}, exact ones {jnp.shape(exact)}, "
            "expected (K,) both"
        )
