"""Energies made of a user's function, and what is checked about it.

`from_log_density` makes the kind of energy that fits the space, and checks it at eight points of
the reference measure before any chain starts.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from pushforward._errors import InputError
from pushforward._typing import Array, Float, Scalar, V, X
from pushforward.spaces import AbstractFiniteSpace, AbstractManifold, AbstractSpace, Euclidean

from .base import AbstractEnergy, AbstractFiniteEnergy, energy_terms, gradient_and_terms


class Energy(AbstractEnergy):
    """A user's energy: any callable `fn`, x -> U(x), of ONE sample of `space`, traceable by JAX."""

    fn: Callable[[X], Scalar]
    space: AbstractSpace

    def __init__(self, fn: Callable[[X], Scalar], space: AbstractSpace):
        self.fn, self.space = fn, space

    def __call__(self, x: X) -> Scalar:
        return self.fn(x)


class FiniteEnergy(AbstractFiniteEnergy):
    """A user's energy `fn`, x -> U(x), on a finite `space`; differences cost a call a move."""

    fn: Callable[[X], Scalar]
    space: AbstractFiniteSpace

    def __init__(self, fn: Callable[[X], Scalar], space: AbstractFiniteSpace):
        if not isinstance(space, AbstractFiniteSpace):
            raise InputError(
                f"FiniteEnergy got {space}, expected a finite space such as Spins((8, 8)): on a "
                "manifold write Energy(fn, space)"
            )
        self.fn, self.space = fn, space

    def terms(self, x: X) -> Float[Array, "..."]:
        """Return U at the first site and 0 elsewhere: a function is not split into sites."""
        energy = self.fn(x)
        return jnp.zeros(self.space.size, energy.dtype).at[0].set(energy).reshape(self.space.shape)

    def local_differences(self, x: X) -> Float[Array, "..."]:
        shape = self.space.moves_shape
        moves = jnp.arange(math.prod(shape), dtype=jnp.int32)
        energies = jax.vmap(lambda k: self.fn(self.space.move(x, k)))(moves)
        return energies.reshape(shape) - self.fn(x)


class Negated(eqx.Module):
    """x -> −log_density(x), of the pytree that `unravel` makes of a vector."""

    log_density: Callable[[X], Scalar]
    unravel: Callable[[Array], X] | None = eqx.field(static=True, default=None)

    def __call__(self, x: Array) -> Scalar:
        return -self.log_density(x if self.unravel is None else self.unravel(x))


def from_log_density(
    log_density: Callable[[X], Scalar],
    dim: int | None = None,
    *,
    space: AbstractSpace | None = None,
    example: X = None,
) -> "Energy | FiniteEnergy":
    """Make an energy U = −log density from a JAX callable, and check it at eight points.

    Parameters
    ----------
    log_density
        Unnormalised log density of ONE sample; returns a real scalar.
    dim
        Number of coordinates when a sample is a vector. Give exactly one of dim, space, example.
    space
        The space of a sample otherwise, such as `Spins((8, 8))`.
    example
        A pytree of real arrays shaped like a sample: the energy then lives on its ravelled vector,
        and `log_density` still receives the pytree.
    """
    if (dim is not None) + (space is not None) + (example is not None) != 1:
        raise InputError(
            "give exactly one of dim, space, example: from_log_density(log_density, dim=2)"
        )
    unravel = None
    if example is not None:
        flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, example))
        dim = flat.size
    if dim is not None:
        space = Euclidean((int(dim),))
    assert space is not None
    negative = Negated(log_density, unravel)
    finite = isinstance(space, AbstractFiniteSpace)
    energy = FiniteEnergy(negative, space) if finite else Energy(negative, space)
    check_energy(energy)
    return energy


def check_energy(energy: AbstractEnergy, num: int = 8) -> None:
    """Raise `InputError` unless U is a real scalar, finite with its gradient where it is not +inf.

    The points are `num` draws of the reference measure of the energy's space. U = +inf is legal
    (a hard wall), but not at all of them.
    """
    space = energy.space
    keys = jax.random.split(jax.random.key(0), num)
    points = jax.vmap(lambda k: space.reference(key=k))(keys)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), points)
    _check_scalar(energy, one)
    smooth = isinstance(space, AbstractManifold)

    def look(x: X) -> tuple[V, Array]:
        return gradient_and_terms(energy, x) if smooth else ((), energy_terms(energy, x))

    gradients, terms = jax.jit(jax.vmap(look))(points)
    values = np.asarray(terms).reshape(num, -1).sum(1)
    bad = np.isnan(values) | (values == -np.inf)
    if bad.any() or np.all(values == np.inf):
        k = int(np.argmax(bad)) if bad.any() else 0
        raise InputError(
            f"the energy is {values[k]} at {int(bad.sum()) or num} of {num} points of the "
            f"reference measure, the first at x = {_first(points, k)}: expected finite values "
            "(+inf is allowed outside the support, not everywhere)"
        )
    if not smooth:
        return
    finite = jax.vmap(lambda g: jnp.all(jnp.array([jnp.all(jnp.isfinite(v)) for v in g])))(
        jax.tree.leaves(gradients)
    )
    broken = ~np.asarray(finite) & np.isfinite(values)
    if broken.any():
        k = int(np.argmax(broken))
        raise InputError(
            f"the gradient of the energy is not finite at x = {_first(points, k)}, where "
            f"U = {values[k]}: a `where` whose unchosen branch is NaN? Make both branches finite"
        )


def _check_scalar(energy: AbstractEnergy, one: X) -> None:
    """Refuse an energy that JAX cannot trace or that returns no real scalar."""
    try:
        out = jax.eval_shape(energy, one)
    except jax.errors.TracerArrayConversionError as error:
        raise InputError(
            "the energy calls NumPy (or another library) on a traced array. Write it with "
            "jax.numpy: `import jax.numpy as jnp` and jnp.exp(x) instead of np.exp(x)"
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise InputError(
            "the energy needs the value of a traced array (an `if` or `float(...)` on x). Write "
            "jnp.where(condition, a, b) instead of `if`, and no float()"
        ) from error
    shape, dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    if shape is None:
        raise InputError(f"the energy returned {out!r}, expected a real scalar array")
    if shape != ():
        raise InputError(
            f"the energy of ONE sample {_describe(one)} returned shape {shape}, expected a scalar "
            "(): energies see one sample, vmap is applied for you; sum over the coordinates, as "
            "in jnp.sum(log_density)"
        )
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"the energy returned dtype {dtype}, expected a real floating dtype")


def _first(points: X, k: int) -> str:
    leaf = np.asarray(jax.tree.leaves(points)[0][k])
    return np.array2string(leaf, precision=4, threshold=8)


def _describe(one: X) -> str:
    return ", ".join(f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(one))
