r"""An energy that is a marginal: e^{−U(x)} ∝ ∫ e^{−U(x, a)} da over an auxiliary field a.

Where U(x) is dear (a determinant) and U(x, a) is not, a chain draws a given x exactly (`refresh`),
moves x at fixed a (`given`), and forgets a: its x have the law e^{−U}. `mcmc.Refreshed` is that
chain.
"""

from abc import abstractmethod
from typing import Any

from pushforward._typing import PRNGKey, X

from .base import AbstractEnergy


class AbstractAugmented(AbstractEnergy):
    """An energy with an auxiliary field that can be drawn exactly given x."""

    @abstractmethod
    def refresh(self, x: X, *, key: PRNGKey) -> Any:
        """Draw the auxiliary field from its law given x, ∝ e^{−U(x, ·)}."""

    @abstractmethod
    def given(self, auxiliary: Any) -> AbstractEnergy:
        """Return the energy x -> U(x, auxiliary), up to a constant of the auxiliary field alone."""
