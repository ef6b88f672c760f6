r"""SU(N) as fields of matrices (N, N, \*sites): the generic forms, and SU(2) in closed form.

Conventions (basis, inner product, projection, left derivative) are those of `groups.py`. The
generic exponential is scaling and squaring of a Taylor polynomial with a FIXED number of
squarings: no special cases at degenerate eigenvalues, and derivatives of every order.
"""

import math
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pushforward._fields import integer
from pushforward._typing import Array, PRNGKey, Scalar

from .groups import AbstractGroup


class AbstractMatrixGroup(AbstractGroup):
    """SU(N) as complex matrices: all that does not depend on how the exponential is computed."""

    @property
    def dim(self) -> int:
        return self.n**2 - 1

    @property
    def matrix(self) -> tuple[int, ...]:
        return (self.n, self.n)

    @property
    def default_dtype(self) -> Any:
        return jnp.result_type(complex)

    @property
    def basis(self) -> np.ndarray:
        """T_a, shape (dim, N, N), complex; see `gell_mann`."""
        return 0.5j * gell_mann(self.n)

    def identity(self, sites: tuple[int, ...], dtype: Any = None) -> Array:
        one = jnp.eye(self.n, dtype=self.default_dtype if dtype is None else dtype)
        return jnp.broadcast_to(
            one.reshape(self.n, self.n, *[1] * len(sites)), (*one.shape, *sites)
        )

    def mul(self, a: Array, b: Array) -> Array:
        """Return the matrix product at every site (no einsum: ten times slower there)."""
        return (a[:, :, None] * b[None]).sum(1)

    def adjoint(self, a: Array) -> Array:
        return jnp.conj(jnp.swapaxes(a, 0, 1))

    def re_trace(self, a: Array) -> Array:
        return jnp.trace(a).real

    def overlap(self, a: Array, b: Array) -> Array:
        return (a.real * b.real + a.imag * b.imag).sum((0, 1))

    def pta(self, m: Array) -> Array:
        m = 0.5 * (m - self.adjoint(m))
        return m - self.identity(m.shape[2:], m.dtype) * (jnp.trace(m) / self.n)[None, None]

    def inner(self, u: Array, v: Array) -> Scalar:
        return 2 * jnp.sum(u.real * v.real + u.imag * v.imag)

    def left_gradient(self, a: Array, g: Array) -> Array:
        """Return −½ P_TA(U gᵀ), g = ∂f/∂Re U − i ∂f/∂Im U."""
        return -0.5 * self.pta(self.mul(a, jnp.swapaxes(g, 0, 1)))

    def coordinates(self, v: Array) -> Array:
        basis = jnp.asarray(self.basis.swapaxes(1, 2), v.dtype)
        return -2 * jnp.tensordot(basis, v, 2).real

    def algebra(self, c: Array) -> Array:
        c = jax.lax.complex(c, jnp.zeros_like(c))
        return jnp.tensordot(jnp.asarray(self.basis.transpose(1, 2, 0), c.dtype), c, 1)


class SU2(AbstractMatrixGroup):
    """SU(2) in closed form: X = i n·σ, |n| = r, e^X = cos r + (sin r / r) X."""

    n: int = eqx.field(static=True, default=2, init=False)

    def haar(self, sites: tuple[int, ...], *, key: PRNGKey, dtype: Any = None) -> Array:
        dtype = self.default_dtype if dtype is None else dtype
        a, b = jax.random.normal(key, (2, *sites), dtype)
        return self.project(_quaternion(a, b))

    def exp(self, v: Array) -> Array:
        """Return cos r + (sin r / r) X; a series below r = .01, good to all derivatives."""
        r2 = _abs2(v[0, 0]) + _abs2(v[0, 1])
        small = r2 < 1e-4
        r = jnp.sqrt(jnp.where(small, 1, r2))
        cos = jnp.where(small, 1 - r2 / 2 + r2**2 / 24 - r2**3 / 720, jnp.cos(r))
        sinc = jnp.where(small, 1 - r2 / 6 + r2**2 / 120 - r2**3 / 5040, jnp.sin(r) / r)
        a = jax.lax.complex(cos, sinc * v[0, 0].imag)
        return _quaternion(a, sinc.astype(v.dtype) * v[0, 1])

    def log(self, a: Array) -> Array:
        """Return X with e^X = U, |n| ≤ π; at U = −1, where the axis is arbitrary, axis 3."""
        x, y = a[0, 0], a[0, 1]
        s2 = x.imag**2 + _abs2(y)
        turned = (s2 == 0) & (x.real < 0)
        s = jnp.sqrt(jnp.where(s2 == 0, 1, s2))
        ratio = jnp.where(s2 == 0, 1, jnp.arctan2(s, x.real) / s)
        n3 = jnp.where(turned, math.pi, ratio * x.imag)
        zero = jnp.zeros_like(n3)
        return _quaternion(jax.lax.complex(zero, n3), ratio.astype(a.dtype) * y)

    def project(self, a: Array) -> Array:
        x, y = 0.5 * (a[0, 0] + a[1, 1].conj()), 0.5 * (a[0, 1] - a[1, 0].conj())
        norm = jax.lax.rsqrt(_abs2(x) + _abs2(y)).astype(a.dtype)
        return _quaternion(norm * x, norm * y)


