r"""Two-dimensional gauge theory on a torus, summed over representations.

A plaquette's weight is e^{(β/N) Re tr P} = Σ_r d_r λ_r χ_r(P), and links integrate out until

    Z = Σ_r λ_r^V,   W(A) = (1/N) Σ_{r, r' ∈ r ⊗ f} (d_{r'}/d_r) λ_r^{V−A} λ_{r'}^A / Z

remain, whatever the aspect of the torus of V plaquettes (the loop encloses A of them and does not
wind). λ_n = I_n(β) for U(1) and λ_d = 2 I_d(β)/β for SU(2). For SU(3) Weyl's formula, with the
Vandermonde determinant Δ multiplied in, makes all of them one Fourier transform:
d_{pq} λ_{pq} = F[p+q+2, q+1] with F the FFT over both eigenphases of Δ e^{(β/3) Re tr}. Sums use
λ_r/λ_0, so nothing overflows. A. A. Migdal, Sov. Phys. JETP 42 (1975) 413.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ive

from pushforward._errors import InputError
from pushforward.spaces import U1, AbstractGroup, AbstractMatrixGroup

GRID, LEVELS = 192, 24  # eigenphases of SU(3); p + q at most


@dataclass(frozen=True)
class Gauge2D:
    """Exact numbers of a 2-D gauge theory; made by `gauge2d`."""

    n: int
    beta: float
    volume: int
    dims: np.ndarray  # d_r
    ratio: np.ndarray  # λ_r / λ_0
    log_scale: float  # log λ_0
    fusion: tuple[np.ndarray, np.ndarray]  # pairs r, r' with r' in r ⊗ f

    @property
    def log_z(self) -> float:
        """Log Z with the Haar measure of total mass one."""
        return float(self.volume * self.log_scale + np.log(self._total))

    @property
    def plaquette(self) -> float:
        """⟨Re tr P⟩ / N, the loop of area one; V times it is ∂ log Z/∂β."""
        return self.wilson(1)

    def wilson(self, area: int) -> float:
        """Return ⟨Re tr W⟩ / N of a simple loop around `area` plaquettes, 0 ≤ area ≤ V."""
        if not 0 <= area <= self.volume:
            raise InputError(f"area is {area}, expected 0 to the volume {self.volume}")
        outside, inside = self.fusion
        shares = self.dims[inside] / self.dims[outside]
        powers = self.ratio[outside] ** (self.volume - area) * self.ratio[inside] ** area
        return float(np.sum(shares * powers) / (self.n * self._total))

    @property
    def q2(self) -> float:
        """⟨Q²⟩ of U(1), Q = (1/2π) Σ wrap(θ_P)."""
        x, w = self._angles()
        order = np.arange(len(self.ratio)) - len(self.ratio) // 2
        second = np.cos(np.outer(order, x)) @ (w * x**2)
        first = np.sin(np.outer(order, x)) @ (w * x)
        v = self.volume
        one, two = self.ratio ** (v - 1) * second, self.ratio ** (v - 2) * first**2
        return float((v * one.sum() - v * (v - 1) * two.sum()) / (4 * np.pi**2 * self._total))

    def charge_law(self, charges: np.ndarray, num: int = 128) -> np.ndarray:
        """Return P(Q = q) of U(1) for integers |q| < num/4.

        A vacuum angle ϑ turns n into n − ϑ/2π, and Z(ϑ)/Z(0) = Σ_q P(q) e^{iϑq}: the sum over n
        and the Fourier integral over ϑ are one integral over real ν of λ(ν)^V cos 2πνq.
        """
        x, w = self._angles()
        order = np.arange(-10 * num, 10 * num + 1) / num
        power = (np.cos(np.outer(order, x)) @ w) ** self.volume
        waves = np.cos(2 * np.pi * np.outer(np.asarray(charges), order))
        return waves @ power / num / self._total

    def _angles(self) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes x in [−π, π] and weights of (1/2π) ∫ e^{β cos x} · dx / I_0(β)."""
        if self.n != 1:
            raise InputError(f"in two dimensions only U(1) has a charge Q, not SU({self.n})")
        x, w = _gauss_legendre(400)
        x = np.pi * x
        return x, w * np.exp(self.beta * (np.cos(x) - 1)) / (2 * ive(0, self.beta))

    @property
    def _total(self) -> float:
        return float(np.sum(self.ratio**self.volume))


def gauge2d(group: AbstractGroup, beta: float, volume: int) -> Gauge2D:
    """Return exact plaquette, log Z, Wilson loops and ⟨Q²⟩ of Wilson's action on a 2-D torus.

    Parameters
    ----------
    group
        `U1()`, SU(2) or SU(3).
    beta
        β > 0 of `WilsonAction`. Ten digits up to β = 16; SU(3) to β = 12.
    volume
        Number of plaquettes V ≥ 2, whatever the aspect of the torus.
    """
    if not beta > 0 or volume < 2:
        raise InputError(f"got beta {beta} and volume {volume}, expected beta > 0, volume >= 2")
    if isinstance(group, U1):
        table = _u1(beta)
    elif isinstance(group, AbstractMatrixGroup) and group.n in (2, 3):
        table = {2: _su2, 3: _su3}[group.n](beta)
    else:
        raise InputError(f"gauge2d knows U(1), SU(2) and SU(3), got {group}")
    return Gauge2D(group.n, float(beta), int(volume), *table)


_gauss_legendre = lru_cache(np.polynomial.legendre.leggauss)


def _u1(beta: float) -> tuple:
    order = np.arange(-200, 201)
    bessel = ive(order, beta)  # e^{−β} I_n
    inside = np.arange(1, len(order))
    dims = np.ones(len(order))
    return dims, bessel / ive(0, beta), beta + np.log(ive(0, beta)), (inside - 1, inside)


def _su2(beta: float) -> tuple:
    dims = np.arange(1, 201)
    bessel = ive(dims, beta)
    low = np.arange(len(dims) - 1)
    fusion = np.r_[low, low + 1], np.r_[low + 1, low]
    return dims, bessel / bessel[0], beta + np.log(2 * bessel[0] / beta), fusion


def _su3(beta: float) -> tuple:
    a, b = np.meshgrid(*[2 * np.pi * np.arange(GRID) / GRID] * 2, indexing="ij")
    z = np.exp(1j * np.array([a, b, -a - b]))
    vandermonde = (z[0] - z[1]) * (z[0] - z[2]) * (z[1] - z[2])
    weight = np.exp(beta * (z.sum(0).real / 3 - 1))
    spectrum = np.fft.fft2(vandermonde * weight).real / GRID**2

    labels = [(p, q) for p in range(LEVELS + 1) for q in range(LEVELS + 1 - p)]
    p, q = np.array(labels).T
    dims = (p + 1) * (q + 1) * (p + q + 2) // 2
    lambdas = spectrum[p + q + 2, q + 1] / dims
    place = {label: k for k, label in enumerate(labels)}
    pairs = [
        (place[i, j], place[i + di, j + dj])
        for i, j in labels
        for di, dj in ((1, 0), (-1, 1), (0, -1))
        if (i + di, j + dj) in place
    ]
    return dims, lambdas / lambdas[0], beta + np.log(lambdas[0]), tuple(np.array(pairs).T)
