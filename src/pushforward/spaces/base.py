"""Where a sample lives: a reference measure, and on a manifold, how to move in it.

Kernels move by the operations of a space: unit noise (`noise`), the exponential map (`retract`),
gradients and divergences. So one HMC and one Langevin step serve R^n, angles and matrix groups.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._typing import Array, PRNGKey, Scalar, V, X


class AbstractSpace(eqx.Module):
    """A set with a reference measure."""

    @abstractmethod
    def reference(self, *, key: PRNGKey) -> X:
        """Draw from the reference measure: standard normal, Haar, uniform."""

    @abstractmethod
    def check(self, x: X, what: str = "x") -> None:
        """Raise `InputError` unless `x` has the shape and dtype of ONE sample."""


class AbstractManifold(AbstractSpace):
    """A space with tangent vectors, an inner product and an exponential map."""

    @abstractmethod
    def noise(self, x: X, *, key: PRNGKey) -> V:
        """Draw a unit Gaussian tangent vector at `x`."""

    @abstractmethod
    def retract(self, x: X, v: V) -> X:
        """Move from `x` along `v`: exp_x(v)."""

    @abstractmethod
    def inner(self, u: V, v: V) -> Scalar:
        """Inner product of two tangent vectors."""

    @abstractmethod
    def gradient(self, f: Callable[[X], Any], x: X, *, has_aux: bool = False) -> Any:
        """Riemannian gradient of a scalar function; `(gradient, aux)` when f returns a pair."""

    @abstractmethod
    def divergence(self, b: Callable[[X], V], x: X, *, key: PRNGKey | None = None) -> Scalar:
        """Divergence of a vector field: exact, or one Hutchinson probe when a key is given."""

    @abstractmethod
    def project(self, x: X) -> X:
        """Return to the manifold after rounding (once per trajectory in float32)."""


def extents(shape: int | Sequence[int], least: int = 0, most: int = 32) -> tuple[int, ...]:
    """Return the shape as a tuple of positive extents, `least` to `most` of them; n means (n,)."""
    shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if not least <= len(shape) <= most or any(n < 1 for n in shape):
        number = least if least == most else f"{least} to {most}"
        raise InputError(
            f"got the shape {shape}, expected {number} positive extents such as (8, 8)"
        )
    return shape


def check_shape(x: Array, shape: tuple[int, ...], what: str, layout: str = "") -> None:
    """Raise `InputError` unless `x` has the shape of ONE sample."""
    got = jnp.shape(x)
    if got[1:] == shape and got != shape:
        raise InputError(
            f"{what} has shape {got}, expected ONE sample of shape {shape}: "
            f"vmap over it, as in jax.vmap(f)({what}), or hand it to simulate"
        )
    if got != shape:
        raise InputError(f"{what} has shape {got}, expected {layout}{shape}")


def as_manifold(space: AbstractSpace) -> AbstractManifold:
    """Return the space, or raise `InputError` where there are no gradients."""
    if not isinstance(space, AbstractManifold):
        raise InputError(
            f"{space} has no gradients: Langevin, Transport and HMC need a manifold such as "
            "Euclidean(2); on a finite space write Jump(path, rates)"
        )
    return space