class SUN(AbstractMatrixGroup):
    """SU(N) for any N = `n` ≥ 2, without special cases."""

    n: int = integer(least=2, hint="for U(1) write U1()")

    def haar(self, sites: tuple[int, ...], *, key: PRNGKey, dtype: Any = None) -> Array:
        """Draw by QR: columns times the phases of diag R, divided by det^{1/N}.

        Without those phases the law is not Haar: ⟨|tr U|²⟩ = 1.62 for SU(3) instead of 1.
        F. Mezzadri, *How to generate random matrices*, math-ph/0609050.
        """
        dtype = self.default_dtype if dtype is None else dtype
        q, r = jnp.linalg.qr(jax.random.normal(key, (*sites, self.n, self.n), dtype))
        q = q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
        return self._unimodular(jnp.moveaxis(q, (-2, -1), (0, 1)))

    def exp(self, v: Array) -> Array:
        """Return (T_12(X/64))^64, T_12 the Taylor polynomial: 1e-14 up to |X| = 16."""
        x = v / 64
        x2 = self.mul(x, x)
        x3, x4 = self.mul(x2, x), self.mul(x2, x2)
        one = self.identity(v.shape[2:], v.dtype)
        block = [
            sum((p / math.factorial(k + j) for j, p in enumerate((x, x2, x3), 1)),
                start=one / math.factorial(k))
            for k in (0, 4, 8)
        ]  # fmt: skip
        e = block[2] + x4 / math.factorial(12)
        e = block[0] + self.mul(x4, block[1] + self.mul(x4, e))
        return jax.lax.fori_loop(0, 6, lambda _, u: self.mul(u, u), e)

    def project(self, a: Array) -> Array:
        """Return the polar factor by four Newton–Schulz steps Y(3 − Y⁺Y)/2, over det^{1/N}."""
        for _ in range(4):
            a = 1.5 * a - 0.5 * self.mul(a, self.mul(self.adjoint(a), a))
        return self._unimodular(a)

    def _unimodular(self, u: Array) -> Array:
        det = jnp.linalg.det(jnp.moveaxis(u, (0, 1), (-2, -1)))
        phase = -jnp.angle(det) / self.n
        return u * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))[None, None]


@lru_cache
def gell_mann(n: int) -> np.ndarray:
    """Return the generalised Gell-Mann matrices λ_a, (N² − 1, N, N), tr λ_a λ_b = 2 δ_ab.

    For j < k in lexicographic order the symmetric, then the antisymmetric matrix of the pair; then
    the diagonal ones √(2/(l(l+1))) diag(1, .., 1, −l, 0, ..), l = 1 .. N−1.
    """
    unit = np.eye(n, dtype=complex)
    found = []
    for j in range(n):
        for k in range(j + 1, n):
            up, down = np.outer(unit[j], unit[k]), np.outer(unit[k], unit[j])
            found += [up + down, -1j * up + 1j * down]
    for level in range(1, n):
        diagonal = np.r_[np.ones(level), -level, np.zeros(n - level - 1)]
        found.append(np.diag(np.sqrt(2 / (level * (level + 1))) * diagonal).astype(complex))
    return np.array(found)


def _abs2(z: Array) -> Array:
    return z.real**2 + z.imag**2


def _quaternion(a: Array, b: Array) -> Array:
    """Return [[a, b], [−b^*, a^*]]."""
    return jnp.stack([jnp.stack([a, b]), jnp.stack([-b.conj(), a.conj()])])
