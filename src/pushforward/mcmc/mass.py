r"""Masses of Hamiltonian dynamics: K(p) = ½ ⟨p, M⁻¹ p⟩, p ~ N(0, M), dx/dt = M⁻¹ p.

Any positive M leaves the law of x alone; a good one makes all directions equally fast. On a
periodic lattice the Hessian of a free action is diagonal in momentum space, so M is a spectrum
(Fourier acceleration): with M_k = 2 (k̂² + m²) every mode of the free field turns with frequency 1.
"""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._fields import positive
from .._tree import concrete
from .._typing import Array, Float, PRNGKey, V, X
from ..spaces import AbstractManifold


class AbstractMass(eqx.Module):
    """A positive symmetric M on tangent vectors, the same at every point."""

    @abstractmethod
    def momentum(self, space: AbstractManifold, x: X, *, key: PRNGKey) -> V:
        """Draw p ~ N(0, M)."""

    @abstractmethod
    def velocity(self, p: V) -> V:
        """Return M⁻¹ p."""


class IdentityMass(AbstractMass):
    """M = 1: momenta are the unit noise of the space."""

    def momentum(self, space: AbstractManifold, x: X, *, key: PRNGKey) -> V:
        return space.noise(x, key=key)

    def velocity(self, p: V) -> V:
        return p


class FourierMass(AbstractMass):
    r"""M_k in momentum space, p = F⁻¹ √M_k F ξ with white noise ξ.

    Parameters
    ----------
    spectrum
        M_k > 0 on the FFT grid of the LAST `spectrum.ndim` axes of a real field, M_k = M_{−k}; the
        axes before are copies. Good value: the Hessian of the Gaussian part of the action, as
        `Phi4.mass_spectrum(m2)` gives it, m2 = .1 to 1; 2 · `FreeField.spectrum` is exact there.

    References
    ----------
    G. Batrouni et al., *Langevin simulations of lattice field theories*, Phys. Rev. D 32 (1985)
    2736.
    """

    spectrum: Float[Array, "..."] = positive(hint="a spectrum is an array of positive M_k")

    def __check_init__(self):
        known = concrete(self.spectrum)
        if known is None:
            return
        if known.ndim < 1:
            raise InputError(f"a spectrum is an array of positive M_k, got {known}")
        reflected = known
        for axis in range(known.ndim):
            reflected = np.take(reflected, -np.arange(known.shape[axis]), axis)
        if not np.allclose(reflected, known):
            raise InputError(
                "the spectrum is not even, M_k != M_-k: p would be complex. It lives on the whole "
                "FFT grid, as jnp.fft.fftfreq(n) does, not on the half grid of rfft"
            )

    def momentum(self, space: AbstractManifold, x: X, *, key: PRNGKey) -> V:
        return self._filtered(space.noise(x, key=key), jnp.sqrt)

    def velocity(self, p: V) -> V:
        return self._filtered(p, jnp.reciprocal)

    def _filtered(self, field: Array, of) -> Array:
        shape = self.spectrum.shape
        if jnp.shape(field)[-len(shape) :] != shape or jnp.iscomplexobj(field):
            raise InputError(
                f"a spectrum of shape {shape} acts on the last {len(shape)} axes of a real field, "
                f"got {jnp.result_type(field)}{list(jnp.shape(field))}"
            )
        axes = tuple(range(-len(shape), 0))
        half = of(self.spectrum[..., : shape[-1] // 2 + 1])
        modes = jnp.fft.rfftn(field, axes=axes)
        half = jnp.broadcast_to(half, modes.shape).astype(modes.dtype)
        return jnp.fft.irfftn(modes * half, s=shape, axes=axes).astype(field.dtype)
