r"""The determinant as a Gaussian integral over complex pseudofermions.

Take Φ = M†R with complex normal R, ⟨|R_i|²⟩ = 1. Given φ its density is ∝ e^{−|M^{−†}Φ|²}, whose
integral over Φ is π^n |det M|². So, with one Φ for each flavour,

U(φ, Φ) = S_b(φ) + Σ_f |M_1(φ)^{−†} Φ_f|²,     ∫ dΦ e^{−U} ∝ e^{−S_b} |det M_1|^{2 n_f}.

Φ is complex also where M_1 is real (N = 1): a REAL Φ gives |det M_1|¹, one spin of two, and
nothing in the run would show it. The solve is dense here, of the matrix of clusters, which has the
same determinant; an iterative one takes clusters of one slice and needs only M and M†.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from pushforward._fields import integer
from pushforward._typing import Array, Float, PRNGKey, Scalar
from pushforward.spaces import Euclidean

from ..base import AbstractAugmented, AbstractEnergy
from .boson import BosonAction
from .dense import DenseAction, block_matrix, check_clusters
from .model import SpinFermion


class PseudofermionAction(AbstractAugmented):
    r"""e^{−S_b} |det M_1|^{2 n_f} as the marginal of complex pseudofermions Φ (n_f, n).

    Called, it returns the marginal energy (with one determinant), that of `DenseAction`.

    Parameters
    ----------
    model
        A `SpinFermion`.
    cluster
        Slices multiplied together, as in `DenseAction`; n = 2V ⌈L_τ/cluster⌉.

    References
    ----------
    Weingarten and Petcher 1981; Duane and Kogut 1985.
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
        """Return the marginal energy S_b − 2 n_f log|det M_1|."""
        return DenseAction(self.model, self.cluster)(x)

    def refresh(self, x: Float[Array, "N L Lx Ly"], *, key: PRNGKey) -> Array:
        """Draw Φ = M†R with complex normal R, ⟨|R_i|²⟩ = 1."""
        matrix = _complex(block_matrix(self.model, x, self.cluster))
        shape = (2, self.model.num_flavours, matrix.shape[0])
        parts = jnp.sqrt(jnp.asarray(0.5, x.dtype)) * jax.random.normal(key, shape, x.dtype)
        return lax.complex(parts[0], parts[1]) @ jnp.conj(matrix)

    def given(self, auxiliary: Array) -> "GivenPseudofermions":
        return GivenPseudofermions(self.model, auxiliary, self.cluster)


class GivenPseudofermions(AbstractEnergy):
    """S_b(φ) + Σ_f |M_1^{−†}(φ) Φ_f|² at fixed Φ (n_f, n)."""

    model: SpinFermion
    pseudofermions: Array
    cluster: int = eqx.field(static=True)

    def __init__(self, model: SpinFermion, pseudofermions: Array, cluster: int):
        self.model, self.pseudofermions, self.cluster = model, pseudofermions, cluster

    @property
    def space(self) -> Euclidean:
        return self.model.space

    def __call__(self, x: Float[Array, "N L Lx Ly"]) -> Scalar:
        matrix = _complex(block_matrix(self.model, x, self.cluster))
        r = jnp.linalg.solve(jnp.conj(matrix).T, self.pseudofermions.T)
        return BosonAction(self.model)(x) + jnp.sum(r.real**2 + r.imag**2)


def _complex(matrix: Array) -> Array:
    return matrix if jnp.iscomplexobj(matrix) else lax.complex(matrix, jnp.zeros_like(matrix))
