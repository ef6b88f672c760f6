"""What a recipe hands to the two verbs.

Every recipe takes `key`, for the initial weights and pilot runs (default `jax.random.key(0)`), and
`steps`, the intervals of its time grid `times`; any other grid serves the same weights.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from .._errors import InputError
from .._typing import Array, Float, PRNGKey
from ..objectives import AbstractObjective
from ..sources import AbstractSource
from ..spaces import Euclidean
from ..targets import AbstractEnergy


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
        What `fit` needs; None where nothing is trained.
    times
        A good time grid for the kernel; of a chain, a number of steps, or None.
    initial
        The distribution that particles start from, or the points.
    """

    model: PyTree
    kernel: Callable[[PyTree], Any]
    objective: AbstractObjective | None = None
    source: AbstractSource | None = None
    times: Float[Array, " n"] | Sequence[float] | int | None = None
    initial: Any = None


def key_or_default(key: PRNGKey | None) -> PRNGKey:
    """Return the key, or `jax.random.key(0)` for None."""
    return jax.random.key(0) if key is None else key


def euclidean_shape(target: AbstractEnergy) -> tuple[int, ...]:
    """Return the shape of a sample of an energy on R^n, or raise."""
    if not isinstance(target.space, Euclidean):
        raise InputError(f"this recipe needs an energy on R^n, got one on {target.space}")
    return target.space.shape
