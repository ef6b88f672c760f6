r"""cosh √s and sinh √s / √s as functions of s, smooth at s = 0.

e^{−Δτ V} depends on |φ|² alone, but written with |φ| its gradient at φ = 0 is 0/0. Both functions
are entire in s: below ½ they are summed as Σ_n s^n/(2n)! and Σ_n s^n/(2n+1)!, ten terms being
exact to the last digit of a double; and the derivative of the branch above loses no more than two.
"""

import math

import jax.numpy as jnp

from pushforward._typing import Array

SWITCH, TERMS = 0.5, 10


def cosh_root(s: Array) -> Array:
    """Return cosh √s, s >= 0."""
    small, root = _split(s)
    return jnp.where(s < SWITCH, _series(small, 0), jnp.cosh(root))


def sinhc_root(s: Array) -> Array:
    """Return sinh √s / √s, s >= 0."""
    small, root = _split(s)
    return jnp.where(s < SWITCH, _series(small, 1), jnp.sinh(root) / root)


def _split(s: Array) -> tuple[Array, Array]:
    # Both branches are evaluated: each gets arguments where it and its derivative are finite.
    small = s < SWITCH
    return jnp.where(small, s, 0), jnp.sqrt(jnp.where(small, 1, s))


def _series(s: Array, odd: int) -> Array:
    total = jnp.zeros_like(s)
    for n in reversed(range(TERMS)):
        total = total * s + 1 / math.factorial(2 * n + odd)
    return total
