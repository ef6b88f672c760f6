r"""The spin-fermion model of one site, solved.

Z is the trace of a transfer matrix between slices, (the field at a slice) ⊗ (the 16
Fock states of x↑, x↓, y↑, y↓), exact at finite Δτ:

T = e^{−(φ'−φ)²/(2Δτc²)} · e^{−Δτ K/2} e^{−Δτ V(φ)} e^{−Δτ K/2} e^{−Δτ (r φ²/2 + u φ⁴/4)}.

Electrons of (x↑, y↓) and of (x↓, y↑) are conserved apart: nine sectors of at most four states. For
N = 1 the field is a Gauss–Hermite grid. For N = 2 it is a radius and an angle θ; with
x↑ -> e^{−iθ} x↑, x↓ -> e^{iθ} x↓ the coupling forgets θ, and the kinetic kernel of angular momentum
m is 2π I_{m+s}(r r'/(Δτ c²)) e^{−(r²+r'²)/(2Δτc²)}, s = n_{x↓} − n_{x↑}.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import expm
from scipy.special import ive

from pushforward._errors import InputError
from pushforward.targets.metal.model import SpinFermion

MODES = ("x up", "x down", "y up", "y down")


class OneSite(NamedTuple):
    """Exact answers: log Z, ⟨|φ|²⟩, ⟨|φ|⁴⟩, ⟨φ_0·φ_{L/2}⟩, electrons in all modes, ⟨φ_1⟩."""

    log_z: float
    phi2: float
    phi4: float
    correlation: float
    density: float
    phi: float


def one_site_transfer(model: SpinFermion, *, field: float = 0.0, nodes: int = 60) -> OneSite:
    """Return the exact answers of a (1, 1) lattice.

    Parameters
    ----------
    model
        N = 1 or 2, an even number of slices, finite velocity.
    field
        h of an extra term Σ_l Δτ h φ_l; N = 1 only.
    nodes
        Of the grid: 60 and 80 agree to 1e-13 for the parameters of the tests.
    """
    if model.shape != (1, 1) or model.num_slices % 2 or not np.isfinite(float(model.velocity)):
        raise InputError(
            f"one_site_transfer got shape {model.shape}, {model.num_slices} slices and velocity "
            f"{float(model.velocity)}, expected (1, 1), an even number and a finite one"
        )
    if field and model.num_components != 1:
        raise InputError("field needs num_components=1: a field in a plane breaks its rotations")
    grid = _line(model, field, nodes) if model.num_components == 1 else _plane(model, nodes)
    return _trace(grid, model.num_slices)


class _Grid(NamedTuple):
    """A field of one slice: kernels (m, s) -> (n, n), local factors, and what φ joins."""

    kernels: dict[tuple[int, int], np.ndarray]
    local: np.ndarray  # (n, 16, 16), weights included
    values: np.ndarray  # φ, or its radius
    momenta: range
    shift: int  # φ takes m to m + shift


def _line(model: SpinFermion, field: float, nodes: int) -> _Grid:
    x, weights = np.polynomial.hermite.hermgauss(nodes)
    scale = 0.5
    phi = scale * x
    log_weight = np.log(scale * weights) + x * x - _potential(model, phi**2)
    log_weight -= float(model.dtau) * field * phi
    kernel = np.exp(-(np.subtract.outer(phi, phi) ** 2) * _stiff(model))
    kernels = {(0, s): kernel for s in (-1, 0, 1)}
    return _Grid(kernels, _local(model, phi, log_weight), phi, range(1), 0)


def _plane(model: SpinFermion, nodes: int, largest: int = 20, reach: float = 6.0) -> _Grid:
    x, weights = np.polynomial.legendre.leggauss(nodes)
    r = reach * (x + 1) / 2
    log_weight = np.log(reach * weights / 2 * r) - _potential(model, r**2)
    stiff, momenta = _stiff(model), range(-largest, largest + 1)
    gauss = 2 * np.pi * np.exp(-(np.subtract.outer(r, r) ** 2) * stiff)
    argument = 2 * stiff * np.multiply.outer(r, r)
    kernels = {(m, s): gauss * ive(m + s, argument) for m in momenta for s in (-1, 0, 1)}
    return _Grid(kernels, _local(model, r, log_weight), r, momenta, 1)


def _trace(grid: _Grid, num_slices: int) -> OneSite:
    z = phi2 = phi4 = correlation = density = phi = 0.0
    for states, electrons in _sectors():
        values = np.repeat(grid.values, len(states))
        half = {
            m: np.linalg.matrix_power(_transfer(grid, m, states), num_slices // 2)
            for m in grid.momenta
        }
        for m, power in half.items():
            diagonal = np.einsum("ij,ji->i", power, power)
            z += diagonal.sum()
            density += electrons * diagonal.sum()
            phi2 += diagonal @ values**2
            phi4 += diagonal @ values**4
            phi += diagonal @ values if grid.shift == 0 else 0.0
            if m + grid.shift in half:
                other = half[m + grid.shift]
                correlation += values @ (other * power.T) @ values
    moments = [float(a / z) for a in (phi2, phi4, correlation, density, phi)]
    return OneSite(float(np.log(z)), *moments)


def _transfer(grid: _Grid, m: int, states: list[int]) -> np.ndarray:
    n, dim = len(grid.values), len(states)
    local = grid.local[:, states][:, :, states]
    kernel = np.stack([grid.kernels[m, _spin(f)] for f in states], axis=-1)  # (n', n, f')
    return np.einsum("ijf,jfg->ifjg", kernel, local).reshape(n * dim, n * dim)


def _local(model: SpinFermion, values: np.ndarray, log_weight: np.ndarray) -> np.ndarray:
    """Return e^{−ΔτK/2} e^{−ΔτV} e^{−ΔτK/2} times the weight of each grid point, (n, 16, 16)."""
    dtau, annihilate = float(model.dtau), _annihilators()
    number = [c.T @ c for c in annihilate]
    x_up, x_down, y_up, y_down = annihilate
    jump = x_up.T @ y_down + x_down.T @ y_up
    jump = float(model.coupling[0, 0]) * (jump + jump.T)
    bands, v = np.ravel(model.dispersion), np.ravel(model.potential)
    static = sum(v[k // 2] * number[k] for k in range(4))
    kinetic = sum(bands[k // 2] * number[k] for k in range(4))
    half = np.exp(-dtau / 2 * np.diag(kinetic))
    local = expm(-dtau * (values[:, None, None] * jump + static))
    return np.exp(log_weight)[:, None, None] * half[:, None] * local * half


def _annihilators() -> list[np.ndarray]:
    """Return c of the four modes by Jordan and Wigner, 16 x 16; bit k of a state is mode k."""
    matrices = []
    for k in range(4):
        c = np.zeros((16, 16))
        for state in range(16):
            if state >> k & 1:
                c[state ^ 1 << k, state] = (-1) ** (state & (1 << k) - 1).bit_count()
        matrices.append(c)
    return matrices


def _sectors() -> list[tuple[list[int], int]]:
    """Return the states of each pair of conserved numbers, and the electrons they hold."""

    def numbers(f: int) -> tuple[int, int]:
        return (f & 1) + (f >> 3 & 1), (f >> 1 & 1) + (f >> 2 & 1)

    pairs = product(range(3), repeat=2)
    return [([f for f in range(16) if numbers(f) == pair], sum(pair)) for pair in pairs]


def _spin(f: int) -> int:
    """Return s = n_{x↓} − n_{x↑} of a Fock state."""
    return (f >> 1 & 1) - (f & 1)


def _stiff(model: SpinFermion) -> float:
    return 1 / (2 * float(model.dtau) * float(model.velocity) ** 2)


def _potential(model: SpinFermion, square: np.ndarray) -> np.ndarray:
    mass, quartic = float(model.mass[0, 0]), float(model.quartic)
    return float(model.dtau) * (mass / 2 + quartic / 4 * square) * square
