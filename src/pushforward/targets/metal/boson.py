r"""The action of the order-parameter field alone.

S_b = Σ_{l,r} { |φ_{l+1} − φ_l|²/(2Δτ c²) + Δτ [ (κ/2) Σ_μ |φ(r+μ) − φ(r)|² + (r_r/2)|φ|²
      + (u/4)|φ|⁴ ] },   periodic in time and space.

At u = 0 and uniform r its Fourier modes (unitary transform) are independent with
⟨|φ_{w,q}|²⟩ = N/M(w, q), M the `mass_spectrum`: the masses that make all of them turn at one
frequency in HMC.
"""

import jax.numpy as jnp
from jaxtyping import ArrayLike

from pushforward._tree import scalar
from pushforward._typing import Array, Float
from pushforward.spaces import Euclidean

from ..base import AbstractLocalEnergy
from ..phi4 import lattice_laplacian
from .model import SpinFermion


class BosonAction(AbstractLocalEnergy):
    """S_b of a `SpinFermion`: what is left of it without electrons."""

    model: SpinFermion

    def __init__(self, model: SpinFermion):
        self.model = model

    @property
    def space(self) -> Euclidean:
        return self.model.space

    def terms(self, x: Float[Array, "N L Lx Ly"]) -> Float[Array, "L Lx Ly"]:
        """Return one term a slice and site, forward bonds included."""
        model = self.model
        time, *spatial = (jnp.sum((jnp.roll(x, -1, axis) - x) ** 2, 0) for axis in (1, 2, 3))
        square = jnp.sum(x * x, 0)
        potential = (model.mass[None] / 2 + model.quartic / 4 * square) * square
        static = model.stiffness / 2 * (spatial[0] + spatial[1]) + potential
        return time / (2 * model.dtau * model.velocity**2) + model.dtau * static

    def mass_spectrum(self, mass: ArrayLike | None = None) -> Float[Array, "L Lx Ly"]:
        r"""Return M(w, q) = 4 sin²(w/2)/(Δτ c²) + Δτ [ r + κ Σ_μ 4 sin²(q_μ/2) ], FFT order.

        Parameters
        ----------
        mass
            r > 0. Default and good value: max(mean of r_r, ½).
        """
        model = self.model
        r = jnp.maximum(jnp.mean(model.mass), 0.5) if mass is None else scalar(mass)
        dtype = model.dtau.dtype
        time = jnp.asarray(lattice_laplacian((model.num_slices,)), dtype)[:, None, None]
        space = jnp.asarray(lattice_laplacian(model.shape), dtype)[None]
        inverse = 1 / (model.dtau * model.velocity**2)
        return inverse * time + model.dtau * (r + model.stiffness * space)
