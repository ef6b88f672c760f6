r"""Neal's funnel: one coordinate sets the width of all others.

x_0 ~ N(0, s²) and x_i | x_0 ~ N(0, e^{x_0}): the neck (x_0 = −6) is e^6 times narrower than the
mouth (x_0 = 6), so no single step size suits both. Normalised and sampled exactly.
"""

import math

import jax
import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._fields import positive
from pushforward._tree import scalar
from pushforward._typing import Array, Float, PRNGKey
from pushforward.spaces import Euclidean

from .base import AbstractDistribution, AbstractLocalEnergy


class Funnel(AbstractLocalEnergy, AbstractDistribution):
    r"""U = x_0²/(2s²) + log s + Σ_{i≥1} [ x_i² e^{−x_0}/2 + x_0/2 ] + (d/2) log 2π.

    Parameters
    ----------
    dim
        Number of coordinates d ≥ 2.
    scale
        Standard deviation s of x_0 (3 in Neal 2003, section 8).
    """

    scale: Float[Array, ""] = positive()
    space: Euclidean

    def __init__(self, dim: int = 10, scale=3.0):
        if dim < 2:
            raise InputError(f"a funnel needs dim >= 2, got {dim}")
        self.scale = scalar(scale)
        self.space = Euclidean(dim)

    def terms(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        neck, rest = x[:1], x[1:]
        first = 0.5 * (neck / self.scale) ** 2 + jnp.log(self.scale)
        others = 0.5 * (rest * rest * jnp.exp(-neck) + neck)
        return jnp.concatenate([first, others]) + 0.5 * math.log(2 * math.pi)

    def sample(self, *, key: PRNGKey) -> Float[Array, " d"]:
        xi = jax.random.normal(key, self.space.shape, self.scale.dtype)
        neck = self.scale * xi[:1]
        return jnp.concatenate([neck, jnp.exp(0.5 * neck) * xi[1:]])
