r"""Maps of R^n without formulas: their volume change, and their inverse by solving f(x) = y.

- `Newton`: x ← x + ∇f(x)^{-1} (y − f(x)), quadratic near the root, d tangents a step.
- `FixedPoint`: x ← x + y − f(x), a contraction where |1 − ∇f| < 1, one evaluation a step.

An error is the last move, relative to 1 + max|y|. A search that did not end says so in
`converged`; the log-determinant of the inverse is then NaN.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .._fields import integer
from .._typing import Array, Count, Flag, Scalar, X


class Solution(NamedTuple):
    """What a search found.

    Attributes
    ----------
    x
        The last iterate.
    error
        Size of the last move over 1 + max|y|.
    steps
        Iterations taken.
    converged
        Whether the error fell below 32 √d u, u the unit roundoff.
    """

    x: X
    error: Scalar
    steps: Count
    converged: Flag


class AbstractInverse(eqx.Module):
    """A way to solve f(x) = y from a guess."""

    @abstractmethod
    def __call__(self, f: Callable[[X], X], y: X, guess: X) -> Solution:
        """Return x with f(x) = y."""


class Newton(AbstractInverse):
    """Newton's method; affine maps take one step (and one to see it).

    Parameters
    ----------
    max_steps
        Iterations at most; 20 are plenty from a good guess, 50 from a bad one.
    """

    max_steps: int = integer(least=1, default=50)

    def __call__(self, f: Callable[[X], X], y: X, guess: X) -> Solution:
        flat = jnp.ravel(y)

        def image(v):
            out = jnp.ravel(f(v.reshape(y.shape)))
            return out, out

        def move(v):
            jacobian, out = jax.jacfwd(image, has_aux=True)(v)
            return jnp.linalg.solve(jacobian, flat - out)

        return _iterate(move, y, guess, self.max_steps)


class FixedPoint(AbstractInverse):
    """The iteration x ← x + y − f(x): for f(x) = x + δ v(x) a contraction iff δ Lip(v) < 1.

    Parameters
    ----------
    max_steps
        Iterations at most: log(32 u)/log(δ Lip), 60 at a contraction of 0.6 in float64.
    """

    max_steps: int = integer(least=1, default=200)

    def __call__(self, f: Callable[[X], X], y: X, guess: X) -> Solution:
        return _iterate(lambda v: jnp.ravel(y - f(v.reshape(y.shape))), y, guess, self.max_steps)


def _iterate(move: Callable[[Array], Array], y: X, guess: X, max_steps: int) -> Solution:
    flat = jnp.ravel(y)
    tolerance = 32 * math.sqrt(flat.size) * float(jnp.finfo(y.dtype).eps)
    scale = 1 + jnp.max(jnp.abs(flat))

    def body(carry):
        v, _, k = carry
        step = move(v)
        return v + step, jnp.max(jnp.abs(step)) / scale, k + 1

    def unfinished(carry):
        return (carry[1] > tolerance) & (carry[2] < max_steps)

    start = (jnp.ravel(guess), jnp.full((), math.inf, y.dtype), jnp.zeros((), jnp.int32))
    v, error, steps = jax.lax.while_loop(unfinished, body, start)
    return Solution(v.reshape(y.shape), error, steps, error <= tolerance)


def with_log_det(f: Callable[[X], X], x: X) -> tuple[X, Scalar, Scalar]:
    """Return f(x), log|det ∂f/∂x| and the sign of the determinant.

    Cost: one evaluation with d tangents and a determinant, O(d³); good for d <= 64.
    """
    flat = jnp.ravel(x)

    def flat_map(v):
        y = jnp.ravel(f(v.reshape(x.shape)))
        return y, y

    jacobian, y = jax.jacfwd(flat_map, has_aux=True)(flat)
    sign, log_det = jnp.linalg.slogdet(jacobian)
    return y.reshape(x.shape), log_det, sign


def inverse_with_log_det(
    f: Callable[[X], X], y: X, guess: X, search: AbstractInverse
) -> tuple[Solution, Scalar, Scalar]:
    """Return the search for f(x) = y, −log|det ∂f/∂x| at its end and the sign of the determinant.

    The log-determinant is NaN if the search did not converge.
    """
    found = search(f, y, guess)
    _, log_det, sign = with_log_det(f, found.x)
    return found, jnp.where(found.converged, -log_det, jnp.nan), sign
