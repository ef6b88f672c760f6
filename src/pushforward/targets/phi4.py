r"""Scalar lattice fields: φ⁴ theory and its exactly solvable free limit.

One real number a site of a periodic lattice,

U(φ) = Σ_x { Σ_μ (φ_{x+μ} − φ_x)² + m² φ_x² + λ φ_x⁴ },

each bond once and **no factor ½**. The textbook form ½(∂φ)² + ½m²φ² + g φ⁴ is this one with
φ_book = √2 φ and λ = 4g. At λ = 0 the Fourier modes are independent normals of variance
1/(2 w_k), w_k = m² + Σ_μ 4 sin²(k_μ/2): `FreeField` has log Z and exact samples by FFT.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward._fields import non_negative, positive
from pushforward._tree import scalar
from pushforward._typing import Array, Float, PRNGKey, Scalar
from pushforward.spaces import Euclidean

from .base import AbstractDistribution, AbstractLocalEnergy


class Phi4(AbstractLocalEnergy):
    r"""U = Σ_x { Σ_μ (φ_{x+μ} − φ_x)² + m² φ_x² + λ φ_x⁴ } on a periodic lattice.

    Equal to Σ_x { −2 Σ_μ φ_x φ_{x+μ} + (2D + m²) φ_x² + λ φ_x⁴ }.

    Parameters
    ----------
    shape
        Extents of the lattice, such as `(16, 16)`. An extent of 2 links its pairs twice.
    m2
        Squared mass m²; negative for two phases.
    coupling
        λ > 0 (or = 0 with m² > 0: then take `FreeField`, which is normalised).
    """

    m2: Float[Array, "..."]
    coupling: Float[Array, "..."] = non_negative(hint="the density must decay, coupling=1.0")
    space: Euclidean

    def __init__(self, shape: int | tuple[int, ...], m2, coupling):
        self.m2, self.coupling = scalar(m2), scalar(coupling)
        self.space = Euclidean(shape)

    @classmethod
    def from_kappa(cls, shape: int | tuple[int, ...], kappa: float, coupling: float) -> "Phi4":
        r"""Translate S = Σ { −2κ Σ_μ ψ_x ψ_{x+μ} + (1 − 2λ_h) ψ² + λ_h ψ⁴ }, ψ = φ/√κ.

        Then m² = (1 − 2λ_h)/κ − 2D and λ = λ_h/κ²; log Z shifts by ½ V log κ.
        """
        dim = len(Euclidean(shape).shape)
        return cls(shape, (1 - 2 * coupling) / kappa - 2 * dim, coupling / kappa**2)

    def terms(self, x: Array) -> Array:
        """Return one term a site: its forward bonds and its own potential."""
        square = x * x
        return _bonds(x) + (self.m2 + self.coupling * square) * square

    def mass_spectrum(self, m2) -> Array:
        """Return M_k = 2 (k̂² + m2) for `FourierMass`: the Hessian of the free field of mass m2 > 0.

        Good value: the renormalised m² if it is known, at least 0.1.
        """
        m2 = scalar(m2)
        return 2 * (m2 + jnp.asarray(lattice_laplacian(self.space.shape), m2.dtype))


class FreeField(AbstractLocalEnergy, AbstractDistribution):
    r"""The normalised free field: U = Σ_x { Σ_μ (φ_{x+μ} − φ_x)² + m² φ_x² } + log Z.

    log Z = ½ Σ_k log(π/w_k). Sampled exactly by filtering white noise with (2 w_k)^{−½}.

    Parameters
    ----------
    shape
        Extents of the periodic lattice.
    m2
        Squared mass m² > 0.
    """

    m2: Float[Array, ""] = positive(hint="only then is the free field a measure")
    space: Euclidean

    def __init__(self, shape: int | tuple[int, ...], m2):
        self.m2 = scalar(m2)
        self.space = Euclidean(shape)
        if self.m2.shape:
            raise InputError(f"m2 has shape {self.m2.shape}, expected one number m2 > 0")

    @property
    def spectrum(self) -> Array:
        """The eigenvalues w_k = m² + k̂², an array of the lattice's shape in FFT order."""
        return self.m2 + jnp.asarray(lattice_laplacian(self.space.shape), self.m2.dtype)

    @property
    def log_z(self) -> Scalar:
        """½ Σ_k log(π/w_k), the log normaliser of the bare action."""
        return 0.5 * jnp.sum(math.log(math.pi) - jnp.log(self.spectrum))

    def terms(self, x: Array) -> Array:
        """Return one term a site; log Z is shared equally."""
        return _bonds(x) + self.m2 * x * x + self.log_z / self.space.dim

    def sample(self, *, key: PRNGKey) -> Array:
        """Draw φ = F⁻¹ (2 w)^{−½} F ξ with white noise ξ."""
        noise = jnp.fft.fftn(jax.random.normal(key, self.space.shape, self.m2.dtype))
        amplitude = jax.lax.rsqrt(2 * self.spectrum)
        return jnp.fft.ifftn(noise * amplitude.astype(noise.dtype)).real


def lattice_laplacian(shape: tuple[int, ...]) -> np.ndarray:
    """Return k̂² = Σ_μ 4 sin²(k_μ/2), the spectrum of minus the lattice Laplacian, in FFT order."""
    squares = [4 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in shape]
    return sum(np.ix_(*squares), start=np.zeros(shape))


def _bonds(x: Array) -> Array:
    differences = [jnp.roll(x, -1, axis) - x for axis in range(x.ndim)]
    return sum((d**2 for d in differences[1:]), start=differences[0] ** 2)
