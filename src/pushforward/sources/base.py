r"""Sources of training samples.

A **source** is an argument of the compiled chunk: `init` makes its state, `draw` returns a batch
and the next state. Only the state is carried, guarded and saved. A **feed** stays on the host: for
data that do not fit, `block(i0, n)` returns the batches of the absolute steps i0..i0+n−1, so a
resumed run reads the same data.
"""

from abc import ABC, abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import InputError
from .._tree import Frozen
from .._typing import Context, PRNGKey, Scalar, Time, X


class NoInfo(eqx.Module):
    """Info of a source without numbers to record."""


class Pair(eqx.Module):
    """A training sample of an interpolant: the time, the two ends, and the context of a network."""

    t: Time
    x0: X
    x1: X
    context: Context = None


class AbstractSource(eqx.Module):
    """Draws batches inside the chunk."""

    @abstractmethod
    def init(self, model: PyTree, *, key: PRNGKey) -> PyTree:
        """Return the state before the first draw: arrays only."""

    @abstractmethod
    def draw(
        self, state: PyTree, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey
    ) -> tuple[PyTree, PyTree, Any]:
        """Return (batch with leading axis `size`, next state, info).

        `progress` is the step divided by the steps of the schedule. Sample j of the batch uses
        fold_in(key, j). A boolean `failed` in info stops the run.
        """


class AbstractFreshSource(AbstractSource):
    """A source without a state: every sample depends on its key alone."""

    @abstractmethod
    def sample(self, *, key: PRNGKey) -> PyTree:
        """Draw one sample."""

    def init(self, model: PyTree, *, key: PRNGKey) -> PyTree:
        return ()

    def draw(self, state: PyTree, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(size))
        return jax.vmap(lambda k: self.sample(key=k))(keys), state, NoInfo()


class NoData(AbstractFreshSource):
    """Draws nothing: for objectives that make their own samples, such as `ReverseKL`."""

    def sample(self, *, key: PRNGKey) -> PyTree:
        return ()


class Arrays(AbstractFreshSource):
    """Uniform draws with replacement from arrays in memory.

    Parameters
    ----------
    data
        A pytree of arrays with a common leading axis.
    """

    data: Frozen[PyTree]

    def __init__(self, data: PyTree):
        common_length(data)
        self.data = Frozen(jax.tree.map(jnp.asarray, data))

    def sample(self, *, key: PRNGKey) -> PyTree:
        num = jax.tree.leaves(self.data.value)[0].shape[0]
        row = jax.random.randint(key, (), 0, num)
        return jax.tree.map(lambda leaf: leaf[row], self.data.value)


class AbstractFeed(ABC):
    """Batches made on the host; a function of the absolute step alone."""

    @abstractmethod
    def block(self, start: int, num: int, size: int) -> PyTree:
        """Return the batches of steps start..start+num−1: leading axes (num, size)."""


class ArrayFeed(AbstractFeed):
    """Epochs over an array that stays on the host (a memory map, say), shuffled by epoch.

    Parameters
    ----------
    data
        A pytree of NumPy arrays with a common leading axis.
    seed
        Of the shuffles; epoch e uses the permutation of `default_rng((seed, e))`.
    """

    def __init__(self, data: PyTree, seed: int = 0):
        self.data, self.seed = data, seed
        self.num = common_length(data)
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    def block(self, start: int, num: int, size: int) -> PyTree:
        flat = np.arange(start * size, (start + num) * size)
        rows = np.empty_like(flat)
        for epoch in range(flat[0] // self.num, flat[-1] // self.num + 1):
            here = flat // self.num == epoch
            rows[here] = self._permutation(epoch)[flat[here] % self.num]
        rows = rows.reshape(num, size)
        return jax.tree.map(lambda leaf: np.asarray(leaf[rows]), self.data)

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng((self.seed, epoch)).permutation(self.num))
        return self._epoch[1]


def common_length(data: PyTree, name: str = "data", hint: str = "") -> int:
    """Return the length of the leading axis that all leaves share, one or more."""
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise InputError(
            f"{name}: expected one common leading axis with one or more rows, got "
            f"{sorted(lengths)}{hint}"
        )
    return lengths.pop()[0]
