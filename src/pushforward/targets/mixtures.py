r"""Mixtures: many modes, one formula, every answer known.

ρ(x) = Σ_k w_k ρ_k(x), U = −log ρ. The components are ONE stacked module (each array leaf has a
leading axis k) and one vmap, so forty modes compile like one. Modes are counted by
`responsibilities` p_k(x) = w_k ρ_k(x)/ρ(x), whose mean over exact samples is w_k even where modes
overlap; the share of points nearest to centre k is not.

`Mixture` has components of any class; `Gaussians` have any covariances, their posterior and their
noised law. The benchmark targets of the field have random constants frozen for ever by
`mt_uniform`: `gmm40`, `gaussian_mixture`, `student_mixture`.
"""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward._tree import concrete, scalar
from pushforward._typing import Array, Float, PRNGKey, Scalar, X
from pushforward.spaces import AbstractSpace, Euclidean

from .base import AbstractDistribution, energy_terms
from .gaussian import AbstractProduct, Normal, StudentT


class Mixture(AbstractDistribution):
    r"""The normalised mixture U = −log Σ_k w_k e^{−U_k(x)}.

    Parameters
    ----------
    components
        K distributions of one class stacked in one module, as made by
        `eqx.filter_vmap(lambda m: Normal(2, m))(means)` or by `Mixture.of([a, b, c])`.
        `components.mean` (K, *shape) and `components.scale` (K, ...) then hold them all.
    log_weights
        K logarithms of weights, normalised for you; equal weights when left out.
    """

    components: AbstractDistribution
    log_weights: Float[Array, " k"]
    space: AbstractSpace

    def __init__(self, components: AbstractDistribution, log_weights=None):
        sizes = {jnp.shape(x)[:1] for x in jax.tree.leaves(components) if eqx.is_array(x)}
        size = next(iter(sizes)) if len(sizes) == 1 else ()
        if not size:
            raise InputError(
                "the components have no common leading axis: give ONE stacked module, as in "
                "eqx.filter_vmap(lambda m: Normal(2, m))(means), or Mixture.of([a, b, c])"
            )
        log_weights = jnp.zeros(size) if log_weights is None else scalar(log_weights)
        if log_weights.shape != size:
            raise InputError(f"log_weights has shape {log_weights.shape}, expected {size}")
        known = concrete(log_weights)
        if known is not None and (not (known < np.inf).all() or (known == -np.inf).all()):
            raise InputError(f"log_weights must be finite or -inf and not all -inf, got {known}")
        self.components = components
        self.log_weights = jax.nn.log_softmax(log_weights)
        self.space = components.space

    @classmethod
    def of(cls, distributions: Sequence[AbstractDistribution], log_weights=None) -> "Mixture":
        """Stack distributions of one class and one shape, and mix them."""
        try:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *distributions)
        except ValueError as error:
            kinds = ", ".join(sorted({type(d).__name__ for d in distributions}))
            raise InputError(
                f"cannot stack these components ({kinds}): one class, one shape of a sample and "
                "one shape of each parameter are needed"
            ) from error
        return cls(stacked, log_weights)

    def _log_joint(self, x: X) -> Float[Array, " k"]:
        if isinstance(self.components, AbstractProduct):
            # components last: K numbers in a row vectorise, d = 2 of them do not (4x measured)
            last = jax.tree.map(lambda leaf: _last(leaf, x.ndim), self.components)
            terms = last.terms(x[..., None])
            return self.log_weights - jnp.sum(terms, axis=tuple(range(x.ndim)))

        def component(one: AbstractDistribution) -> Scalar:
            return jnp.sum(energy_terms(one, x))  # plain sum: differences x − m_k are exact

        return self.log_weights - eqx.filter_vmap(component)(self.components)

    def __call__(self, x: X) -> Scalar:
        return -_log_sum_exp(self._log_joint(x))

    def responsibilities(self, x: X) -> Float[Array, " k"]:
        """Return p_k(x) = w_k ρ_k(x) / ρ(x): the chance that x came from component k."""
        return jax.nn.softmax(self._log_joint(x))

    def sample(self, *, key: PRNGKey) -> X:
        which, inside = jax.random.split(key)
        k = jax.random.categorical(which, self.log_weights)
        one = jax.tree.map(lambda leaf: leaf[k] if eqx.is_array(leaf) else leaf, self.components)
        return one.sample(key=inside)


