"""An objective is a function of one sample; `fit` averages it over the batch."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from .._typing import PRNGKey, Scalar


class AbstractObjective(eqx.Module):
    """A loss of one sample of the source."""

    @abstractmethod
    def __call__(self, model: PyTree, sample: PyTree, *, key: PRNGKey) -> tuple[Scalar, Any]:
        """Return the loss (a mean over components, never a sum) and named scalars to record."""
