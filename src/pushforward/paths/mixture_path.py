r"""A path through mixtures: each component travels from the base to its own place.

ρ_t = Σ_k w_k N(t μ_k, v_k(t) 1), v_k = (1 − t)² s_0² + t² s_k². Normalised, so F_t = 0, and the
drift that transports it exactly is known. It USES THE MEANS of the target, which a sampler does
not have: results along it test the implementation and say nothing about finding the modes.
"""

from typing import ClassVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._errors import InputError
from .._tree import scalar
from .._typing import Array, Float, Scalar, Time
from ..targets import Mixture, Normal
from .base import AbstractAnnealing


class MixturePath(AbstractAnnealing):
    r"""ρ_t = Σ_k w_k N(t μ_k, v_k(t) 1) between N(0, s_0²) and a mixture of isotropic normals.

    Parameters
    ----------
    target
        A `Mixture` whose components are one stacked `Normal`; a scale is one number a component, or
        one a coordinate.
    base_scale
        s_0 > 0. Good value: 3 to 5 times the components' scale.

    References
    ----------
    Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711), section 5; exact drift derived.
    """

    references: ClassVar[tuple[str, ...]] = ("nets",)
    target: Mixture
    base: Normal

    def __init__(self, target: Mixture, base_scale: ArrayLike):
        if not isinstance(target.components, Normal):
            raise InputError(
                f"the components are {type(target.components).__name__}, expected one stacked "
                "Normal: only for normals is the path known"
            )
        self.target = target
        self.base = Normal(target.components.space.shape, 0.0, base_scale)

    @property
    def base_scale(self) -> Scalar:
        """s_0, the width of the base."""
        return self.base.scale

    @property
    def components(self) -> Normal:
        """The components of the target: one stacked `Normal`."""
        return cast(Normal, self.target.components)

    def variance(self, t: Time) -> Float[Array, " k"]:
        """Return v_k(t) = (1 − t)² s_0² + t² s_k²."""
        return ((1 - t) * self.base_scale) ** 2 + (t * self.components.scale) ** 2

    def at(self, t: Time) -> Mixture:
        shape = self.components.space.shape
        component = jax.vmap(lambda mean, v: Normal(shape, t * mean, jnp.sqrt(v)))
        components = component(self.components.mean, self.variance(t))
        return Mixture(components, self.target.log_weights)

    def denergy_dt(self, t: Time, x: Array) -> Scalar:
        return jax.jvp(lambda s: self.at(s)(x), (t,), (jnp.ones_like(t),))[1]

    def exact_drift(self, t: Time, x: Array, g: Array | None = None, **_) -> Array:
        r"""Return b_t(x) = Σ_k p_k(t, x) [ μ_k + (v_k'/2v_k) (x − t μ_k) ], p_k responsibilities.

        Each component moves by its own affine flow; the mixture's drift is their mean under p_k.
        """
        v, dv = jax.jvp(self.variance, (t,), (jnp.ones_like(t),))
        mean, rate = _full(self.components.mean, x.ndim), _full(0.5 * dv / v, x.ndim)
        velocity = mean + rate * (x[None] - t * mean)
        return jnp.tensordot(self.at(t).responsibilities(x), velocity, axes=1)


def _full(leaf: Array, ndim: int) -> Array:
    """Insert axes behind the first, so that one number a component meets a whole sample."""
    return leaf.reshape(leaf.shape[0], *(1,) * (ndim + 1 - leaf.ndim), *leaf.shape[1:])


class MixtureVariance(eqx.Module):
    r"""v(t) = (1 − t)² s_0² + t² s_1²: the common variance of the components of a mixture path.

    Parameters
    ----------
    base_scale, target_scale
        s_0 of the base and s_1 of the target's components.
    """

    base_scale: Scalar = eqx.field(converter=scalar)
    target_scale: Scalar = eqx.field(converter=scalar)

    def __call__(self, t: Time) -> Scalar:
        return ((1 - t) * self.base_scale) ** 2 + (t * self.target_scale) ** 2