def _last(leaf: Array, ndim: int) -> Array:
    moved = jnp.moveaxis(leaf, 0, -1)
    return moved.reshape(*(1,) * (ndim + 1 - moved.ndim), *moved.shape)


def _log_sum_exp(a: Float[Array, " k"]) -> Scalar:
    # SciPy's keeps signs and infinities of every entry; here the largest is finite or all are -inf
    top = jax.lax.stop_gradient(jnp.max(a))
    top = jnp.where(jnp.isfinite(top), top, 0)
    return jnp.log(jnp.sum(jnp.exp(a - top))) + top


class Gaussians(AbstractDistribution):
    r"""The mixture Σ_k w_k N(m_k, Q_k diag(λ_k) Q_kᵀ) on R^d, in principal axes.

    All that is computed from a covariance is a function of its eigenvalues λ: no linear system is
    solved, and a diagonal law (Q = 1) of a large field costs no more than the field.

    Parameters
    ----------
    log_weights
        (K,) logarithms of weights, normalised for you.
    means
        (K, d) means m_k.
    variances
        (K, d) eigenvalues λ_k > 0.
    axes
        (K, d, d) orthogonal matrices Q_k, axes in columns; None where all C_k are diagonal.
    """

    log_weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    variances: Float[Array, "k d"]
    axes: Float[Array, "k d d"] | None
    space: Euclidean

    def __init__(self, log_weights: Array, means: Array, variances: Array, axes=None):
        shape = means.shape
        if len(shape) != 2 or variances.shape != shape or log_weights.shape != shape[:1]:
            raise InputError(
                f"log_weights {log_weights.shape}, means {shape}, variances {variances.shape}: "
                "expected (K,), (K, d) and (K, d)"
            )
        self.log_weights = jax.nn.log_softmax(log_weights)
        self.means, self.variances, self.axes = means, variances, axes
        self.space = Euclidean(shape[1])

    def to_axes(self, v: Float[Array, "k d"]) -> Float[Array, "k d"]:
        """Return Q_kᵀ v_k."""
        return v if self.axes is None else jnp.sum(self.axes * v[:, :, None], axis=1)

    def from_axes(self, v: Float[Array, "k d"]) -> Float[Array, "k d"]:
        """Return Q_k v_k."""
        return v if self.axes is None else jnp.sum(self.axes * v[:, None, :], axis=2)

    def log_components(self, x: Float[Array, " d"]) -> tuple[Float[Array, " k"], Array]:
        """Return log N(x; m_k, C_k) and Q_kᵀ(x − m_k)."""
        away = self.to_axes(x[None] - self.means)
        terms = away**2 / self.variances + jnp.log(2 * np.pi * self.variances)
        return -0.5 * jnp.sum(terms, axis=1), away

    def __call__(self, x: Float[Array, " d"]) -> Scalar:
        return -jax.nn.logsumexp(self.log_weights + self.log_components(x)[0])

    def posterior(self, x: Float[Array, " d"]) -> tuple[Float[Array, " k"], Array]:
        """Return p(k|x) ∝ w_k N(x; m_k, C_k), and Q_kᵀ(x − m_k)."""
        log_densities, away = self.log_components(x)
        return jax.nn.softmax(self.log_weights + log_densities), away

    def noised(self, beta: Scalar, variance: Scalar) -> "Gaussians":
        """Return the law of β x + √v z, z ~ N(0, 1): means β m_k, eigenvalues β² λ_k + v."""
        moved = beta * self.means, beta**2 * self.variances + variance
        return eqx.tree_at(lambda law: (law.means, law.variances), self, moved)

    def sample(self, *, key: PRNGKey) -> Float[Array, " d"]:
        which, inside = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        k = jax.random.categorical(which, self.log_weights)
        noise = jax.random.normal(inside, self.space.shape, self.means.dtype)
        move = jnp.sqrt(self.variances[k]) * noise
        return self.means[k] + (move if self.axes is None else self.axes[k] @ move)

    def mean(self) -> Float[Array, " d"]:
        """Return Σ_k w_k m_k."""
        return jnp.exp(self.log_weights) @ self.means


