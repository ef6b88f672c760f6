r"""The Ising model on a periodic lattice.

U(x) = −β Σ_<ij> x_i x_j − Σ_i f_i x_i, x_i = ±1, each bond once; the coupling J is inside β. An
extent of 2 links its pairs twice. Flipping one spin costs ΔU_i = 2 x_i (β Σ_nn x + f_i).
"""

import math

import jax.numpy as jnp
from jaxtyping import ArrayLike

from pushforward._errors import InputError
from pushforward._fields import finite
from pushforward._tree import scalar
from pushforward._typing import Array, Float
from pushforward.spaces import Spins

from .base import AbstractFiniteEnergy

CRITICAL_COUPLING = 0.5 * math.log1p(math.sqrt(2))  # of the square lattice, Onsager 1944


class Ising(AbstractFiniteEnergy):
    r"""U = −β Σ_<ij> x_i x_j − Σ_i f_i x_i on a periodic lattice of any dimension.

    Parameters
    ----------
    shape
        Extents of the lattice, each at least 2, such as `(8, 8)`.
    beta
        β, the inverse temperature times the coupling (some papers write β J, others 2σ). Critical
        on the square lattice: ½ log(1 + √2) = .4407. Negative: an antiferromagnet.
    field
        f (β h), a number or an array of one number a site.
    """

    beta: Float[Array, ""] = finite()
    field: Float[Array, "..."] = finite()
    space: Spins

    def __init__(self, shape: int | tuple[int, ...], beta: ArrayLike, field: ArrayLike = 0.0):
        self.space = Spins(shape)
        self.beta, self.field = scalar(beta), scalar(field)
        shape = self.space.shape
        if min(shape) < 2:
            raise InputError(
                f"a periodic lattice {shape} has an extent of 1, whose spins would be their own "
                f"neighbours: expected extents >= 2, as in Ising({tuple(n for n in shape if n > 1)}"
                ", beta)"
            )
        if self.field.shape not in ((), shape):
            raise InputError(f"field has shape {self.field.shape}, expected () or {shape}")

    def terms(self, x: Array) -> Array:
        """Return one term a site: its forward bonds and its own field."""
        forward = [jnp.roll(x, -1, axis) for axis in range(x.ndim)]
        return -x * (self.beta * sum(forward[1:], start=forward[0]) + self.field)

    def local_differences(self, x: Array) -> Array:
        return 2 * x * (self.beta * neighbour_sum(x) + self.field)


def neighbour_sum(x: Array) -> Array:
    """Return Σ_nn x at every site of a periodic lattice."""
    both = [jnp.roll(x, way, axis) for axis in range(x.ndim) for way in (1, -1)]
    return sum(both[1:], start=both[0])
