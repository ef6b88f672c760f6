r"""Periodic lattices: geometry without physics, and the fields that live on links and sites.

Sites are the LAST d axes of every array, so f(x + μ) is one `roll`. Links of SU(N) have the shape
(d, N, N, \*L) complex, those of U(1) are angles (d, \*L). A link field moves on the left,
U → e^{v} U, so momenta and gradients are elements of the algebra and HMC, Langevin and flows are
the ones of R^n. Real fields on sites live in `Euclidean(lattice.shape)`.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward._tree import concrete
from pushforward._typing import Array, PRNGKey, Scalar

from .base import AbstractManifold, check_shape, extents
from .groups import AbstractGroup


class Lattice(eqx.Module):
    """A periodic lattice of one to four directions, of extents `shape` such as `(8, 8)`."""

    shape: tuple[int, ...] = eqx.field(static=True, converter=lambda s: extents(s, least=1, most=4))

    @property
    def ndim(self) -> int:
        """Number of directions d."""
        return len(self.shape)

    @property
    def volume(self) -> int:
        """Number of sites V."""
        return math.prod(self.shape)

    @property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """The pairs (μ, ν), μ < ν, in lexicographic order."""
        return tuple((m, n) for m in range(self.ndim) for n in range(m + 1, self.ndim))

    @property
    def coordinates(self) -> np.ndarray:
        """The integer coordinates x_μ of every site, (d, *L)."""
        return np.indices(self.shape)

    @property
    def parity(self) -> np.ndarray:
        """Σ_μ x_μ mod 2, the colours of a checkerboard (every extent must be even for it)."""
        odd = [(mu, extent) for mu, extent in enumerate(self.shape) if extent % 2]
        if odd:
            mu, extent = odd[0]
            raise InputError(f"extent {extent} along {mu} is odd; a checkerboard needs even ones")
        return self.coordinates.sum(0) % 2

    def direction_parity(self, mu: int, parity: int) -> np.ndarray:
        """Return the links (x, μ) with Σx of the given parity, (d, *L): one a plaquette at most."""
        if not 0 <= mu < self.ndim or parity not in (0, 1):
            raise InputError(
                f"got direction {mu} and parity {parity}, expected a direction below {self.ndim} "
                "and a parity 0 or 1"
            )
        mask = np.zeros((self.ndim, *self.shape), bool)
        mask[mu] = self.parity == parity
        return mask

    def check_mask(self, mask: np.ndarray) -> None:
        """Raise `InputError` if a plaquette holds two active links: not all staples are frozen."""
        if np.shape(mask) != (self.ndim, *self.shape):
            raise InputError(
                f"the mask has shape {np.shape(mask)}, expected links {(self.ndim, *self.shape)}"
            )
        active = np.asarray(mask).astype(int)
        for mu, nu in self.planes:
            sides = active[mu] + np.roll(active[nu], -1, mu) + np.roll(active[mu], -1, nu)
            count = sides + active[nu]
            if (count > 1).any():
                site = tuple(int(k) for k in np.argwhere(count > 1)[0])
                raise InputError(
                    f"the plaquette {(mu, nu)} at {site} holds {count.max()} active links, "
                    "expected one at most: lattice.direction_parity(mu, parity)"
                )

    def shift(self, field: Array, mu: int, steps: int = 1) -> Array:
        """Return f(x + steps·μ) at x; the sites are the last d axes."""
        return jnp.roll(field, -steps, mu - self.ndim)


class LinkSpace(AbstractManifold):
    r"""Elements of `U1()`, `SU2()` or `SUN(n)` on links: (d, \*matrix, \*L), moved on the left."""

    group: AbstractGroup
    lattice: Lattice

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ONE sample."""
        return (self.lattice.ndim, *self.group.matrix, *self.lattice.shape)

    @property
    def dim(self) -> int:
        """Number of real coordinates, d V dim(group)."""
        return self.lattice.ndim * self.lattice.volume * self.group.dim

    def reference(self, *, key: PRNGKey) -> Array:
        keys = jax.random.split(key, self.lattice.ndim)
        return jax.vmap(lambda k: self.group.haar(self.lattice.shape, key=k))(keys)

    def check(self, x: Array, what: str = "x") -> None:
        dtype = jnp.result_type(x)
        kind = jnp.floating if self.group.matrix == () else jnp.complexfloating
        if not jnp.issubdtype(dtype, kind):
            hint = "jnp.angle" if self.group.matrix == () else "jnp.complex128"
            expected = "real angles" if self.group.matrix == () else "complex matrices"
            raise InputError(f"{what} has dtype {dtype}, expected {expected}: write {hint}({what})")
        check_shape(x, self.shape, what, "(d, *matrix, *L) = ")
        known = concrete(x)
        if known is None or self.group.matrix == ():
            return
        off = np.abs(np.asarray(self.project(jnp.asarray(known))) - known).max()
        if not off < 1e-4:
            raise InputError(
                f"{what} is {off:.2g} off the group, expected 1e-4 at most: project first, "
                "space.project(U)"
            )

    def noise(self, x: Array, *, key: PRNGKey) -> Array:
        keys = jax.random.split(key, self.lattice.ndim)
        return jax.vmap(lambda u, k: self.group.algebra_noise(u, key=k))(x, keys)

    def retract(self, x: Array, v: Array) -> Array:
        return jax.vmap(lambda u, w: self.group.mul(self.group.exp(w), u))(x, v)

    def inner(self, u: Array, v: Array) -> Scalar:
        return jnp.sum(jax.vmap(self.group.inner)(u, v))

    def gradient(self, f: Callable[[Array], Any], x: Array, *, has_aux: bool = False) -> Any:
        """Return Σ_a T_a ∂_a f on every link, or (it, aux) when f returns (value, aux)."""
        g = jax.grad(f, has_aux=has_aux)(x)
        g, aux = g if has_aux else (g, None)
        g = jax.vmap(self.group.left_gradient)(x, g)
        return (g, aux) if has_aux else g

    def divergence(
        self, b: Callable[[Array], Array], x: Array, *, key: PRNGKey | None = None
    ) -> Scalar:
        """Return Σ_{links, a} ∂_a b_a, or one Hutchinson probe ⟨v, ∂_v b⟩ when a key is given."""
        if key is not None:
            v = self.noise(x, key=key)
            along = jax.jvp(lambda w: b(self.retract(x, w)), (jnp.zeros_like(v),), (v,))[1]
            return self.inner(v, along)
        start = jax.vmap(self.group.coordinates)(jnp.zeros_like(x))

        def flat_field(c: Array) -> Array:
            moved = self.retract(x, jax.vmap(self.group.algebra)(c.reshape(start.shape)))
            return jnp.ravel(jax.vmap(self.group.coordinates)(b(moved)))

        return jnp.trace(jax.jacfwd(flat_field)(jnp.ravel(start)))

    def project(self, x: Array) -> Array:
        return jax.vmap(self.group.project)(x)
