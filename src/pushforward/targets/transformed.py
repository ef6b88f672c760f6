r"""Energies of bounded parameters, moved to R^n.

A model speaks of a scale τ > 0 or of weights on a simplex; samplers move in R^n. With y = f(x),

U(x) = U_y(f(x)) − log|det ∂f/∂x|,

the same measure in free coordinates: its log Z is that of U_y, whatever f. Samples come back
through `constrain`. The determinant is never optional: without it the prior would change.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx

from pushforward._errors import InputError
from pushforward._typing import Array, Float, Scalar
from pushforward.spaces import Euclidean

from .base import AbstractEnergy
from .constraints import AbstractConstraint, Blocks
from .functions import check_energy


class Transformed(AbstractEnergy):
    r"""U(x) = U_y(f(x)) − log|det ∂f/∂x| on R^n.

    Parameters
    ----------
    energy
        U_y, a function of ONE constrained value y; returns a scalar.
    constraint
        f: a constraint, or a dictionary of them (`Blocks`); y is then a dictionary of arrays.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from pushforward.targets import Positive, Real, Transformed
    >>> def log_density(p):
    ...     return -p["tau"] - 0.5 * jnp.sum((p["theta"] / p["tau"]) ** 2) - 8 * jnp.log(p["tau"])
    >>> energy = Transformed.from_log_density(log_density, {"tau": Positive(), "theta": Real(8)})
    >>> energy.space.shape
    (9,)
    >>> sorted(energy.constrain(jnp.zeros(9)))
    ['tau', 'theta']
    """

    energy: Callable[[Any], Scalar]
    constraint: AbstractConstraint
    space: Euclidean

    def __init__(
        self,
        energy: Callable[[Any], Scalar],
        constraint: AbstractConstraint | Mapping[str, AbstractConstraint],
    ):
        if isinstance(constraint, Mapping):
            constraint = Blocks(constraint)
        if not isinstance(constraint, AbstractConstraint):
            raise InputError(
                f"the constraint is {constraint!r}, expected one such as Positive() or a "
                'dictionary such as {"mu": Real(), "tau": Positive()}'
            )
        self.energy, self.constraint = energy, constraint
        self.space = Euclidean(constraint.dim)

    @classmethod
    def from_log_density(
        cls,
        log_density: Callable[[Any], Scalar],
        constraint: AbstractConstraint | Mapping[str, AbstractConstraint],
    ) -> "Transformed":
        """Make the energy of a log density written in constrained variables, and check it.

        Parameters
        ----------
        log_density
            Log density of one constrained value (a dictionary when `constraint` is one), with
            respect to Lebesgue measure of the constrained variables. Write no Jacobian in it.
        constraint
            See the class.

        Raises
        ------
        InputError
            As `from_log_density`: not traceable, not scalar, NaN at reference points.
        """
        energy = cls(_Negative(log_density), constraint)
        check_energy(energy)
        return energy

    def __call__(self, x: Float[Array, " n"]) -> Scalar:
        """Return U(x)."""
        y, log_det = self.constraint.forward(x)
        return self.energy(y) - log_det

    def constrain(self, x: Float[Array, " n"]) -> Any:
        """Return y = f(x) of ONE sample; `jax.vmap(energy.constrain)(samples.x)` for many."""
        return self.constraint.forward(x)[0]

    def unconstrain(self, y: Any) -> Float[Array, " n"]:
        """Return x = f⁻¹(y), the free coordinates of a constrained value."""
        return self.constraint.inverse(y)[0]


class _Negative(eqx.Module):
    log_density: Callable[[Any], Scalar]

    def __call__(self, y: Any) -> Scalar:
        return -self.log_density(y)
