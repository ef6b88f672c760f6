r"""Finite spaces: D sites with q values each, and the moves that change one site.

A jump process needs three things of its space: the array of one-site moves (a rate, an energy
difference for each), the point a move leads to, and the law of a site redrawn given all others.
`Spins` has one move a site, so the array has the shape of x; with q > 2 values it is (q, *shape).
States are numbered 0 .. q^D − 1 in base q, the first site the lowest digit.
"""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward._tree import concrete
from pushforward._typing import Array, Count, Float, Int, PRNGKey, Scalar

from .base import AbstractSpace, check_shape, extents

LARGEST_ENUMERATION = 2**20


class AbstractFiniteSpace(AbstractSpace):
    """Arrays of one shape whose entries take `num_states` values; the uniform measure."""

    shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abstractmethod
    def num_states(self) -> int:
        """Number of values q of a site."""

    @property
    @abstractmethod
    def moves_shape(self) -> tuple[int, ...]:
        """Shape of an array with one entry a one-site move."""

    @abstractmethod
    def value(self, label: Int[Array, "..."]) -> Array:
        """Return the values with labels 0 .. q − 1."""

    @abstractmethod
    def label(self, x: Array) -> Int[Array, "..."]:
        """Return the labels 0 .. q − 1 of values."""

    @abstractmethod
    def alternatives(self, x: Array) -> Int[Array, "..."]:
        """Return the label that each move gives its site, of shape `moves_shape`."""

    @abstractmethod
    def move(self, x: Array, k: Count) -> Array:
        """Return x after move k, an index into the flattened array of moves."""

    @abstractmethod
    def redraw(self, x: Array, differences: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return the heat-bath law: Pr(move) = e^{−ΔU}/Σ_τ e^{−ΔU(τ)} when a site is redrawn."""

    @abstractmethod
    def leap(
        self, x: Array, rates: Float[Array, "..."], time: Scalar, *, key: PRNGKey
    ) -> tuple[Array, Array, Array]:
        """Let every site jump by itself; return (x', Pr(leave) = 1 − e^{−R_i time}, who left)."""

    @property
    def size(self) -> int:
        """Number of sites D."""
        return math.prod(self.shape)

    def replace(self, x: Array, site: Count, value: Array) -> Array:
        """Return x with the entry at a flat site index set to `value`."""
        return jnp.ravel(x).at[site].set(value).reshape(x.shape)

    def state(self, k: Int[Array, ""]) -> Array:
        """Return state number k."""
        powers = jnp.asarray(self.num_states ** np.arange(self.size), k.dtype)
        return self.value((k // powers) % self.num_states).reshape(self.shape)

    def reference(self, *, key: PRNGKey) -> Array:
        return self.value(jax.random.randint(key, self.shape, 0, self.num_states))


class Spins(AbstractFiniteSpace):
    """Arrays of ±1, floats of JAX's default precision; a move flips one site.

    `shape` is that of ONE configuration, such as `(8, 8)`; an integer n means `(n,)`.
    """

    shape: tuple[int, ...] = eqx.field(static=True, converter=lambda s: extents(s, least=1))

    @property
    def num_states(self) -> int:
        return 2

    @property
    def moves_shape(self) -> tuple[int, ...]:
        return self.shape

    def value(self, label: Int[Array, "..."]) -> Array:
        return (2 * label - 1).astype(jnp.result_type(float))

    def label(self, x: Array) -> Int[Array, "..."]:
        return (x > 0).astype(jnp.int32)

    def alternatives(self, x: Array) -> Int[Array, "..."]:
        return 1 - self.label(x)

    def move(self, x: Array, k: Count) -> Array:
        return self.replace(x, k, -jnp.ravel(x)[k])

    def redraw(self, x: Array, differences: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return 1/(1 + e^{ΔU})."""
        return jax.nn.sigmoid(-differences)

    def leap(
        self, x: Array, rates: Float[Array, "..."], time: Scalar, *, key: PRNGKey
    ) -> tuple[Array, Array, Array]:
        probability = -jnp.expm1(-rates * time)
        flips = jax.random.uniform(key, x.shape, rates.dtype) < probability
        return jnp.where(flips, -x, x), probability, flips

    def check(self, x: Array, what: str = "x") -> None:
        dtype = jnp.result_type(x)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(
                f"{what} has dtype {dtype}, expected floats that are ±1: write "
                f"{what}.astype(float), with values in {{-1., 1.}}"
            )
        check_shape(x, self.shape, what)
        known = concrete(x)
        if known is not None and (bad := known[np.abs(known) != 1]).size:
            raise InputError(
                f"{what} holds {bad.flat[0]}, expected spins ±1 (they are never rounded): from 0 "
                f"and 1 write 2 * {what} - 1"
            )


def all_states(space: AbstractFiniteSpace) -> Array:
    """Return every state, leading axis q^D in the order of `space.state`; at most 2^20 of them."""
    num = count_states(space)
    return jax.jit(jax.vmap(space.state))(jnp.arange(num, dtype=jnp.int32))


def count_states(space: AbstractFiniteSpace) -> int:
    """Return q^D, or raise `InputError` above 2^20."""
    num = space.num_states**space.size
    if num > LARGEST_ENUMERATION:
        raise InputError(
            f"{space} has {space.num_states}^{space.size} = {num:.3g} states, "
            f"{num * space.size * 8 / 1e9:.3g} GB of them: enumeration goes up to 2^20; take a "
            "smaller lattice, or an exact formula such as targets.exact.kaufman_log_z"
        )
    return num
