r"""A ladder of measures as one measure: U(x_0, .., x_{R−1}) = Σ_r U_r(x_r) on the product space.

Replica exchange leaves this product invariant; swapping x_r and x_{r+1} (through a map or not) is a
move in it. The rungs are ONE stacked energy, so that a ladder compiles as fast as a rung.
"""

import equinox as eqx
import jax

from pushforward._errors import InputError
from pushforward._typing import Array, Float, PRNGKey, X
from pushforward.spaces import AbstractSpace, Power, as_manifold

from .base import AbstractEnergy, AbstractLocalEnergy, energy_terms


class ReferenceStart(eqx.Module):
    """The reference measure of a space, where chains start by default."""

    space: AbstractSpace

    def sample(self, *, key: PRNGKey) -> X:
        """Draw from the reference measure."""
        return self.space.reference(key=key)


class Ladder(AbstractLocalEnergy):
    r"""U(x) = Σ_r U_r(x_r), one row of terms a rung.

    Parameters
    ----------
    rungs
        The energies U_0, .., U_{R−1} as one Module whose arrays have a leading axis R:
        `eqx.filter_vmap(lambda beta: WilsonAction(beta, lattice, U1()))(betas)`.
    """

    rungs: AbstractEnergy

    def __init__(self, rungs: AbstractEnergy):
        self.rungs = rungs
        sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(eqx.filter(rungs, eqx.is_array))}
        if len(sizes) != 1 or () in sizes:
            raise InputError(
                f"the arrays of the rungs have leading axes {sorted(sizes)}, expected one common "
                "axis of replicas: build them as eqx.filter_vmap(lambda b: energy(b))(betas)"
            )

    @property
    def num(self) -> int:
        """Number of rungs R."""
        return jax.tree.leaves(eqx.filter(self.rungs, eqx.is_array))[0].shape[0]

    @property
    def space(self) -> Power:
        """The product of R copies of the rungs' space."""
        return Power(as_manifold(self.rungs.space), self.num)

    @property
    def base(self) -> ReferenceStart:
        """The law of the first states: all replicas from the reference measure."""
        return ReferenceStart(self.space)

    def terms(self, x: X) -> Float[Array, "..."]:
        """Return the terms of every rung at its replica, leading axis R."""
        return eqx.filter_vmap(energy_terms)(self.rungs, x)
