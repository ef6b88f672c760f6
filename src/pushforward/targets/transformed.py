r"""Energies moved by a bijection: of bounded parameters to R^n, or of a hard law to an easy one.

A model speaks of a scale τ > 0 or of weights on a simplex; samplers move in R^n. With y = f(x),

U(x) = U_y(f(x)) − log|det ∂f/∂x|,

the same measure in other coordinates: its log Z is that of U_y, whatever f. Samples come back
through `constrain`. The determinant is never optional: without it the prior would change.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pushforward._errors import InputError
from pushforward._typing import Scalar, X
from pushforward.spaces import AbstractBijection, AbstractSpace, Euclidean

from .base import AbstractEnergy
from .constraints import AbstractConstraint, Parameters
from .functions import Negated, check_energy


class Transformed(AbstractEnergy):
    r"""U(x) = U_y(f(x)) − log|det ∂f/∂x|.

    Parameters
    ----------
    energy
        U_y, a function of ONE value y; returns a scalar.
    bijection
        f: a constraint; or a dictionary of them (`Parameters`), y is then a dictionary of arrays;
        or any bijection of the space of `energy` onto itself, such as a trained flow.

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
    bijection: AbstractBijection
    space: AbstractSpace

    def __init__(
        self,
        energy: Callable[[Any], Scalar],
        bijection: AbstractBijection | Mapping[str, AbstractConstraint],
    ):
        self.energy = energy
        self.bijection = Parameters(bijection) if isinstance(bijection, Mapping) else bijection
        if isinstance(self.bijection, AbstractConstraint):
            self.space = Euclidean(self.bijection.dim)
        elif isinstance(self.bijection, AbstractBijection) and isinstance(energy, AbstractEnergy):
            self.space = energy.space
        else:
            raise InputError(
                f"got {bijection!r}, expected a constraint such as Positive(), a dictionary such "
                'as {"mu": Real(), "tau": Positive()}, or a bijection of the space of an energy: '
                "Transformed(Energy(fn, Euclidean(2)), bijection)"
            )

    @classmethod
    def from_log_density(
        cls,
        log_density: Callable[[Any], Scalar],
        bijection: AbstractConstraint | Mapping[str, AbstractConstraint],
    ) -> "Transformed":
        """Make the energy of a log density of constrained values, and check it at eight points.

        `log_density` takes one constrained value (a dictionary when `bijection` is one) and is
        with respect to Lebesgue measure of it: write no Jacobian.
        """
        energy = cls(Negated(log_density), bijection)
        check_energy(energy)
        return energy

    def __call__(self, x: X) -> Scalar:
        y, log_det = self.bijection.forward(x)
        return self.energy(y) - log_det

    def constrain(self, x: X) -> Any:
        """Return y = f(x) of ONE sample; `jax.vmap(energy.constrain)(samples.x)` for many."""
        return self.bijection.forward(x)[0]

    def unconstrain(self, y: Any) -> X:
        """Return x = f⁻¹(y), the free coordinates of a value."""
        return self.bijection.inverse(y)[0]