def mt_uniform(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return uniform numbers in [0, 1) with 24 bits from the Mersenne Twister, frozen for ever.

    The bytes of NumPy's legacy stream, read as little-endian uint32, masked to 24 bits and divided
    by 2^24: the numbers PyTorch's `torch.manual_seed(seed); torch.rand(shape)` gives on a CPU.
    """
    words = np.frombuffer(np.random.RandomState(seed).bytes(4 * math.prod(shape)), dtype="<u4")
    return ((words & 0xFFFFFF) / 2.0**24).reshape(shape)


def gmm40() -> Mixture:
    """Return the 40-mode Gaussian mixture in the plane of Midgley et al. (2023).

    Means uniform in [−40, 40]², bit for bit those of the paper's code (torch seed 0); standard
    deviation softplus(1) = 1.3132616875182228; equal weights. Modes overlap (16 pairs of centres
    are closer than four standard deviations): count them by responsibilities. Another "GMM40"
    with unit standard deviation circulates; numbers for the two must not be mixed.
    """
    uniform = mt_uniform(0, (40, 2)).astype(np.float32)
    means = (uniform - np.float32(0.5)) * np.float32(2) * np.float32(40)
    return _gaussians(means, math.log1p(math.e))


def gaussian_mixture(dim: int, modes: int = 8, spread: float = 5.0, seed: int = 1) -> Mixture:
    """Return unit Gaussians with means uniform in [−spread, spread]^dim, equal weights."""
    return _gaussians((mt_uniform(seed, (modes, dim)) * 2 - 1) * spread, 1.0)


def student_mixture(
    dim: int = 50, modes: int = 10, df: float = 2.0, spread: float = 10.0, seed: int = 2
) -> Mixture:
    """Return products of 1-D Student t with locations uniform in [−spread, spread]^dim.

    Unit scales, equal weights. The tails ask for a `StudentT` base: with a Gaussian one the
    weights have infinite variance. Good base at the defaults: `StudentT(dim, df=2, scale=8)`.
    """
    means = scalar((mt_uniform(seed, (modes, dim)) * 2 - 1) * spread)
    return Mixture(eqx.filter_vmap(lambda m: StudentT(dim, df, m))(means))


def _gaussians(means: np.ndarray, scale: float) -> Mixture:
    dim = means.shape[1]
    scales = jnp.full(means.shape[0], scale)
    return Mixture(eqx.filter_vmap(lambda m, s: Normal(dim, m, s))(scalar(means), scales))


def asymmetric_mixture() -> Gaussians:
    """Return three Gaussians in the plane without any symmetry.

    Weights (.2, .3, .5), means (−2, 0), (1.5, 1.5), (.5, −2), covariances [[.3, .1], [.1, .1]],
    .05·1, [[.4, −.15], [−.15, .2]]. Exact: mean (.3, −.55), covariance [[1.785, .285], [.285,
    2.5075]], E[−log p] = 1.8629379501 (quadrature).
    """
    weights = np.array([0.2, 0.3, 0.5])
    means = np.array([[-2.0, 0.0], [1.5, 1.5], [0.5, -2.0]])
    covariances = np.array(
        [[[0.3, 0.1], [0.1, 0.1]], [[0.05, 0.0], [0.0, 0.05]], [[0.4, -0.15], [-0.15, 0.2]]]
    )
    variances, axes = np.linalg.eigh(covariances)
    return Gaussians(scalar(np.log(weights)), scalar(means), scalar(variances), scalar(axes))
