"""R^n as arrays of a fixed shape."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._typing import Array, PRNGKey, Scalar

from .base import AbstractManifold, check_shape, extents


class Euclidean(AbstractManifold):
    """Real arrays of one shape, with Lebesgue measure and the standard inner product.

    `shape` is that of ONE sample, such as `(2,)` or `(16, 16)`; an integer n means `(n,)`.
    """

    shape: tuple[int, ...] = eqx.field(static=True, converter=extents)

    @property
    def dim(self) -> int:
        """Number of real coordinates."""
        return math.prod(self.shape)

    def reference(self, *, key: PRNGKey) -> Array:
        return jax.random.normal(key, self.shape)

    def check(self, x: Array, what: str = "x") -> None:
        dtype = jnp.result_type(x)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(
                f"{what} has dtype {dtype}, expected a real floating dtype: "
                f"write {what}.astype(float)"
            )
        check_shape(x, self.shape, what)

    def noise(self, x: Array, *, key: PRNGKey) -> Array:
        return jax.random.normal(key, x.shape, x.dtype)

    def retract(self, x: Array, v: Array) -> Array:
        return x + v

    def inner(self, u: Array, v: Array) -> Scalar:
        return jnp.sum(u * v)

    def gradient(self, f: Callable[[Array], Any], x: Array, *, has_aux: bool = False) -> Any:
        return jax.grad(f, has_aux=has_aux)(x)

    def divergence(
        self, b: Callable[[Array], Array], x: Array, *, key: PRNGKey | None = None
    ) -> Scalar:
        """Return Σ_i ∂_i b_i: d JVPs, or v·∂b v with a random sign vector v when a key is given.

        The square of a one-probe estimate is biased; use two independent probes and their product
        (Hutchinson 1990).
        """
        if key is not None:
            v = jax.random.rademacher(key, x.shape, x.dtype)
            return jnp.sum(v * jax.jvp(b, (x,), (v,))[1])
        flat = jnp.ravel(x)

        def flat_field(y: Array) -> Array:
            return jnp.ravel(b(y.reshape(x.shape)))

        return jnp.trace(jax.jacfwd(flat_field)(flat))

    def project(self, x: Array) -> Array:
        return x
