r"""Lattice gauge theory: Wilson's action of U(1) and SU(N) links in two to four dimensions.

S(U) = −(β/N) Σ_P Re tr P,   P_{μν}(x) = U_μ(x) U_ν(x+μ) U_μ(x+ν)⁺ U_ν(x)⁺, μ < ν,

without a constant; for U(1), S = −β Σ_P cos θ_P. The force on a link is
∇S = (β/2N) P_TA(U Σ) with Σ the sum of its staples (one of `spaces/groups.py`'s P_TA: no factor
is hidden elsewhere); it is taken by differentiating the action, which equals the staples.
"""

import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward._typing import Array, Float, PRNGKey
from pushforward.spaces import AbstractGroup, Lattice, LinkSpace

from .base import AbstractDistribution, AbstractLocalEnergy


def plaquettes(space: LinkSpace, links: Array) -> Array:
    """Return P_{μν}(x), shape (planes, *matrix, *L); for U(1) the angles θ_P, not wrapped."""
    pairs = [_corners(space, links, mu, nu) for mu, nu in space.lattice.planes]
    return jnp.stack([space.group.mul(a, space.group.adjoint(b)) for a, b in pairs])


def plaquette_traces(space: LinkSpace, links: Array) -> Array:
    """Return Re tr P / N, shape (planes, *L)."""
    pairs = [_corners(space, links, mu, nu) for mu, nu in space.lattice.planes]
    return jnp.stack([space.group.overlap(a, b) for a, b in pairs]) / space.group.n


class WilsonAction(AbstractLocalEnergy):
    r"""S = −(β/N) Σ_P Re tr P, one term a plaquette.

    Parameters
    ----------
    beta
        β: a number, or an array of d + 1 axes broadcastable to (planes, \*L), one coupling a
        plaquette based at x; planes (μ, ν), μ < ν, in lexicographic order.
    lattice
        A `Lattice` of two to four directions.
    group
        `U1()`, `SU2()` or `SUN(n)`.

    References
    ----------
    K. G. Wilson, *Confinement of quarks*, Phys. Rev. D 10 (1974) 2445.
    """

    beta: Float[Array, "..."]
    space: LinkSpace

    def __init__(self, beta, lattice: Lattice, group: AbstractGroup):
        self.beta = scalar(beta)
        self.space = LinkSpace(group, lattice)
        if lattice.ndim < 2:
            raise InputError(f"plaquettes need two directions or more, got lattice {lattice.shape}")
        got, full = self.beta.shape, (len(lattice.planes), *lattice.shape)
        fits = len(got) == len(full) and all(g in (1, f) for g, f in zip(got, full, strict=True))
        if got and not fits:
            raise InputError(
                f"beta has shape {got}, expected a number or an array broadcastable to "
                f"(planes, *L) = {full}: for one beta a plane write "
                f"beta.reshape({(-1, *[1] * lattice.ndim)})"
            )

    def terms(self, x: Array) -> Array:
        """Return −(β/N) Re tr P, shape (planes, *L)."""
        traces = plaquette_traces(self.space, x)
        return -jnp.broadcast_to(self.beta, traces.shape) * traces


class Haar(AbstractLocalEnergy, AbstractDistribution):
    """Links of a `LinkSpace` from the Haar measure of total mass one: U = 0, Wilson's at β = 0."""

    space: LinkSpace

    def terms(self, x: Array) -> Array:
        lattice = self.space.lattice
        return jnp.zeros((len(lattice.planes), *lattice.shape), jnp.real(x).dtype)

    def sample(self, *, key: PRNGKey) -> Array:
        return self.space.reference(key=key)


def _corners(space: LinkSpace, links: Array, mu: int, nu: int) -> tuple[Array, Array]:
    # P = (U_μ(x) U_ν(x+μ)) (U_ν(x) U_μ(x+ν))⁺
    shift, mul = space.lattice.shift, space.group.mul
    return (
        mul(links[mu], shift(links[nu], mu)),
        mul(links[nu], shift(links[mu], nu)),
    )
