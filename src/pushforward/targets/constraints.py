r"""Bounded parameters as smooth images of R^n: positive, bounded, simplex, triangular, named.

A constraint is a bijection y = f(x) from R^dim to the allowed values. The choice of f changes how
hard a posterior is to sample, never its evidence, so these are the elementary ones. `Parameters`
names the pieces of a parameter vector, in the order written.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward._fields import integer
from pushforward._tree import concrete, scalar
from pushforward._typing import Array, Float, Scalar
from pushforward.spaces import AbstractBijection, extents


class AbstractConstraint(AbstractBijection):
    """A smooth bijection from R^dim to the set of allowed values."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of free coordinates."""


class AbstractElementwise(AbstractConstraint):
    """A constraint of every entry of an array by itself."""

    shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    def dim(self) -> int:
        return math.prod(self.shape)


class Real(AbstractElementwise):
    """All real arrays of one shape: the identity. `Real()` is a number, `Real(8)` a vector."""

    shape: tuple[int, ...] = eqx.field(static=True, default=(), converter=extents)

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        return x.reshape(self.shape), jnp.zeros((), x.dtype)

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        y = _value(y, self.shape, self)
        return y.ravel(), jnp.zeros((), y.dtype)


class Positive(AbstractElementwise):
    r"""Positive arrays: y = e^x, log|det| = Σ x.

    The exponential, not softplus: softplus is linear at large x and would hand a heavy tail, such
    as a half-Cauchy's, unchanged to a Gaussian base (weights of infinite variance); in log y every
    power law becomes an exponential tail.
    """

    shape: tuple[int, ...] = eqx.field(static=True, default=(), converter=extents)

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        return jnp.exp(x).reshape(self.shape), jnp.sum(x)

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        x = jnp.log(_value(y, self.shape, self)).ravel()
        return x, -jnp.sum(x)


class Bounded(AbstractElementwise):
    r"""Arrays between two bounds: y = a + (b − a) σ(x), σ the logistic function.

    Parameters
    ----------
    lower, upper
        Bounds a < b; numbers, or arrays of `shape`.
    shape
        Shape of the value.
    """

    lower: Float[Array, "..."] = eqx.field(converter=scalar)
    upper: Float[Array, "..."] = eqx.field(converter=scalar)
    shape: tuple[int, ...] = eqx.field(static=True, default=(), converter=extents)

    def __check_init__(self):
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if bound.shape not in ((), self.shape):
                raise InputError(
                    f"{name} has shape {bound.shape}, expected a number or shape {self.shape}: "
                    f"write Bounded(lower, upper, shape={bound.shape})"
                )
        width = concrete(self.upper - self.lower)
        if width is not None and not ((width > 0) & (width < np.inf)).all():
            raise InputError(
                f"expected finite lower < upper, got {self.lower} and {self.upper} "
                "(for a half line write Positive() and shift it)"
            )

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        """Return (a + (b − a) σ(x), Σ log (b − a) σ(x) σ(−x))."""
        x = x.reshape(self.shape)
        width = self.upper - self.lower
        slope = jnp.log(width) + jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)
        return self.lower + width * jax.nn.sigmoid(x), jnp.sum(slope)

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        """Return (log (y − a)/(b − y), minus the log-determinant there)."""
        y = _value(y, self.shape, self)
        x = (jnp.log(y - self.lower) - jnp.log(self.upper - y)).ravel()
        return x, -self.forward(x)[1]


