r"""Product distributions on R^n that serve as bases: normal and Student's t.

U(x) = Σ_i u((x_i − m_i)/s_i) + log s_i + const, normalised, with one term a coordinate.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import ArrayLike

from pushforward._errors import InputError
from pushforward._fields import positive
from pushforward._tree import scalar
from pushforward._typing import Array, Float, PRNGKey
from pushforward.spaces import Euclidean

from .base import AbstractDistribution, AbstractLocalEnergy


class AbstractProduct(AbstractLocalEnergy, AbstractDistribution):
    """Independent coordinates: `terms` is elementwise in x and parameters, so it broadcasts."""


class Normal(AbstractProduct):
    r"""Independent normals: U = Σ_i [ (x_i − m_i)²/(2 s_i²) + log s_i + ½ log 2π ].

    Parameters
    ----------
    shape
        Shape of one sample.
    mean, scale
        Broadcastable to `shape`; `scale` > 0 is a standard deviation. Good value as the base of an
        annealing: 1.5 to 2 times wider than the target (wider still when modes are far apart).
    """

    mean: Float[Array, "..."]
    scale: Float[Array, "..."] = positive()
    space: Euclidean

    def __init__(self, shape: int | tuple[int, ...], mean: ArrayLike = 0.0, scale: ArrayLike = 1.0):
        self.space = Euclidean(shape)
        self.mean, self.scale = scalar(mean), scalar(scale)
        _check_shapes(self.space.shape, mean=self.mean, scale=self.scale)

    def terms(self, x: Array) -> Array:
        z = (x - self.mean) / self.scale
        return 0.5 * z * z + (jnp.log(self.scale) + 0.5 * math.log(2 * math.pi))

    def sample(self, *, key: PRNGKey) -> Array:
        dtype = jnp.result_type(self.mean, self.scale)
        return self.mean + self.scale * jax.random.normal(key, self.space.shape, dtype)


class StudentT(AbstractProduct):
    r"""Independent Student t: U = Σ_i (ν+1)/2 · log(1 + z_i²/ν) + log s_i + log c(ν), z = (x−m)/s.

    The base for heavy-tailed targets, where a Gaussian base gives weights of infinite variance.

    Parameters
    ----------
    shape
        Shape of one sample.
    df
        Degrees of freedom ν > 0.
    mean, scale
        Location and scale, broadcastable to `shape`.
    """

    df: Float[Array, ""] = positive()
    mean: Float[Array, "..."]
    scale: Float[Array, "..."] = positive()
    space: Euclidean

    def __init__(
        self,
        shape: int | tuple[int, ...],
        df: ArrayLike = 2.0,
        mean: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
    ):
        self.space = Euclidean(shape)
        self.df, self.mean, self.scale = scalar(df), scalar(mean), scalar(scale)
        _check_shapes(self.space.shape, mean=self.mean, scale=self.scale)

    def terms(self, x: Array) -> Array:
        z = (x - self.mean) / self.scale
        half = 0.5 * (self.df + 1)
        constant = gammaln(0.5 * self.df) - gammaln(half) + 0.5 * jnp.log(self.df * math.pi)
        return half * jnp.log1p(z * z / self.df) + (jnp.log(self.scale) + constant)

    def sample(self, *, key: PRNGKey) -> Array:
        dtype = jnp.result_type(self.df, self.mean, self.scale)
        return self.mean + self.scale * jax.random.t(key, self.df, self.space.shape, dtype)


def _check_shapes(shape: tuple[int, ...], **values: Array) -> None:
    for name, value in values.items():
        try:
            fits = jnp.broadcast_shapes(value.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise InputError(
                f"{name} has shape {value.shape}, expected one broadcasting to {shape}"
            )
