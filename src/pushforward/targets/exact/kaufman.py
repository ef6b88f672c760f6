r"""The Ising torus of any size: Kaufman's partition function.

Z = ½ (2 sinh 2K)^{mn/2} [ Π 2cosh(n γ_{2r+1}/2) + Π 2sinh(n γ_{2r+1}/2)
                           + Π 2cosh(n γ_{2r}/2) + Π 2sinh(n γ_{2r}/2) ],   r = 0 .. m−1,

cosh γ_l = cosh 2K coth 2K − cos(πl/m), γ_l > 0 for l > 0, but γ_0 = 2K + log tanh K with its SIGN:
below the critical coupling the fourth product is negative. Sums are taken in log space; energy and
heat capacity are derivatives of log Z. (Kaufman 1949, Phys. Rev. 76, 1232, eq. 61.)
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._typing import Array, Scalar


def kaufman_log_z(m: int, n: int, coupling: float) -> float:
    """Return log Z of the m x n Ising torus without field at K = `coupling` > 0."""
    return _in_double(lambda k: _log_z(m, n, k), m, n, coupling)


def kaufman_energy(m: int, n: int, coupling: float) -> float:
    """Return −⟨Σ_<ij> x_i x_j⟩/(mn) = −∂ log Z/∂K/(mn), an energy a site in units of J."""
    return _in_double(jax.grad(lambda k: -_log_z(m, n, k) / (m * n)), m, n, coupling)


def kaufman_heat_capacity(m: int, n: int, coupling: float) -> float:
    """Return K² ∂² log Z/∂K²/(mn)."""
    second = jax.grad(jax.grad(lambda k: _log_z(m, n, k)))
    return _in_double(lambda k: k * k * second(k) / (m * n), m, n, coupling)


def _in_double(fn: Callable[[Scalar], Scalar], m: int, n: int, coupling: float) -> float:
    if min(m, n) < 2 or not 0 < coupling < float("inf"):
        raise InputError(
            f"got a {m} x {n} torus and K = {coupling}, expected extents >= 2 and K > 0"
        )
    with jax.enable_x64(True):
        return float(fn(jnp.asarray(coupling, jnp.float64)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_z(m: int, n: int, k: Scalar) -> Scalar:
    lengths = jnp.arange(1, 2 * m, dtype=k.dtype)
    gamma = jnp.arccosh(jnp.cosh(2 * k) / jnp.tanh(2 * k) - jnp.cos(jnp.pi * lengths / m))
    odd, even = 0.5 * n * gamma[::2], 0.5 * n * gamma[1::2]
    zero = 0.5 * n * signed_gamma_zero(k)
    logs = [
        jnp.sum(_log_2cosh(odd)),
        jnp.sum(_log_2sinh(odd)),
        jnp.sum(_log_2cosh(even)) + _log_2cosh(zero),
        jnp.sum(_log_2sinh(even)) + jnp.abs(zero),
    ]
    # the last product is e^{|z|} (±)(1 − e^{−2|z|}) Π', z = n γ_0/2
    shrunk = -jnp.expm1(-2 * jnp.abs(zero))
    signs = jnp.stack([*[jnp.ones_like(k)] * 3, jnp.where(zero >= 0, shrunk, -shrunk)])
    total = jax.scipy.special.logsumexp(jnp.stack(logs), b=signs)
    return total - jnp.log(2.0) + 0.5 * m * n * jnp.log(2 * jnp.sinh(2 * k))


def signed_gamma_zero(k: Scalar) -> Scalar:
    """Return γ_0 = 2K + log tanh K: negative below the critical coupling."""
    return 2 * k + jnp.log(jnp.tanh(k))


def _log_2cosh(z: Array) -> Array:
    return jnp.abs(z) + jnp.log1p(jnp.exp(-2 * jnp.abs(z)))


def _log_2sinh(z: Array) -> Array:
    return jnp.abs(z) + jnp.log(-jnp.expm1(-2 * jnp.abs(z)))
