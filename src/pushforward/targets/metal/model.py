r"""A two-band metal whose electrons scatter off an order-parameter field, one coupling a site.

Electrons in bands b = x, y hop on a periodic lattice and couple to a real field φ of N components,

H = Σ_k ε_b(k) c†c + Σ_r v_{b,r} n_{b,r} + Σ_r λ_r φ_r · (ψ_x† σ ψ_y + h.c.),
ε_b(k) = −2 t_b^h cos k_x − 2 t_b^v cos k_y − μ_b.

φ lives in imaginary time, L_τ slices of length Δτ. With S_b its own action (`BosonAction`) and n_f
copies of the electrons,

Z = ∫ Dφ e^{−S_b(φ)} det(1 + B_{L_τ−1} ⋯ B_0)^{n_f},   B_l = e^{−Δτ K/2} e^{−Δτ V(φ_l)} e^{−Δτ K/2}.

This split is the definition of the model, not an approximation to be removed. B̃_l = e^{−Δτ K}
e^{−Δτ V_l} is similar to it and has the same determinant.

For N <= 2 the matrices fall into two blocks, (x↑, y↓) and (x↓, y↑), complex conjugates of each
other, so det = |det M_1|² >= 0: no sign problem, whatever the real λ, v and r. The y band is stored
shifted by (π, π): φ at momentum zero is the order parameter at that momentum.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import ArrayLike

from pushforward._errors import InputError
from pushforward._fields import integer, non_negative, positive
from pushforward._tree import concrete, scalar
from pushforward._typing import Array, Float
from pushforward.spaces import Euclidean, extents

from .hyperbolic import cosh_root, sinhc_root

HOPPING = ((1.0, 0.5), (-0.5, -1.0))
CHEMICAL_POTENTIAL = (-0.5, -0.5)


class DisorderFields(NamedTuple):
    """What differs from sample to sample: λ_r (Lx, Ly), v_{b,r} (2, Lx, Ly), r_r (Lx, Ly)."""

    coupling: Array
    potential: Array
    mass: Array


class SpinFermion(eqx.Module):
    r"""The disordered two-band spin-fermion model, N = 1 or 2; every number is a leaf.

    Parameters
    ----------
    shape
        (Lx, Ly). An extent of 2 has a double bond, an extent of 1 a bond to itself.
    num_slices
        L_τ; β = L_τ Δτ.
    num_components
        N of the field: 1 Ising, 2 XY.
    num_flavours
        n_f, copies of the electrons.
    coupling
        λ_r, REAL; a number or (Lx, Ly). Disorder: λ_r = g + g' ξ_r, good value g = 0, g' = 1.
    potential
        v, a number, (Lx, Ly) or (2, Lx, Ly); independent of spin.
    mass
        r_r, a number or (Lx, Ly); may be negative where u > 0.
    quartic
        u >= 0.
    hopping
        t_b^μ, (2 bands, 2 directions), the unit of energy; direction h is axis 0, v axis 1.
    chemical_potential
        μ_b, (2,).
    velocity
        c > 0; `inf` switches the time derivative of φ off.
    stiffness
        κ >= 0.
    dtau
        Δτ. Good value .1; e^{Δτ W}, W the largest |ε|, may not exceed 1e8.

    References
    ----------
    Patel, Lunts and Albergo 2024 (arXiv 2410.05365) for the model's family; the parameter values
    are ours.
    """

    coupling: Float[Array, "..."]
    potential: Float[Array, "..."]
    mass: Float[Array, "..."]
    quartic: Float[Array, ""] = non_negative()
    hopping: Float[Array, "2 2"]
    chemical_potential: Float[Array, " 2"]
    velocity: Float[Array, ""] = positive()
    stiffness: Float[Array, ""] = non_negative()
    dtau: Float[Array, ""] = positive(example=0.1)
    shape: tuple[int, ...] = eqx.field(static=True)
    num_slices: int = integer(least=1)
    num_components: int = integer(least=1)
    num_flavours: int = integer(least=1)

    def __init__(
        self,
        shape: tuple[int, int],
        num_slices: int,
        *,
        num_components: int = 2,
        num_flavours: int = 1,
        coupling: ArrayLike = 1.0,
        potential: ArrayLike = 0.0,
        mass: ArrayLike = 1.0,
        quartic: ArrayLike = 1.0,
        hopping: ArrayLike | Sequence = HOPPING,
        chemical_potential: ArrayLike | Sequence = CHEMICAL_POTENTIAL,
        velocity: ArrayLike = 2.0,
        stiffness: ArrayLike = 1.0,
        dtau: ArrayLike = 0.1,
    ):
        self.shape = extents(shape, least=2, most=2)
        self.num_slices, self.num_flavours = num_slices, num_flavours
        self.num_components = num_components
        self.coupling = _field("coupling", _real_coupling(coupling), self.shape)
        self.potential = _field("potential", potential, (2, *self.shape))
        self.mass = _field("mass", mass, self.shape)
        self.hopping = _field("hopping", hopping, (2, 2))
        self.chemical_potential = _field("chemical_potential", chemical_potential, (2,))
        self.quartic, self.velocity = scalar(quartic), scalar(velocity)
        self.stiffness, self.dtau = scalar(stiffness), scalar(dtau)

    def __check_init__(self):
        if self.num_components > 2:
            raise InputError(
                f"num_components is {self.num_components}, expected 1 (Ising) or 2 (XY): for three "
                "the determinant does not fall into two conjugate blocks, and it is not built yet"
            )
        width = concrete(self.bandwidth)
        if width is not None and (np.asarray(self.dtau) * width > np.log(1e8)).any():
            raise InputError(
                f"dtau = {np.asarray(self.dtau)} times the largest band energy {width} makes "
                "e^(dtau W) > 1e8: reduce dtau"
            )
        self._check_gaussian()

    def _check_gaussian(self):
        quartic, lowest = concrete(self.quartic), None
        if quartic is not None and (quartic == 0).all() and concrete(self.mass) is not None:
            lowest = float(np.linalg.eigvalsh(static_boson_matrix(self))[0])
        if lowest is not None and lowest <= 0:
            raise InputError(
                f"quartic = 0 and the lowest eigenvalue of mass + stiffness·(−Laplacian) is "
                f"{lowest:.6g}: the field would run away. Write quartic=1.0, or a larger mass"
            )

    @property
    def space(self) -> Euclidean:
        """Where φ lives: real (N, L_τ, Lx, Ly)."""
        return Euclidean((self.num_components, self.num_slices, *self.shape))

    @property
    def num_sites(self) -> int:
        """V = Lx Ly."""
        return self.shape[0] * self.shape[1]

    @property
    def dispersion(self) -> Float[Array, "2 Lx Ly"]:
        """The stored bands ε_b(k) in FFT order; the y band at k belongs to momentum k + (π, π)."""
        angles = [2 * np.pi * np.arange(n) / n for n in self.shape]
        cosines = [jnp.asarray(np.cos(a), self.hopping.dtype) for a in angles]
        t, mu = self.hopping[:, :, None, None], self.chemical_potential[:, None, None]
        return -2 * (t[:, 0] * cosines[0][None, :, None] + t[:, 1] * cosines[1][None, None]) - mu

    @property
    def bandwidth(self) -> Float[Array, ""]:
        """A bound of |ε|: 2 Σ_μ |t_b^μ| + |μ_b|, the larger of the two bands."""
        each = 2 * jnp.sum(jnp.abs(self.hopping), -1) + jnp.abs(self.chemical_potential)
        return jnp.max(each)

    @property
    def disorder(self) -> DisorderFields:
        """The fields of one sample: `stacked=lambda kernel: kernel.path.model.disorder`."""
        return DisorderFields(self.coupling, self.potential, self.mass)

    def with_disorder(self, fields: DisorderFields) -> "SpinFermion":
        """Return the model with these fields; with a leading axis it is a stack of samples."""
        return eqx.tree_at(lambda m: m.disorder, self, fields)

    def hop(self, time: Float[Array, ""]) -> Float[Array, "2 V V"]:
        """Return e^{−time·K} of both bands in real space, real and symmetric."""
        wave, decay = _plane_waves(self.shape), jnp.exp(-time * self.dispersion.reshape(2, -1))
        parts = (jnp.asarray(part, decay.dtype) for part in (wave.real, wave.imag))
        cosines, sines = (jnp.einsum("rk,bk,sk->brs", part, decay, part) for part in parts)
        return cosines + sines

    def interaction(self, phi: Float[Array, "N L Lx Ly"]) -> Array:
        r"""Return e^{−Δτ V} of block 1 = (x↑, y↓) at every site and slice, (2, 2, L_τ, Lx, Ly).

        With w = λ(φ_1 − iφ_2), v̄ and d the mean and half difference of v_x, v_y, and
        a² = Δτ²(|w|² + d²), exactly e^{−Δτ v̄} [cosh a − Δτ (sinh a / a) (d τ_3 + w τ_+ + w̄ τ_−)].
        Real for N = 1.
        """
        mean = (self.potential[0] + self.potential[1]) / 2
        half = (self.potential[0] - self.potential[1]) / 2
        w = self.coupling[None, None] * phi
        square = self.dtau**2 * (jnp.sum(w * w, 0) + (half * half)[None])
        decay = jnp.exp(-self.dtau * mean)[None]
        c, s = decay * cosh_root(square), decay * self.dtau * sinhc_root(square)
        upper = w[0] if self.num_components == 1 else lax.complex(w[0], -w[1])
        c, s, half = (jnp.asarray(a, upper.dtype) for a in (c, s, half[None]))
        return jnp.stack(
            [jnp.stack([c - s * half, -s * upper]), jnp.stack([-s * jnp.conj(upper), c + s * half])]
        )

    def slices(self, phi: Float[Array, "N L Lx Ly"]) -> Array:
        """Return B̃_l = e^{−Δτ K} e^{−Δτ V_l} of block 1, (L_τ, 2V, 2V), band-major."""
        size = self.num_sites
        local = self.interaction(phi).reshape(2, 2, self.num_slices, size)
        local = jnp.transpose(local, (2, 0, 1, 3))[:, :, None]  # (l, b, 1, b', r')
        hop = self.hop(self.dtau)[None, :, :, None].astype(local.dtype)
        return (hop * local).reshape(self.num_slices, 2 * size, 2 * size)


def static_boson_matrix(model: SpinFermion) -> np.ndarray:
    """Return r_r δ_rr' + κ(−Laplacian) on the lattice, (V, V), in NumPy."""
    wave = _plane_waves(model.shape)
    momenta = [4 * np.sin(np.pi * np.arange(n) / n) ** 2 for n in model.shape]
    laplacian = (wave * np.add.outer(*momenta).reshape(-1)) @ wave.conj().T
    mass = np.asarray(model.mass, np.float64).reshape(-1)
    return np.diag(mass) + float(model.stiffness) * laplacian.real


def _plane_waves(shape: tuple[int, ...]) -> Any:
    """Return e^{ik·r}/√V, sites first, both in row-major order."""
    axes = [np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in shape]
    return np.kron(*axes) / np.sqrt(np.prod(shape))


def _field(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    array = scalar(value)
    try:
        return jnp.broadcast_to(array, shape)
    except ValueError as error:
        raise InputError(f"{name} has shape {array.shape}, expected {shape} or a number") from error


def _real_coupling(value: ArrayLike) -> ArrayLike:
    if jnp.issubdtype(jnp.result_type(value), jnp.complexfloating):
        raise InputError(
            "coupling must be real: a complex Yukawa coupling has a sign problem (its determinant "
            "is negative or complex for some fields). Write coupling=jnp.real(coupling)"
        )
    return value
