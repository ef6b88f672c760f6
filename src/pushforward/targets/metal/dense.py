r"""The determinant, exactly: slices are multiplied in clusters, clusters are kept apart.

With (M x)_l = x_l − B_l x_{l−1}, x_{−1} = −x_{L_τ−1} (antiperiodic: electrons), det M =
det(1 + B_{L_τ−1} ⋯ B_0). The product of all slices spans e^{±βW} and loses every digit beyond
βW ≈ 20; M itself is well conditioned and large. So k slices are multiplied, k Δτ W <= 10, and the
same matrix of the L_τ/k products C_j has the same determinant: one LU of 2V L_τ/k rows.
"""

import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward._fields import integer
from pushforward._tree import concrete
from pushforward._typing import Array, Float, Scalar
from pushforward.spaces import Euclidean

from ..base import AbstractEnergy
from .boson import BosonAction
from .model import SpinFermion

LARGEST = 6000
STEEPEST = 20.0


def clusters(slices: Array, size: int) -> Array:
    """Return the products of `size` successive matrices, later ones to the left.

    The last product is shorter where `size` does not divide their number.
    """
    num, dim = slices.shape[0], slices.shape[-1]
    count = -(-num // size)
    rest = jnp.broadcast_to(jnp.eye(dim, dtype=slices.dtype), (count * size - num, dim, dim))
    parts = jnp.concatenate([slices, rest]).reshape(count, size, dim, dim)
    product = parts[:, 0]
    for k in range(1, size):
        product = parts[:, k] @ product
    return product


def cyclic(blocks: Array) -> Array:
    """Return the matrix of (M x)_j = x_j − C_j x_{j−1}, x_{−1} = −x_{m−1}, from C_j (m, n, n)."""
    count, dim = blocks.shape[0], blocks.shape[-1]
    rows = jnp.arange(count)
    sign = jnp.where(rows == 0, 1, -1).astype(blocks.dtype)[:, None, None]
    matrix = jnp.eye(count * dim, dtype=blocks.dtype).reshape(count, dim, count, dim)
    return matrix.at[rows, :, rows - 1].add(sign * blocks).reshape(count * dim, count * dim)


def block_matrix(model: SpinFermion, phi: Array, cluster: int = 10) -> Array:
    """Return M_1 of the clusters of block 1, square with 2V ⌈L_τ/k⌉ rows; real for N = 1."""
    return cyclic(clusters(model.slices(phi), cluster))


def block_log_det(model: SpinFermion, phi: Array, cluster: int = 10) -> tuple[Array, Scalar]:
    """Return (phase, log|det M_1|) of block 1; the phase is ±1 for N = 1."""
    sign, log_abs = jnp.linalg.slogdet(block_matrix(model, phi, cluster))
    return sign, log_abs


def log_det(model: SpinFermion, phi: Array, cluster: int = 10) -> Scalar:
    """Return log det(1 + B_{L_τ−1} ⋯ B_0) = 2 log|det M_1|, both spins and bands, one flavour."""
    return 2 * block_log_det(model, phi, cluster)[1]


def green(model: SpinFermion, phi: Array) -> Float[Array, "L n L n"]:
    r"""Return G(l, l') = ⟨c_l c†_l'⟩ of block 1 in the symmetric split, all pairs of slices.

    G = M^{-1}: just after slice l at equal times; −⟨c†_l' c_l⟩ for l < l'. The density is
    1 − G(l, l). Block 2 is the complex conjugate. Rows are band-major, n = 2V.
    """
    check_size(2 * model.num_sites * model.num_slices, "the Green function of all slices")
    inverse = jnp.linalg.inv(block_matrix(model, phi, 1))
    num, dim = model.num_slices, 2 * model.num_sites
    forth, back = (_both_bands(model.hop(sign * model.dtau / 2)) for sign in (-1, 1))
    forth, back = forth.astype(inverse.dtype), back.astype(inverse.dtype)
    return jnp.einsum("ab,ibjc,cd->iajd", forth, inverse.reshape(num, dim, num, dim), back)


class DenseAction(AbstractEnergy):
    r"""U(φ) = S_b(φ) − 2 n_f log|det M_1(φ)|: the exact energy, one LU each.

    Parameters
    ----------
    model
        A `SpinFermion`.
    cluster
        k, slices multiplied together. Good values: k Δτ W <= 10, so 10 at Δτ = .1; refused
        above 20, where digits are lost, and beyond a matrix of 6000 rows.
    """

    model: SpinFermion
    cluster: int = integer(least=1)

    def __init__(self, model: SpinFermion, cluster: int = 10):
        self.model, self.cluster = model, cluster

    def __check_init__(self):
        check_clusters(self.model, self.cluster)

    @property
    def space(self) -> Euclidean:
        return self.model.space

    def __call__(self, x: Float[Array, "N L Lx Ly"]) -> Scalar:
        electrons = log_det(self.model, x, self.cluster)
        return BosonAction(self.model)(x) - self.model.num_flavours * electrons


def check_clusters(model: SpinFermion, cluster: int) -> None:
    """Refuse clusters that lose digits, and matrices that do not fit."""
    steep, width, dtau = 0.0, concrete(model.bandwidth), concrete(model.dtau)
    if width is not None and dtau is not None:
        steep = float(np.max(dtau * width)) * min(cluster, model.num_slices)
    if steep > STEEPEST:
        raise InputError(
            f"cluster·dtau·bandwidth is {steep:.3g}, expected at most {STEEPEST:g}: digits would "
            f"be lost. Write cluster={max(1, int(cluster * STEEPEST / steep / 2))}"
        )
    rows = 2 * model.num_sites * -(-model.num_slices // cluster)
    check_size(rows, "the determinant in clusters")


def check_size(rows: int, what: str) -> None:
    """Refuse a dense matrix that does not fit."""
    if rows > LARGEST:
        raise InputError(
            f"{what} is a dense matrix of {rows} rows ({16 * rows**2 / 1e9:.1f} GB), expected at "
            f"most {LARGEST}: use a smaller lattice, fewer slices or a larger cluster"
        )


def _both_bands(matrices: Float[Array, "2 V V"]) -> Array:
    zero = jnp.zeros_like(matrices[0])
    return jnp.block([[matrices[0], zero], [zero, matrices[1]]])
