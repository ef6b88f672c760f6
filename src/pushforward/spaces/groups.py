r"""Compact groups, with one fixed normalisation: what a link of a lattice lives in.

Matrix axes come first, sites last: an element field is (N, N, \*sites) complex, for U(1) an array
of angles (\*sites), U = e^{iθ}. The algebra su(N) has the basis T_a = (i/2) λ_a with
tr T_a T_b = −δ_ab/2 and the inner product ⟨X, Y⟩ = −2 tr XY, so X_a = ⟨T_a, X⟩; for U(1) it is R.

Everything else follows from the projection to the algebra,

    P_TA(M) = (M − M⁺)/2 − tr(M − M⁺)/(2N) = −2 Σ_a T_a Re tr(T_a M):

- unit Gaussian noise is P_TA of a complex Gaussian matrix, E|G_ij|² = 1;
- the left derivative ∂_a f(U) = d/ds f(e^{s T_a} U) has the gradient Σ_a T_a ∂_a f = −½ P_TA(U gᵀ)
  with df = Re Σ g_ij dU_ij, which is what `jax.grad` returns.
"""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from pushforward._typing import Array, PRNGKey, Scalar


def wrap(angle: Array) -> Array:
    """Return the angle modulo 2π in [−π, π); angles already there keep their bits."""
    return angle - 2 * math.pi * jnp.floor((angle + math.pi) / (2 * math.pi))


class AbstractGroup(eqx.Module):
    """A compact matrix group; fields have matrix axes first and sites last."""

    n: eqx.AbstractVar[int]

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the algebra."""

    @property
    @abstractmethod
    def matrix(self) -> tuple[int, ...]:
        """Shape of one element: () for angles, (N, N) for matrices."""

    @property
    @abstractmethod
    def default_dtype(self) -> Any:
        """Dtype of elements that nobody asked for: JAX's default float or complex."""

    @abstractmethod
    def haar(self, sites: tuple[int, ...], *, key: PRNGKey, dtype: Any = None) -> Array:
        """Draw independent Haar elements, shape (*matrix, *sites)."""

    @abstractmethod
    def identity(self, sites: tuple[int, ...], dtype: Any = None) -> Array:
        """Return a field of unit elements."""

    @abstractmethod
    def mul(self, a: Array, b: Array) -> Array:
        """Return the product a b at every site."""

    @abstractmethod
    def adjoint(self, a: Array) -> Array:
        """Return a⁺ = a⁻¹."""

    @abstractmethod
    def re_trace(self, a: Array) -> Array:
        """Return Re tr a, shape (*sites)."""

    @abstractmethod
    def overlap(self, a: Array, b: Array) -> Array:
        """Return Re tr a b⁺ without forming the product."""

    @abstractmethod
    def exp(self, v: Array) -> Array:
        """Return e^v of algebra elements."""

    @abstractmethod
    def project(self, a: Array) -> Array:
        """Return the group element next to one that rounding has moved."""

    @abstractmethod
    def pta(self, m: Array) -> Array:
        """Return P_TA(M), the traceless anti-Hermitian part."""

    @abstractmethod
    def inner(self, u: Array, v: Array) -> Scalar:
        """Return Σ_sites ⟨u, v⟩ of algebra elements."""

    @abstractmethod
    def left_gradient(self, a: Array, g: Array) -> Array:
        """Return Σ_a T_a ∂_a f from g = `jax.grad`(f)(a)."""

    @abstractmethod
    def coordinates(self, v: Array) -> Array:
        """Return v_a, shape (dim, *sites)."""

    @abstractmethod
    def algebra(self, c: Array) -> Array:
        """Return Σ_a c_a T_a from coordinates (dim, *sites)."""

    def algebra_noise(self, like: Array, *, key: PRNGKey) -> Array:
        """Draw Σ_a n_a T_a, n_a ~ N(0, 1), in the shape and dtype of a field of elements."""
        return self.pta(jax.random.normal(key, like.shape, like.dtype))


class U1(AbstractGroup):
    """The circle. Elements are angles θ, U = e^{iθ}; the algebra is R, ⟨x, y⟩ = xy."""

    n: int = eqx.field(static=True, default=1, init=False)

    @property
    def dim(self) -> int:
        return 1

    @property
    def matrix(self) -> tuple[int, ...]:
        return ()

    @property
    def default_dtype(self) -> Any:
        return jnp.result_type(float)

    def haar(self, sites: tuple[int, ...], *, key: PRNGKey, dtype: Any = None) -> Array:
        dtype = self.default_dtype if dtype is None else dtype
        return jax.random.uniform(key, sites, dtype, -math.pi, math.pi)

    def identity(self, sites: tuple[int, ...], dtype: Any = None) -> Array:
        return jnp.zeros(sites, self.default_dtype if dtype is None else dtype)

    def mul(self, a: Array, b: Array) -> Array:
        return a + b

    def adjoint(self, a: Array) -> Array:
        return -a

    def re_trace(self, a: Array) -> Array:
        return jnp.cos(a)

    def overlap(self, a: Array, b: Array) -> Array:
        return jnp.cos(a - b)

    def exp(self, v: Array) -> Array:
        return v

    def log(self, a: Array) -> Array:
        """Return the angle in [−π, π)."""
        return wrap(a)

    def project(self, a: Array) -> Array:
        return wrap(a)

    def pta(self, m: Array) -> Array:
        return m

    def inner(self, u: Array, v: Array) -> Scalar:
        return jnp.sum(u * v)

    def left_gradient(self, a: Array, g: Array) -> Array:
        return g

    def coordinates(self, v: Array) -> Array:
        return v[None]

    def algebra(self, c: Array) -> Array:
        return c[0]
