r"""What we want: energies, U = −log density + const.

Four kinds, three of them with more than U:

- `AbstractEnergy`: U(x), nothing else. `from_log_density` makes one from any JAX callable.
- `AbstractLocalEnergy`: U is a sum of local `terms`, so differences are summed term by term and
  a float32 lattice of 10⁴ sites keeps its log-weights (law 5).
- `AbstractFiniteEnergy`: on a finite space, with ΔU of all one-site moves, which a jump process
  needs as an SDE needs the gradient.
- `AbstractDistribution`: normalised (log Z = 0) and exactly sampleable: a base.

An energy is also the constant path: `energy.at(t)` is itself, and kernels read `path.at(t)`.
`mix` adds energies with weights; the sum is local or finite where all of them are.
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from pushforward._tree import compensated_sum
from pushforward._typing import Array, Float, PRNGKey, Scalar, V, X
from pushforward.spaces import AbstractFiniteSpace, AbstractSpace, as_manifold


class AbstractEnergy(eqx.Module):
    """An unnormalised density e^{−U} on a space. Called with ONE sample, returns a scalar."""

    space: eqx.AbstractVar[AbstractSpace]

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


class AbstractFiniteEnergy(AbstractLocalEnergy):
    """A local energy on a finite space, one term a site, with all its one-site changes."""

    space: eqx.AbstractVar[AbstractFiniteSpace]

    @abstractmethod
    def local_differences(self, x: X) -> Float[Array, "..."]:
        """Return U(y) − U(x) for every y one move away, of shape `space.moves_shape`."""


class AbstractDistribution(AbstractEnergy):
    """A normalised energy that can be sampled exactly: log density = −U."""

    @abstractmethod
    def sample(self, *, key: PRNGKey) -> X:
        """Draw one exact sample."""

    def log_prob(self, x: X) -> Scalar:
        """Return the normalised log density −U(x)."""
        return -self(x)


class AbstractAugmented(AbstractEnergy):
    """A marginal: e^{−U(x)} ∝ ∫ e^{−U(x, a)} da over an auxiliary field a.

    For a dear U(x) (a determinant) and a cheap U(x, a): a chain draws a given x exactly
    (`refresh`), moves x at fixed a (`given`) and forgets a; its x have the law e^{−U}. That chain
    is `mcmc.Refreshed`.
    """

    @abstractmethod
    def refresh(self, x: X, *, key: PRNGKey) -> Any:
        """Draw the auxiliary field from its law given x, ∝ e^{−U(x, ·)}."""

    @abstractmethod
    def given(self, auxiliary: Any) -> AbstractEnergy:
        """Return the energy x -> U(x, auxiliary), up to a constant of the auxiliary field alone."""


def energy_terms(energy: AbstractEnergy, x: X) -> Float[Array, "..."]:
    """Return the terms of a local energy, else U(x): what `State.energy` holds."""
    return energy.terms(x) if isinstance(energy, AbstractLocalEnergy) else energy(x)


def gradient_and_terms(energy: AbstractEnergy, x: X) -> tuple[V, Float[Array, "..."]]:
    """Return (∇U, `energy_terms`) as they are, infinities included."""

    def plain_sum(y: X) -> tuple[Scalar, Array]:
        terms = energy_terms(energy, y)
        return jnp.sum(terms), terms

    return as_manifold(energy.space).gradient(plain_sum, x, has_aux=True)


def energy_and_gradient(energy: AbstractEnergy, x: X) -> tuple[Float[Array, "..."], V]:
    """Return (`energy_terms`, ∇U) from one evaluation.

    Where U = +inf the gradient is set to zero: a particle behind a hard wall has weight zero and
    feels no force, instead of spreading a NaN.
    """
    gradient, terms = gradient_and_terms(energy, x)
    outside = jnp.any(terms == jnp.inf)
    return terms, jax.tree.map(lambda g: jnp.where(outside, jnp.zeros_like(g), g), gradient)


def energy_difference(new: Float[Array, "..."], old: Float[Array, "..."]) -> Scalar:
    """Return U_new − U_old from two `energy_terms`, summed term by term with compensation."""
    return compensated_sum(new - old)
