r"""Flow maps in closed form: what every two-time loss and every weight is tested against.

With x0 ~ N(0, s0²) apart from x1, I_t = α x0 + β x1 and ρ_t its law, the flow of
b_t(x) = E[İ_t | I_t = x] carries ρ_s to ρ_t:

- `GaussianFlowMap`: affine, for x1 ~ N(m, s1²).
- `QuantileFlowMap`: in one dimension a flow keeps quantiles, X_{s,t} = F_t^{-1} ∘ F_s, for any
  mixture of normals.
- `ProductFlowMap`: coordinate by coordinate, so multimodal maps in any dimension.
"""

from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import ArrayLike

from .._errors import InputError
from .._fields import positive
from .._tree import scalar
from .._typing import Array, Context, Float, Scalar, Time, V, X
from ..networks.flow_map import AbstractFlowMap, time_pair
from ..paths.affine import AbstractAffine
from ..paths.exact import ExactVelocity
from ..targets import Gaussians

BISECTIONS = 64  # of a bracket: its width is then 5e-20 of the first


class GaussianFlowMap(AbstractFlowMap):
    r"""X_{s,t}(x) = β_t m + (σ_t/σ_s)(x − β_s m), σ² = α² s0² + β² s1².

    log|det ∇X| = d log(σ_t/σ_s); b_t = β' m + ((αα' s0² + ββ' s1²)/σ_t²)(x − β_t m).

    Parameters
    ----------
    path
        An affine path; its base scale is s0.
    mean, scale
        m and s1 > 0 of the data, numbers or arrays of x's shape.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2024 (arXiv 2406.07507), with the closed form derived.
    """

    tied: ClassVar[bool] = True
    both_ways: ClassVar[bool] = True
    path: AbstractAffine
    mean: Float[Array, "..."] = eqx.field(converter=scalar)
    scale: Float[Array, "..."] = positive(converter=scalar)

    def __call__(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> X:
        s, t = time_pair(s, t)
        a, b = self.path.coefficients(s), self.path.coefficients(t)
        sigma_s, sigma_t = (_width(self.path, self.scale, time)[0] for time in (s, t))
        stretch = (sigma_t - sigma_s) / sigma_s
        return x + (b.beta - a.beta) * self.mean + stretch * (x - a.beta * self.mean)

    def velocity(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> V:
        return _divided(self, s, t, x)

    def drift(self, t: Time, x: X, *, context: Context = None, key=None) -> V:
        c = self.path.coefficients(t)
        sigma, rate = _width(self.path, self.scale, t)
        return c.dbeta * self.mean + (rate / sigma) * (x - c.beta * self.mean)


class QuantileFlowMap(AbstractFlowMap):
    r"""X_{s,t} = F_t^{-1} ∘ F_s on the line, F_t(x) = Σ_k w_k Φ((x − β_t μ_k)/σ_{t,k}).

    F_t^{-1} is bisected between the quantiles of the components and polished by one Newton step
    X = y − (F_t(y) − F_s(x))/p_t(y), whose FIRST derivatives in s, t and x are exact (those of a
    bisection are zero; second derivatives of this form are not right). Above the median 1 − F
    takes the place of F, so both tails keep their digits.

    Parameters
    ----------
    path
        An affine path; its base scale is s0.
    weights, means, scales
        w, μ, s1 of the K components of the data; weights are normalised for you.

    References
    ----------
    Derived; σ_{t,k}² = α² s0² + β² s1_k².
    """

    tied: ClassVar[bool] = True
    both_ways: ClassVar[bool] = True
    path: AbstractAffine
    means: Float[Array, " k"]
    weights: Float[Array, " k"] = positive()
    scales: Float[Array, " k"] = positive()

    def __init__(
        self, path: AbstractAffine, weights: ArrayLike, means: ArrayLike, scales: ArrayLike
    ):
        weights, means = scalar(weights), scalar(means)
        if weights.ndim != 1 or weights.shape != means.shape:
            raise InputError(
                f"weights and means have shapes {weights.shape} and {means.shape}, expected (k,) "
                "for both: QuantileFlowMap(Linear(), [.3, .7], [1., -1.], .25)"
            )
        self.path, self.weights, self.means = path, weights / jnp.sum(weights), means
        self.scales = jnp.broadcast_to(scalar(scales), means.shape)

    def __call__(self, s: Time, t: Time, x: Scalar, *, context: Context = None, key=None) -> Scalar:
        s, t = time_pair(s, t)
        if jnp.shape(x) != ():
            raise InputError(
                f"x has shape {jnp.shape(x)}, expected one number (): vmap over samples, and for "
                "several coordinates write ProductFlowMap.of([map, ...])"
            )
        y = self._bisect(*jax.lax.stop_gradient((s, t, x)))
        return y - self._gap(s, t, x, y) / jnp.exp(self.log_density(t, y))

    @property
    def law(self) -> Gaussians:
        """The law of x1."""
        return Gaussians(jnp.log(self.weights), self.means[:, None], self.scales[:, None] ** 2)

    def velocity(self, s: Time, t: Time, x: Scalar, *, context: Context = None, key=None) -> Scalar:
        return _divided(self, s, t, x)

    def drift(self, t: Time, x: Scalar, *, context: Context = None, key=None) -> Scalar:
        return ExactVelocity(self.path, self.law)(t, x[None])[0]

    def log_density(self, t: Time, x: Scalar) -> Scalar:
        """Return log p_t(x), the law of I_t."""
        c = self.path.coefficients(t)
        return -self.law.noised(c.beta, (c.alpha * self.path.base_scale) ** 2)(x[None])

    def _tails(self, t: Time, x: Scalar) -> tuple[Scalar, Scalar]:
        """Return F_t(x) and 1 − F_t(x)."""
        sigma, _ = _width(self.path, self.scales, t)
        z = (x - self.path.beta(t) * self.means) / sigma
        return jnp.sum(self.weights * ndtr(z)), jnp.sum(self.weights * ndtr(-z))

    def _gap(self, s: Time, t: Time, x: Scalar, y: Scalar) -> Scalar:
        """Return F_t(y) − F_s(x) from the smaller tails."""
        (low_s, high_s), (low_t, high_t) = self._tails(s, x), self._tails(t, y)
        return jnp.where(low_s > 0.5, high_s - high_t, low_t - low_s)

    def _bisect(self, s: Time, t: Time, x: Scalar) -> Scalar:
        sigma_s, _ = _width(self.path, self.scales, s)
        sigma_t, _ = _width(self.path, self.scales, t)
        z = (x - self.path.beta(s) * self.means) / sigma_s
        centre = self.path.beta(t) * self.means
        low, high = jnp.min(centre + sigma_t * jnp.min(z)), jnp.max(centre + sigma_t * jnp.max(z))

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            below = self._gap(s, t, x, middle) < 0
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))
        return jnp.where(s == t, x, 0.5 * (low + high))


