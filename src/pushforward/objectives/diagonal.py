r"""The diagonal: v_{t,t} = b_t, and how its loss is added to that of the map.

`Diagonal` is `Regression` of the map's drift: E|v_{t,t}(I_t) − İ_t|², minimal at b_t with the value
E Var(İ_t | I_t); with a teacher, E|v_{t,t}(I_t) − b_t(I_t)|², minimal with the value 0.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import PRNGKey, Scalar
from ..networks.flow_map import extra_arguments
from ..paths.base import AbstractInterpolant
from .base import AbstractObjective
from .maps import AbstractMapObjective
from .regression import Regression


class Diagonal(AbstractObjective):
    """|v_{t,t}(I_t) − İ_t|², or with a teacher |v_{t,t}(I_t) − b_t(I_t)|²; takes a `Pair`.

    Parameters
    ----------
    path
        The interpolant.
    teacher
        b(t, x) if it is known, or None.
    """

    path: AbstractInterpolant
    teacher: Callable | None = None

    def __call__(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple[Scalar, dict]:
        if self.teacher is None:
            return Regression(self.path)(model.drift, pair, key=key)
        z = jax.random.normal(jax.random.fold_in(key, 0), pair.x1.shape, pair.x1.dtype)
        x = self.path.state(pair.t, pair.x0, pair.x1, z)
        extra = extra_arguments(pair.context)
        apart = model.drift(pair.t, x, **extra) - self.teacher(pair.t, x, **extra)
        loss = jnp.mean(apart**2)
        return loss, {"square": loss}


class AbstractCombination(eqx.Module):
    """How the means over diagonal and off-diagonal points become one loss."""

    @abstractmethod
    def __call__(self, diagonal: Scalar, off_diagonal: Scalar, k: int, m: int) -> Scalar:
        """Return the loss of a bundle of k and m points from their means."""


class CountWeights(AbstractCombination):
    """(k mean_d + m mean_o)/(k + m): every point counts the same (the authors' code)."""

    def __call__(self, diagonal: Scalar, off_diagonal: Scalar, k: int, m: int) -> Scalar:
        return (k * diagonal + m * off_diagonal) / (k + m)


class EqualWeights(AbstractCombination):
    """mean_d + mean_o: both terms count the same (Algorithm 1 of the paper)."""

    def __call__(self, diagonal: Scalar, off_diagonal: Scalar, k: int, m: int) -> Scalar:
        return diagonal + off_diagonal


class WithDiagonal(AbstractObjective):
    """A diagonal and an off-diagonal objective on one `Bundle`: the self-distillation losses.

    Parameters
    ----------
    diagonal
        Objective of a `Pair`: `Diagonal(path)`.
    off_diagonal
        Objective of a `MapPair`: `LSD(path)`, `PSD(path)`, `LMD(path, drift)`.
    combine
        `CountWeights()` (default) or `EqualWeights()`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825), Algorithm 1.
    """

    diagonal: AbstractObjective
    off_diagonal: AbstractMapObjective
    combine: AbstractCombination = CountWeights()

    def __call__(self, model: Any, bundle: Any, *, key: PRNGKey):
        k, m = bundle.diagonal.t.shape[0], bundle.off_diagonal.t.shape[0]
        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(k + m))

        def on(pair, key):
            return self.diagonal(model, pair, key=key)[0]

        def off(pair, key):
            return self.off_diagonal.loss(model, pair, key=key)

        diagonal = jnp.mean(jax.vmap(on)(bundle.diagonal, keys[:k]))
        off_diagonal = jnp.mean(jax.vmap(off)(bundle.off_diagonal, keys[k:]))
        loss = self.combine(diagonal, off_diagonal, k, m)
        return loss, {"diagonal": diagonal, "off_diagonal": off_diagonal}
