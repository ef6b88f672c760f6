r"""Signed estimates for maps that fold.

A map X that is not injective reaches a point y from several x; weights w with |det ∇X| count y once
for each, so their mean is too large. With s = sign det ∇X the preimages cancel but for deg(X):

    E[s w] = deg(X) Z,   E[s w f]/E[s w] = mean of f,   deg(X) = 1

for a proper map homotopic to the identity. The price is variance: folds add noise of both signs.
And a sheet of the map that only the far tail of the base reaches is seen by no sample: then Z
comes out low and the error does not know. Trust it where folds lie in the bulk.
"""

import jax
import jax.numpy as jnp

from .._typing import Array, Float, Scalar
from .weights import relative_weights


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
