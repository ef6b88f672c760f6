r"""Product laws on finite spaces: where an annealing begins.

U = −Σ_i log p_i(x_i), one term a site, sampled site by site. With the uniform base the path
U_t = (1 − t) D log q + t U_1 is annealing in temperature, and log Z is the target's own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from pushforward._errors import InputError
from pushforward._tree import concrete, real_dtype, scalar
from pushforward._typing import Array, Float, PRNGKey, X
from pushforward.spaces import AbstractFiniteSpace

from .base import AbstractDistribution, AbstractFiniteEnergy


class Uniform(AbstractFiniteEnergy, AbstractDistribution):
    """The uniform law on a finite space such as `Spins((8, 8))`: U = D log q."""

    space: AbstractFiniteSpace

    def __check_init__(self):
        _check_finite(self, self.space)

    def terms(self, x: X) -> Array:
        return jnp.full(self.space.shape, np.log(self.space.num_states), real_dtype(x))

    def local_differences(self, x: X) -> Array:
        return jnp.zeros(self.space.moves_shape, real_dtype(x))

    def sample(self, *, key: PRNGKey) -> X:
        return self.space.reference(key=key)


class ProductMeasure(AbstractFiniteEnergy, AbstractDistribution):
    """Independent sites: U = −Σ_i log p_i(x_i).

    Parameters
    ----------
    log_probs
        log p of every value at every site, shape (q, *shape), label first (for `Spins`: −1, then
        +1); normalised here, so any logits serve.
    space
        The finite space.
    """

    log_probs: Float[Array, "q *shape"]
    space: AbstractFiniteSpace

    def __init__(self, log_probs: ArrayLike, space: AbstractFiniteSpace):
        _check_finite(self, space)
        log_probs, expected = scalar(log_probs), (space.num_states, *space.shape)
        known = concrete(log_probs)
        if log_probs.shape != expected or (known is not None and not np.isfinite(known).all()):
            raise InputError(
                f"log_probs has shape {log_probs.shape}, expected finite numbers {expected}: one "
                "for each value (first axis) at each site"
            )
        self.log_probs, self.space = jax.nn.log_softmax(log_probs, axis=0), space

    def terms(self, x: X) -> Array:
        return -self._of(self.space.label(x))[0]

    def local_differences(self, x: X) -> Array:
        terms = -self._of(self.space.alternatives(x))
        return (terms - self.terms(x)[None]).reshape(self.space.moves_shape)

    def sample(self, *, key: PRNGKey) -> X:
        return self.space.value(jax.random.categorical(key, self.log_probs, axis=0))

    def _of(self, labels: Array) -> Array:
        labels = labels.reshape(-1, *self.space.shape)
        return jnp.take_along_axis(self.log_probs, labels, axis=0)


def _check_finite(energy: AbstractFiniteEnergy, space: AbstractFiniteSpace) -> None:
    if not isinstance(space, AbstractFiniteSpace):
        raise InputError(
            f"{type(energy).__name__} got {space!r}, expected a finite space such as "
            "Spins((8, 8)); a base on R^n is Normal(shape, scale=3.)"
        )