class ProductFlowMap(AbstractFlowMap):
    """Independent coordinates: X_{s,t}(x)_i = X^i_{s,t}(x_i).

    Parameters
    ----------
    maps
        Maps of one number, one class, stacked in one module (every array with a leading axis d),
        as made by `ProductFlowMap.of([map, ...])`.
    """

    tied: ClassVar[bool] = True
    maps: AbstractFlowMap
    both_ways: bool = eqx.field(static=True)

    def __init__(self, maps: AbstractFlowMap):
        self.maps, self.both_ways = maps, maps.both_ways

    @classmethod
    def of(cls, each: Sequence[AbstractFlowMap]) -> "ProductFlowMap":
        """Stack maps of one class and one number of components, one a coordinate."""
        try:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        except (TypeError, ValueError) as error:
            kinds = ", ".join(sorted({type(m).__name__ for m in each})) or "none"
            raise InputError(
                f"cannot stack these maps ({kinds}): one class and one shape of each parameter are "
                "needed; give a component the weight 1e-300 to leave it out"
            ) from error
        return cls(stacked)

    def __call__(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> X:
        return eqx.filter_vmap(lambda m, y: m(s, t, y))(self.maps, x)

    def velocity(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> V:
        return eqx.filter_vmap(lambda m, y: m.velocity(s, t, y))(self.maps, x)

    def drift(self, t: Time, x: X, *, context: Context = None, key=None) -> V:
        return eqx.filter_vmap(lambda m, y: m.drift(t, y))(self.maps, x)


def _width(path: AbstractAffine, scale: Array, t: Time) -> tuple[Array, Array]:
    """Return σ_t and σ_t' of α x0 + β x1."""
    c = path.coefficients(t)
    sigma = jnp.sqrt((c.alpha * path.base_scale) ** 2 + (c.beta * scale) ** 2)
    rate = c.alpha * c.dalpha * path.base_scale**2 + c.beta * c.dbeta * scale**2
    return sigma, rate / sigma


def _divided(flow: AbstractFlowMap, s: Time, t: Time, x: X) -> V:
    s, t = time_pair(s, t)
    step = jnp.where(s == t, 1, t - s)
    return jnp.where(s == t, flow.drift(s, x), (flow(s, t, x) - x) / step)
