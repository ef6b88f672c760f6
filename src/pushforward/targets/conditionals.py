r"""Conditional laws ρ(x1|x0) that are known: what a forecast should be, exactly.

Each is a mixture of `Gaussians` whose weights and means depend on x0.
`JumpConditional` is the law of a diffusion among n wells that jumps to the next well at Poisson
times; by it the drift b, the sampler and the learned forecast are all judged.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from pushforward._errors import InputError
from pushforward._fields import integer, positive
from pushforward._tree import concrete, scalar
from pushforward._typing import Array, Float, Scalar, X

from .mixtures import Gaussians


class AbstractConditional(eqx.Module):
    """A law of the future given the present."""

    @abstractmethod
    def __call__(self, x0: X) -> Gaussians:
        """Return ρ(·|x0)."""


class GaussianConditional(AbstractConditional):
    r"""x1 | x0 ~ N(A x0 + c, C).

    Parameters
    ----------
    gain
        A: a number, one a component, or a matrix.
    bias
        c, (d,): its size is the dimension.
    covariance
        C > 0: a number, one a component, or a symmetric matrix.
    """

    gain: Float[Array, "..."]
    bias: Float[Array, " d"]
    variances: Float[Array, " d"]
    axes: Float[Array, "d d"] | None

    def __init__(self, gain: ArrayLike, bias: ArrayLike, covariance: ArrayLike):
        self.gain, self.bias = scalar(gain), scalar(bias)
        if self.bias.ndim != 1:
            raise InputError(f"bias has shape {self.bias.shape}, expected (d,): jnp.zeros(d)")
        self.variances, self.axes = _principal(scalar(covariance), self.bias.size)

    def __call__(self, x0: Float[Array, " d"]) -> Gaussians:
        mean = _apply(self.gain, x0) + self.bias
        axes = None if self.axes is None else self.axes[None]
        return Gaussians(jnp.zeros(1, mean.dtype), mean[None], self.variances[None], axes)


class MixtureConditional(AbstractConditional):
    r"""x1 | x0 ~ Σ_j w_j N(A_j x0 + c_j, C_j).

    Parameters
    ----------
    log_weights
        (K,) logarithms of w_j.
    components
        K `GaussianConditional`s, stacked by `MixtureConditional.of`.
    """

    log_weights: Float[Array, " k"]
    components: GaussianConditional

    @classmethod
    def of(cls, weights: ArrayLike, components: list[GaussianConditional]) -> "MixtureConditional":
        """Stack conditionals of one form (numbers with numbers, matrices with matrices)."""
        weights = scalar(weights)
        known = concrete(weights)
        if weights.shape != (len(components),) or (known is not None and not (known > 0).all()):
            raise InputError(
                f"weights {weights} of {len(components)} components: expected one positive number "
                "each"
            )
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *components)
        return cls(jnp.log(weights), stacked)

    def __call__(self, x0: Float[Array, " d"]) -> Gaussians:
        each = self.components
        means = eqx.filter_vmap(lambda one: _apply(one.gain, x0) + one.bias)(each)
        return Gaussians(self.log_weights, means, each.variances, each.axes)


class JumpConditional(AbstractConditional):
    r"""The law, a lag τ later, of a diffusion that jumps around a circle of n wells.

    Wells μ_k = r (cos kA, sin kA), A = 2π/n, C_k = R^k C_0 R^{−k}; dX = −C_k⁻¹(X − μ_k) dt + dW,
    and at rate λ: X → R(A) X, k → k + 1 mod n. In the frame that turns with k it is one OU, so

    p(x1|x0) = Σ_k P(k|x0) Σ_j w_j N( R^{k+j}(μ_0 + P y_k), R^{k+j} V R^{−(k+j)} ),
    y_k = R^{−k} x0 − μ_0, P = e^{−τ/C_0}, V = ½ C_0 (1 − P²), P(k|x0) ∝ N(x0; μ_k, ½ C_k),
    w_j = (1/n) Σ_m e^{λτ(ζ^m − 1)} ζ^{−jm}, ζ = e^{2πi/n}.

    The stationary covariance of a well is C_k/2, not C_k.

    Parameters
    ----------
    lag
        τ > 0, in units of the process' time.
    rate
        λ, jumps a unit of time.
    radius
        r, distance of the wells from the origin.
    variances
        The diagonal of C_0: along and across the radius.
    euler_dt
        None: the exact law. A step δ that divides τ: the law of τ/δ Euler steps, with
        P = (1 − δ/C_0)^{τ/δ} and binomial jumps (the notebook of the paper has δ = .01).
    num_wells
        n.

    References
    ----------
    Chen et al. 2024 (arXiv 2403.13724), section 4.1; the closed form is derived here.
    """

    lag: Scalar = positive(default=0.5)
    rate: Scalar = positive(default=2.0)
    radius: Scalar = positive(default=5.0)
    variances: Float[Array, " 2"] = positive(default=(1.5, 0.1))
    euler_dt: Scalar | None = positive(default=None, example=0.01)
    num_wells: int = integer(least=2, default=5)

    @property
    def rotations(self) -> Float[Array, "n 2 2"]:
        """R^k, the rotation by k A."""
        angle = (2 * np.pi / self.num_wells) * jnp.arange(self.num_wells, dtype=self.radius.dtype)
        c, s = jnp.cos(angle), jnp.sin(angle)
        return jnp.stack([jnp.stack([c, -s], -1), jnp.stack([s, c], -1)], -2)

    @property
    def centre(self) -> Float[Array, " 2"]:
        """μ_0."""
        return jnp.stack([self.radius, jnp.zeros_like(self.radius)])

    def stationary(self) -> Gaussians:
        """Return the stationary law, Σ_k N(μ_k, C_k/2)/n."""
        rotations, n = self.rotations, self.num_wells
        variances = jnp.broadcast_to(0.5 * self.variances, (n, 2))
        weights = jnp.zeros(n, self.radius.dtype)
        return Gaussians(weights, rotations @ self.centre, variances, rotations)

    def posterior(self, x0: Float[Array, " 2"]) -> Float[Array, " n"]:
        """Return log P(k|x0), the regime given the state in the stationary law."""
        return jax.nn.log_softmax(self.stationary().log_components(x0)[0])

    def relaxation(self) -> tuple[Float[Array, " 2"], Float[Array, " 2"]]:
        """Return P and the diagonal of V."""
        c = self.variances
        if self.euler_dt is None:
            return jnp.exp(-self.lag / c), -0.5 * c * jnp.expm1(-2 * self.lag / c)
        one = 1 - self.euler_dt / c
        decay = one ** jnp.round(self.lag / self.euler_dt)
        return decay, self.euler_dt * (1 - decay**2) / (1 - one**2)

    def jump_weights(self) -> Float[Array, " n"]:
        """Return w_j, the chance of j jumps modulo n."""
        n, dtype = self.num_wells, self.radius.dtype
        j = jnp.arange(n, dtype=dtype)
        phase = (2 * np.pi / n) * j
        turn, swing = jnp.cos(phase) - 1, jnp.sin(phase)  # ζ^m − 1
        if self.euler_dt is None:
            jumps = self.rate * self.lag
            size, angle = jnp.exp(jumps * turn), jumps * swing
        else:
            one, num = self.rate * self.euler_dt, jnp.round(self.lag / self.euler_dt)
            size = jnp.hypot(1 + one * turn, one * swing) ** num
            angle = num * jnp.arctan2(one * swing, 1 + one * turn)
        waves = jnp.cos(angle[None] - j[:, None] * phase[None])
        return jnp.maximum(waves @ size / n, 0)  # rounding may leave −1e-17

    def __call__(self, x0: Float[Array, " 2"]) -> Gaussians:
        """Return the mixture of n² Gaussians at x0."""
        rotations, n = self.rotations, self.num_wells
        decay, variance = self.relaxation()
        still = jnp.einsum("kji,j->ki", rotations, x0) - self.centre[None]  # y_k
        ahead = self.centre[None] + decay[None] * still
        wells = (jnp.arange(n)[:, None] + jnp.arange(n)[None]) % n  # (k, j) -> k + j
        axes = rotations[wells]
        means = jnp.einsum("kjab,kb->kja", axes, ahead)
        log_weights = self.posterior(x0)[:, None] + jnp.log(self.jump_weights())[None]
        return Gaussians(
            log_weights.reshape(-1),
            means.reshape(-1, 2),
            jnp.broadcast_to(variance, (n * n, 2)),
            axes.reshape(-1, 2, 2),
        )


def _apply(gain: Array, x: Float[Array, " d"]) -> Float[Array, " d"]:
    return gain @ x if gain.ndim == 2 else gain * x


def _principal(covariance: Array, dim: int) -> tuple[Array, Array | None]:
    """Return the eigenvalues (d,) and axes (d, d) of C; no axes when it is diagonal."""
    if covariance.ndim < 2:
        variances, axes = jnp.broadcast_to(covariance, (dim,)), None
    else:
        variances, axes = jnp.linalg.eigh(covariance)
    known = concrete(variances)
    if known is not None and not (known > 0).all():
        raise InputError(f"a covariance must be positive definite, its eigenvalues are {known}")
    return variances, axes