class Simplex(AbstractConstraint):
    r"""Positive vectors of n entries that sum to one, by stick breaking.

    The k-th break (k = 0 … n−2) takes the fraction z_k = σ(x_k − log(n − 1 − k)) of what remains,
    so that x = 0 is the uniform vector. The determinant is with respect to the first n − 1
    entries, log|det| = Σ_k [ log z_k + log(1 − z_k) + log remainder_k ]; all in logarithms.

    Parameters
    ----------
    size
        Number of entries n ≥ 2; n − 1 coordinates are free.
    """

    size: int = integer(least=2)

    @property
    def dim(self) -> int:
        return self.size - 1

    def _offset(self, dtype: Any) -> Array:
        return jnp.asarray(np.log(np.arange(self.size - 1, 0, -1.0)), dtype)

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        x = x - self._offset(x.dtype)
        taken, left = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
        remainder = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.cumsum(left)])
        log_y = remainder + jnp.concatenate([taken, jnp.zeros(1, x.dtype)])
        return jnp.exp(log_y), jnp.sum(taken + left + remainder[:-1])

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        y = _value(y, (self.size,), self)
        after = jnp.cumsum(y[::-1])[::-1][1:]  # summed from the end: nothing cancels
        x = jnp.log(y[:-1]) - jnp.log(after) + self._offset(y.dtype)
        return x, -self.forward(x)[1]


class LowerTriangular(AbstractConstraint):
    r"""Lower triangular n × n matrices with positive diagonal: Cholesky factors.

    L_ii = e^{x_ii}, the entries below are free: log|det| = Σ_i x_ii, with respect to the entries of
    L. A density of Σ = L Lᵀ becomes one of L with the factor 2^n Π_i L_ii^{n−i}, i = 0 … n−1.

    Parameters
    ----------
    size
        Number of rows n; n(n+1)/2 coordinates are free, row by row.
    """

    size: int = integer(least=1)

    @property
    def dim(self) -> int:
        return self.size * (self.size + 1) // 2

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        rows, columns = np.tril_indices(self.size)
        matrix = jnp.zeros((self.size, self.size), x.dtype).at[rows, columns].set(x)
        diagonal = jnp.diagonal(matrix)
        steps = np.arange(self.size)
        return matrix.at[steps, steps].set(jnp.exp(diagonal)), jnp.sum(diagonal)

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        y = _value(y, (self.size, self.size), self)
        steps, log_diagonal = np.arange(self.size), jnp.log(jnp.diagonal(y))
        x = y.at[steps, steps].set(log_diagonal)[np.tril_indices(self.size)]
        return x, -jnp.sum(log_diagonal)


class Parameters(AbstractConstraint):
    r"""Named parameters side by side: y is a dictionary, log-determinants add.

    Parameters
    ----------
    parts
        Names and constraints, such as
        `{"mu": Real(), "tau": Positive(), "theta": Real(8)}`: coordinate 0 is mu, coordinate 1
        log tau, coordinates 2 to 9 theta. May be nested.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    parts: tuple[AbstractConstraint, ...]

    def __init__(self, parts: Mapping[str, AbstractConstraint]):
        if not parts:
            raise InputError('no parameters: write Parameters({"mu": Real(), "tau": Positive()})')
        for name, part in parts.items():
            if not isinstance(part, AbstractConstraint):
                hint = f"{part.__name__}()" if isinstance(part, type) else "Real()"
                raise InputError(
                    f"parameter {name!r} is {part!r}, expected a constraint such as {hint}"
                )
        self.names, self.parts = tuple(parts), tuple(parts.values())

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    def forward(self, x: Array) -> tuple[dict[str, Any], Scalar]:
        ends = list(accumulate(part.dim for part in self.parts))
        pieces = [
            part.forward(x[end - part.dim : end])
            for part, end in zip(self.parts, ends, strict=True)
        ]
        values = {name: y for name, (y, _) in zip(self.names, pieces, strict=True)}
        return values, _sum([log_det for _, log_det in pieces])

    def inverse(self, y: Mapping[str, Any]) -> tuple[Array, Scalar]:
        if set(y) != set(self.names):
            raise InputError(f"got parameters {sorted(y)}, expected {sorted(self.names)}")
        pieces = [part.inverse(y[name]) for name, part in zip(self.names, self.parts, strict=True)]
        return jnp.concatenate([x for x, _ in pieces]), _sum([log_det for _, log_det in pieces])


def _sum(values: list[Array]) -> Array:
    return sum(values[1:], start=values[0])


def _value(y: Any, shape: tuple[int, ...], constraint: AbstractConstraint) -> Array:
    y = scalar(y)
    if y.shape != shape:
        raise InputError(
            f"a value of {type(constraint).__name__} has shape {y.shape}, expected {shape}"
        )
    return y
