"""What a recipe hands to the two verbs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import PyTree

from .._typing import Array, Float
from ..objectives import AbstractObjective
from ..sources import AbstractSource


class Recipe(eqx.Module):
    """The parts of a system.

    ```python
    model, history = pf.fit(r.model, r.objective, r.source, steps=1000, key=key)
    samples = pf.simulate(r.kernel(model), 2000, times=r.times, key=key)
    ```

    Parameters
    ----------
    model
        What is trained.
    kernel
        Maps the model to the kernel that samples (a Module or `eqx.Partial`).
    objective, source
        What `fit` needs.
    times
        A good time grid for the kernel; None for chains, which are given `steps=`.
    initial
        The distribution that particles start from, or the points.
    """

    model: PyTree
    kernel: Callable[[PyTree], Any]
    objective: AbstractObjective
    source: AbstractSource
    times: Float[Array, " n"] | None
    initial: Any
