r"""Reading a population of log weights: how many walkers count, log Z, bounds, means.

A weighted simulation hands back n log weights A_i with E[e^A] = Z and
E[e^A f(x)] / E[e^A] = E_target f. Everything here is a function of ONE population, shape (n,):

- `ess`: the fraction of walkers that count, (Σ w)² / (n Σ w²);
- `log_z` = log mean e^A, with `log_z_error` for independent walkers and `log_z_populations` for
  walkers made dependent by resampling;
- `elbo` <= log Z <= `eubo`, and `path_kl`, the gap of the lower bound;
- `mean`: self-normalised averages of pytrees with their error.

A walker of log weight -inf has left the support: it counts in n and nowhere else, whatever its
(perhaps non-finite) values are. An ESS near 1 never proves that all modes were found; show log Z,
both bounds and the mode weights beside it.

Maps that fold have **signed** weights. A map X that is not injective reaches a point y from several
x; weights w with |det ∇X| count y once for each, so their mean is too large. With
s = sign det ∇X the preimages cancel but for deg(X): E[s w] = deg(X) Z and E[s w f]/E[s w] = mean of
f, where deg(X) = 1 for a proper map homotopic to the identity. Folds add noise of both signs, and a
sheet of the map that only the far tail of the base reaches is seen by no sample: then Z comes out
low and its error does not show it. Trust it where folds lie in the bulk.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError, WeightCollapse
from .._tree import concrete
from .._typing import Array, Float, Scalar, X

FEWEST = 10.0  # walkers that must count before a mean is worth printing


def relative_weights(log_weights: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return e^{A_i − max A}: the weights up to a factor, all zero if no walker is alive.

    A NaN or +inf among the log weights makes the result NaN, so it cannot pass unseen.
    """
    check_population(log_weights)
    top = jnp.max(log_weights)
    return jnp.exp(log_weights - jnp.where(top == -jnp.inf, 0, top))


