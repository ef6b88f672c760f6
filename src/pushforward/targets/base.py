r"""What we want: energies, U = −log density + const.

Three kinds, each knowing more than the last:

- `AbstractEnergy`: U(x), nothing else. `from_log_density` makes one from any JAX callable.
- `AbstractLocalEnergy`: U is a sum of local `terms`, so differences are summed term by term and
  a float32 lattice of 10⁴ sites keeps its log-weights (law 5).
- `AbstractDistribution`: normalised (log Z = 0) and exactly sampleable: a base.

An energy is also the constant path: `energy.at(t)` is itself, so every kernel asks `path.at(t)`.
`mix` adds energies with weights and keeps what all of them know.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from pushforward._errors import InputError
from pushforward._tree import compensated_sum
from pushforward._typing import Array, Float, PRNGKey, Scalar, V, X
from pushforward.spaces import AbstractManifold, Euclidean


class AbstractEnergy(eqx.Module):
    """An unnormalised density e^{−U} on a space. Called with ONE sample, returns a scalar."""

    space: eqx.AbstractVar[AbstractManifold]

    @abstractmethod
    def __call__(self, x: X) -> Scalar:
        """Return U(x)."""

    def at(self, t: Any) -> "AbstractEnergy":
        """Return the energy at time t: an energy is the constant path."""
        return self


class AbstractLocalEnergy(AbstractEnergy):
    """An energy that is a sum of local terms."""

    @abstractmethod
    def terms(self, x: X) -> Float[Array, "..."]:
        """Return the array of terms whose sum is U(x)."""

    def __call__(self, x: X) -> Scalar:
        """Return U(x), summed with compensation in float32."""
        return compensated_sum(self.terms(x))


class AbstractDistribution(AbstractEnergy):
    """A normalised energy that can be sampled exactly: log density = −U."""

    @abstractmethod
    def sample(self, *, key: PRNGKey) -> X:
        """Draw one exact sample."""

    def log_prob(self, x: X) -> Scalar:
        """Return the normalised log density −U(x)."""
        return -self(x)


class Energy(AbstractEnergy):
    """A user's energy: any callable x -> U(x), traceable by JAX.

    Parameters
    ----------
    fn
        Energy of one sample; a scalar.
    space
        Where the sample lives.
    """

    fn: Callable[[X], Scalar]
    space: AbstractManifold

    def __init__(self, fn: Callable[[X], Scalar], space: AbstractManifold):
        self.fn, self.space = fn, space

    def __call__(self, x: X) -> Scalar:
        """Return U(x)."""
        return self.fn(x)


class _Negative(eqx.Module):
    log_density: Callable[[X], Scalar]
    unravel: Callable[[Array], X] | None = eqx.field(static=True, default=None)

    def __call__(self, x: Array) -> Scalar:
        return -self.log_density(x if self.unravel is None else self.unravel(x))


def from_log_density(
    log_density: Callable[[X], Scalar],
    dim: int | None = None,
    *,
    space: AbstractManifold | None = None,
    example: X = None,
) -> Energy:
    """Make an energy U = −log density from a JAX callable, and check it at eight points.

    Parameters
    ----------
    log_density
        Unnormalised log density of ONE sample; returns a real scalar.
    dim
        Number of coordinates when a sample is a vector. Give exactly one of dim, space, example.
    space
        The space of a sample otherwise.
    example
        A pytree of real arrays shaped like a sample: the energy then lives on its ravelled vector,
        and `log_density` still receives the pytree.

    Raises
    ------
    InputError
        The function is not traceable, not scalar, complex, or NaN at points of the reference.
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
    energy = Energy(_Negative(log_density, unravel), space)
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
    gradients, terms = jax.jit(jax.vmap(lambda x: _gradient_and_terms(energy, x)))(points)
    values = np.asarray(terms).reshape(num, -1).sum(1)
    bad = np.isnan(values) | (values == -np.inf)
    if bad.any() or np.all(values == np.inf):
        k = int(np.argmax(bad)) if bad.any() else 0
        raise InputError(
            f"the energy is {values[k]} at {int(bad.sum()) or num} of {num} points of the "
            f"reference measure, the first at x = {_first(points, k)}: expected finite values "
            "(+inf is allowed outside the support, not everywhere)"
        )
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


