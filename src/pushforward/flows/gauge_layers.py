r"""Gauge-equivariant layers: links move by gauge-invariant amounts, one per plaquette at a time.

A residual layer is one step of a flow of the action with learned step sizes. Its mask chooses
active links such that no plaquette holds two of them; all staples of an active link are then
frozen and the Jacobian is diagonal. For U(1), with φ_i the angles of the 2(d−1) plaquettes around
an active link, signed so that each contains +θ,

    θ' = θ − Σ_i ρ_i sin φ_i,   log J = Σ_active log(1 − Σ_i ρ_i cos φ_i),

ρ_i = κ c_i/(1 + Σ_j |c_j|). The smallest eigenvalue is 1 − Σ|ρ_i| > 1 − κ, at aligned plaquettes
and nowhere smaller: the layer is invertible for every c, and c = 0 is the identity. ρ > 0 lowers
the action, as a larger β does.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._tree import compensated_sum, concrete, scalar
from .._typing import Array, Bool, Flag, Float, Scalar
from ..spaces import U1, AbstractBijection, LinkSpace
from ..targets import plaquettes
from .bijections import Chain

FIXED_POINT_STEPS, NEWTON_STEPS = 4, 12


class ResidualLayer(AbstractBijection):
    r"""θ' = θ − Σ_i ρ_i sin φ_i on the active links of U(1).

    Parameters
    ----------
    mask
        Active links, (d, \*L); no plaquette may hold two: `lattice.direction_parity(mu, parity)`.
    coefficients
        c_i, one a plaquette around a link: for every other direction (in order) the forward one,
        then the backward one; (2(d−1),) numbers, or fields (2(d−1), \*L).
    space
        The `LinkSpace` of U(1) links.
    bound
        κ in (0, 1). Good value .95.

    Raises
    ------
    InputError
        Another group; a mask with two active links in a plaquette; κ outside (0, 1).

    References
    ----------
    Abbott et al. 2023 (arXiv 2305.02402), residual flows.
    """

    references: ClassVar[tuple[str, ...]] = ("residual2023",)
    mask: Bool[Array, "..."]
    coefficients: Float[Array, "..."]
    space: LinkSpace
    bound: float = eqx.field(static=True)

    def __init__(self, mask, coefficients, space: LinkSpace, bound: float = 0.95):
        self.mask, self.coefficients = jnp.asarray(mask, bool), scalar(coefficients)
        self.space, self.bound = space, float(bound)
        lattice, count = space.lattice, 2 * (space.lattice.ndim - 1)
        if not isinstance(space.group, U1):
            raise InputError(f"the links are of {space.group}, expected U1(): LinkSpace(U1(), ...)")
        if not 0 < self.bound < 1:
            raise InputError(
                f"bound = {bound}: at sum|rho| >= 1 the layer folds; expected a number in (0, 1)"
            )
        if self.coefficients.shape[:1] != (count,):
            raise InputError(
                f"coefficients have shape {self.coefficients.shape}, expected one for each of the "
                f"{count} plaquettes around a link first: jnp.zeros({count})"
            )
        if (known := concrete(self.mask)) is not None:
            lattice.check_mask(known)

    def rho(self) -> Array:
        """Return ρ_i, shape (2(d−1), 1, ..) or (2(d−1), *L)."""
        c = self.coefficients
        c = c.reshape(c.shape + (1,) * (self.space.lattice.ndim + 1 - c.ndim))
        return self.bound * c / (1 + jnp.sum(jnp.abs(c), axis=0, keepdims=True))

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        a, b = self._loops(x)
        return self._moved(x, -a), compensated_sum(jnp.log1p(-b))

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        r"""Return (θ, −log J): δ = θ − θ' solves δ = Σ_i ρ_i sin(φ'_i + δ), one number a site.

        Four fixed-point steps, then Newton; log J is NaN if a link did not converge. The derivative
        is the implicit one, not that of the iteration.
        """
        a, b = self._loops(y)
        delta, converged = _solve(a, b)
        log_det = -compensated_sum(jnp.log1p(-_slope(a, b, delta)))
        return self._moved(y, delta), jnp.where(jnp.all(converged), log_det, jnp.nan)

    def _loops(self, x: Array) -> tuple[Array, Array]:
        r"""Return (a, b) = (Σ_i ρ_i sin φ_i, Σ_i ρ_i cos φ_i) of the active link of every site.

        A site has at most one: two would share a plaquette. Where it has none both are zero.
        """
        lattice, rho = self.space.lattice, self.rho()
        angles = plaquettes(self.space, x)
        sine = dict(zip(lattice.planes, jnp.sin(angles), strict=True))
        cosine = dict(zip(lattice.planes, jnp.cos(angles), strict=True))
        a, b = jnp.zeros_like(x[0]), jnp.zeros_like(x[0])
        for mu in range(lattice.ndim):
            active = self.mask[mu]
            for i, nu in enumerate(n for n in range(lattice.ndim) if n != mu):
                # P_{μν}(x) holds the link as +θ, P_{μν}(x−ν) as −θ; P_{νμ} = −P_{μν}.
                plane, sign = ((mu, nu), 1) if mu < nu else ((nu, mu), -1)
                s, c = sign * sine[plane], cosine[plane]
                up, down = rho[2 * i], rho[2 * i + 1]
                sines = up * s - down * lattice.shift(s, nu, -1)
                cosines = up * c + down * lattice.shift(c, nu, -1)
                a, b = a + jnp.where(active, sines, 0), b + jnp.where(active, cosines, 0)
        return a, b

    def _moved(self, x: Array, step: Array) -> Array:
        return x + jnp.where(self.mask, step[None], 0)


def residual_flow(space: LinkSpace, sweeps: int = 4, bound: float = 0.95) -> Chain:
    """Return the untrained chain of `sweeps` times 2d residual layers; each sweep moves all links.

    Parameters
    ----------
    space
        The `LinkSpace` of U(1) links on a lattice of even extents.
    sweeps
        Good value: 4 in two dimensions (16 layers), 2 in four.
    bound
        κ of every layer.
    """
    d = space.lattice.ndim
    cells = [(mu, parity) for mu in range(d) for parity in (0, 1)]
    masks = [space.lattice.direction_parity(mu, parity) for mu, parity in cells]
    for mask in masks:
        space.lattice.check_mask(mask)
    masks = jnp.stack([jnp.asarray(mask) for mask in masks * sweeps])
    zero = jnp.zeros((masks.shape[0], 2 * (d - 1)))
    return Chain(eqx.filter_vmap(lambda m, c: ResidualLayer(m, c, space, bound))(masks, zero))


def _slope(a: Array, b: Array, delta: Array) -> Array:
    """Return Σ_i ρ_i cos(φ_i + δ)."""
    return b * jnp.cos(delta) - a * jnp.sin(delta)


def _solve(a: Array, b: Array) -> tuple[Array, Flag]:
    """Solve δ = a cos δ + b sin δ (Kepler's equation); its derivative is the implicit one."""
    tolerance = 1e-12 if a.dtype == jnp.float64 else 1e-6

    def excess(delta):
        return delta - (a * jnp.cos(delta) + b * jnp.sin(delta))

    def search(function, start):
        delta = jax.lax.fori_loop(0, FIXED_POINT_STEPS, lambda _, v: v - function(v), start)

        def newton(carry):
            delta, residual, k = carry
            delta = delta - residual / (1 - _slope(a, b, delta))
            return delta, function(delta), k + 1

        def unfinished(carry):
            return jnp.any(jnp.abs(carry[1]) > tolerance) & (carry[2] < NEWTON_STEPS)

        carry = (delta, function(delta), jnp.zeros((), jnp.int32))
        delta, residual, _ = jax.lax.while_loop(unfinished, newton, carry)
        return delta - residual / (1 - _slope(a, b, delta)), residual

    def along(linear, right):
        return right / linear(jnp.ones_like(right))

    start = jnp.zeros_like(a)
    delta, residual = jax.lax.custom_root(excess, start, search, along, has_aux=True)
    return delta, jnp.abs(residual) <= tolerance