def normalised_weights(log_weights: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return w_i / Σ w; NaN if no walker is alive."""
    weights = relative_weights(log_weights)
    return weights / jnp.sum(weights)


def ess(log_weights: Float[Array, " n"]) -> Scalar:
    r"""Return the effective sample size per walker, (Σ w)² / (n Σ w²).

    1 for equal weights, 1/n when one walker carries everything, 0 when none is alive. It is the
    variance of equal weights over that of yours (Kong 1992; Liu, *Monte Carlo Strategies in
    Scientific Computing*, section 2.5.3).
    """
    weights = relative_weights(log_weights)
    total, squares = jnp.sum(weights), jnp.sum(weights**2)
    ratio = total**2 / (weights.size * jnp.where(squares == 0, 1, squares))
    return jnp.minimum(ratio, 1)


def largest_weight(log_weights: Float[Array, " n"]) -> Scalar:
    """Return max_i w_i / Σ w: the share of the heaviest walker; NaN if none is alive."""
    return jnp.max(normalised_weights(log_weights))


def log_z(log_weights: Float[Array, " n"]) -> Scalar:
    """Return log mean e^{A_i}: log Z relative to the base; -inf if no walker is alive.

    Its exponential is unbiased; the logarithm is low by about half its variance (Jensen).
    """
    check_population(log_weights)
    top = jnp.max(log_weights)
    return top + jnp.log(jnp.mean(relative_weights(log_weights)))


def log_z_error(log_weights: Float[Array, " n"]) -> Scalar:
    r"""Return the standard error of `log_z` for INDEPENDENT walkers, sqrt((1/ESS − 1)/n).

    The delta method: sd(w) / (mean(w) √n). After any resampling the walkers are dependent and
    this is too small: run populations and use `log_z_populations`. Infinite for one walker, or
    when none is alive.
    """
    fraction, n = ess(log_weights), log_weights.size
    if n == 1:
        return jnp.full_like(fraction, jnp.inf)
    return jnp.sqrt(jnp.maximum(1 / fraction - 1, 0) / n)


def log_z_populations(log_weights: Float[Array, "r m"]) -> tuple[Scalar, Scalar]:
    r"""Return (log Z, standard error) from R >= 4 independent populations of m walkers.

    Z is the mean of the R unbiased Z_r, its error sd(Z_r)/√R, and the error of log Z is the ratio
    of the two. Valid whether or not the populations resampled inside. Fewer than four populations
    are refused: the spread of three numbers is no error bar.
    """
    shape = jnp.shape(log_weights)
    if len(shape) != 2 or shape[0] < 4:
        raise InputError(
            f"log_weights has shape {shape}, expected (R, m) with R >= 4 independent populations: "
            "after resampling walkers depend on each other and only the spread between populations "
            "is an error bar. Write simulate(..., populations=8)"
        )
    each = jax.vmap(log_z)(log_weights)
    relative = relative_weights(each)
    centre, spread = jnp.mean(relative), jnp.std(relative, ddof=1)
    error = jnp.where(centre == 0, jnp.inf, spread / (centre * math.sqrt(shape[0])))
    return log_z(each), error


def elbo(log_weights: Float[Array, " n"]) -> Scalar:
    """Return mean A, a lower bound of log Z (Jensen); -inf if a walker left the support.

    Only for runs without resampling, which moves the mean of A up to log Z by construction.
    """
    check_population(log_weights)
    return jnp.mean(log_weights)


def eubo(log_weights: Float[Array, " n"]) -> Scalar:
    """Return −mean A of a run BACKWARDS from exact target samples: an upper bound of log Z.

    `log_weights` are those the reversed run returns (kernel.reversed() from t = 1 to 0), whose
    E[e^A] is 1/Z. A mode the forward run never visits opens a gap between this and `elbo`.
    """
    check_population(log_weights)
    return -jnp.mean(log_weights)


def path_kl(log_weights: Float[Array, " n"]) -> Scalar:
    """Return −mean A + log mean e^A: the KL divergence of the walkers' path law from the target's.

    It bounds the divergence of their end points from above; +inf if a walker left the support.
    """
    lower = elbo(log_weights)
    return jnp.where(lower == -jnp.inf, jnp.inf, jnp.maximum(log_z(log_weights) - lower, 0))


def mean(values: X, log_weights: Float[Array, " n"]) -> tuple[X, X]:
    r"""Return (mean, standard error) of every leaf, f̄ = Σ w̄_i f_i with w̄ = w / Σ w.

    The error is the delta method's for a ratio of means of independent walkers,
    sqrt(Σ w̄_i² |f_i − f̄|²) (Owen, *Monte Carlo theory, methods and examples*, section 9.2).
    It is infinite for one walker, and worthless where few walkers count: `require_walkers` refuses.

    Parameters
    ----------
    values
        A pytree of arrays with leading axis n; real, complex, integer or boolean.
    log_weights
        One population.
    """
    share = normalised_weights(log_weights)
    pairs = jax.tree.map(lambda leaf: _mean_leaf(leaf, share), values)
    return jax.tree.transpose(jax.tree.structure(values), jax.tree.structure((0, 0)), pairs)


def _mean_leaf(values: Array, share: Float[Array, " n"]) -> tuple[Array, Array]:
    n = share.size
    values = jnp.asarray(values)
    if values.shape[:1] != (n,):
        raise InputError(
            f"values have shape {values.shape}, expected the walkers first: ({n}, ...), one for "
            "each log weight"
        )
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        values = values.astype(share.dtype)
    share = share.astype(jnp.finfo(values.dtype).dtype).reshape(n, *(1,) * (values.ndim - 1))

    # A dead walker may carry NaN: 0·NaN must not spread. NaN shares (no walker alive) do spread.
    dead = jnp.broadcast_to(share == 0, values.shape)
    values = jnp.where(dead, jnp.zeros_like(values), values)
    centre = jnp.sum(share.astype(values.dtype) * values, axis=0)
    distance = jnp.where(dead, 0, jnp.abs(values - centre[None]))
    error = jnp.sqrt(jnp.sum((share * distance) ** 2, axis=0))
    return centre, jnp.full_like(error, jnp.inf) if n == 1 else error


def require_walkers(log_weights: Float[Array, " n"], fewest: float = FEWEST) -> None:
    """Raise `WeightCollapse` unless n·ESS >= `fewest` walkers count (host side, not under jit)."""
    known = concrete(log_weights)
    if known is None:
        raise InputError("require_walkers reads values: call it outside jit")
    if sentence := collapse(known, fewest=fewest):
        raise WeightCollapse(f"{sentence}. A mean would mislead")


def collapse(log_weights: Any, label: str = "", fewest: float = FEWEST) -> str:
    """Return a sentence if fewer than `fewest` walkers count, or a weight is no number; else ""."""
    check_population(log_weights)
    n, alive = log_weights.size, int(np.sum(log_weights > -np.inf))
    if bad := int(np.sum(np.isnan(log_weights) | (log_weights == np.inf))):
        return f"{bad} of {n} log-weights{label} are NaN or +inf: no number is valid"
    if alive == 0:
        return (
            f"no walker{label} is inside the support: 0 of {n} have a weight, log Z is −inf. Use a "
            "base that covers the target, or more steps; check that the energy is finite somewhere"
        )
    counting = n * float(ess(log_weights))
    if counting >= fewest:
        return ""
    inside = "" if alive == n else f"{alive} of {n} walkers are inside the support, "
    who = "one walker carries" if counting < 2 else f"{counting:.3g} of {n} walkers carry"
    return (
        f"{inside}{who} the weight{label}, expected {fewest:g} or more: ESS {counting / n:.3g}, "
        f"largest weight {float(largest_weight(log_weights)):.3g}, log Z "
        f"{float(log_z(log_weights)):.6g}, ELBO {float(elbo(log_weights)):.6g}. Try more steps, a "
        "wider base, more training, or resample=Systematic()"
    )


def check_population(log_weights: Float[Array, " n"]) -> None:
    """Raise `InputError` unless `log_weights` is one population: real floating, shape (n,)."""
    shape, dtype = jnp.shape(log_weights), jnp.result_type(log_weights)
    if len(shape) != 1 or shape[0] == 0:
        raise InputError(
            f"log_weights has shape {shape}, expected one population (n,) with n >= 1: for many, "
            "jax.vmap(ess)(log_weights)"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"log_weights has dtype {dtype}, expected a real floating dtype")


def signed_log_z(
    log_weights: Float[Array, " n"], signs: Float[Array, " n"]
) -> tuple[Scalar, Scalar]:
    """Return log of the mean of s w and its standard error; NaN where the mean is not positive."""
    top, w = jnp.max(log_weights), signs * relative_weights(log_weights)
    mean = jnp.mean(w)
    error = jnp.std(w, ddof=1) / jnp.sqrt(jnp.asarray(w.size, w.dtype))
    return top + jnp.log(mean), error / mean


def signed_mean(
    values: Float[Array, "n ..."], log_weights: Float[Array, " n"], signs: Float[Array, " n"]
) -> tuple[Array, Array]:
    """Return Σ s w f / Σ s w and its standard error (delta method), for independent walkers."""
    w = signs * relative_weights(log_weights)
    share = w / jnp.sum(w)
    mean = jnp.tensordot(share, values, axes=1)
    spread = jax.vmap(lambda one, f: (one * (f - mean)) ** 2)(share, values)
    return mean, jnp.sqrt(jnp.sum(spread, axis=0))