def _first(points: X, k: int) -> str:
    leaf = np.asarray(jax.tree.leaves(points)[0][k])
    return np.array2string(leaf, precision=4, threshold=8)


def _describe(one: X) -> str:
    return ", ".join(f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(one))


class Mixed(AbstractEnergy):
    """The weighted sum Σ_k w_k U_k; see `mix`."""

    energies: tuple[AbstractEnergy, ...]
    weights: Float[Array, " k"]
    space: AbstractManifold

    def __call__(self, x: X) -> Scalar:
        """Return Σ_k w_k U_k(x), with 0·inf = 0."""
        return _weighted(list(self.energies), self.weights, x)


class MixedLocal(AbstractLocalEnergy):
    """The weighted sum of local energies, term by term; see `mix`."""

    energies: tuple[AbstractLocalEnergy, ...]
    weights: Float[Array, " k"]
    space: AbstractManifold

    def terms(self, x: X) -> Float[Array, "..."]:
        """Return Σ_k w_k terms_k(x), with 0·inf = 0."""
        return _weighted([energy.terms for energy in self.energies], self.weights, x)


def mix(energies: Sequence[AbstractEnergy], weights: Float[Array, " k"]) -> AbstractEnergy:
    """Return Σ_k w_k U_k, local when all members are.

    A zero coefficient times an infinite energy counts as 0, so a hard wall may appear at t > 0.
    """
    energies = tuple(energies)
    space = energies[0].space
    local = tuple(e for e in energies if isinstance(e, AbstractLocalEnergy))
    if len(local) == len(energies):
        return MixedLocal(energies=local, weights=weights, space=space)
    return Mixed(energies=energies, weights=weights, space=space)


def _weighted(parts: Sequence[Callable[[X], Array]], weights: Float[Array, " k"], x: X) -> Array:
    # A member of weight zero is not evaluated: outside its support its value is infinite and its
    # gradient NaN, and zero times either is NaN.
    def scaled(w: Scalar, part: Callable[[X], Array]) -> Array:
        shape = jax.eval_shape(part, x)
        nothing = jnp.zeros(shape.shape, shape.dtype)
        return jax.lax.cond(w == 0, lambda: nothing, lambda: w * part(x))

    first, *rest = [scaled(weights[k], part) for k, part in enumerate(parts)]
    return sum(rest, start=first)


def energy_terms(energy: AbstractEnergy, x: X) -> Float[Array, "..."]:
    """Return the terms of a local energy, else U(x): what `State.energy` holds."""
    return energy.terms(x) if isinstance(energy, AbstractLocalEnergy) else energy(x)


def _gradient_and_terms(energy: AbstractEnergy, x: X) -> tuple[V, Float[Array, "..."]]:
    def plain_sum(y: X) -> tuple[Scalar, Array]:
        terms = energy_terms(energy, y)
        return jnp.sum(terms), terms

    return energy.space.gradient(plain_sum, x, has_aux=True)


def energy_and_gradient(energy: AbstractEnergy, x: X) -> tuple[Float[Array, "..."], V]:
    """Return (`energy_terms`, ∇U) from one evaluation.

    Where U = +inf the gradient is set to zero: a particle behind a hard wall is parked with
    weight zero and its NaN gradient must not spread.
    """
    gradient, terms = _gradient_and_terms(energy, x)
    outside = jnp.any(terms == jnp.inf)
    return terms, jax.tree.map(lambda g: jnp.where(outside, jnp.zeros_like(g), g), gradient)


def energy_difference(new: Float[Array, "..."], old: Float[Array, "..."]) -> Scalar:
    """Return U_new − U_old from two `energy_terms`, summed term by term with compensation."""
    return compensated_sum(new - old)
