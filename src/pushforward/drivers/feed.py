"""A host feed behind the interface of a source: blocks of batches, one block ahead in a thread."""

from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._typing import Count, PRNGKey, Scalar
from ..sources import AbstractFeed, AbstractSource, NoInfo

BLOCK_BYTES = 1 << 25
_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")


class FeedSource(AbstractSource):
    """Serves the steps from `start` on out of a block in device memory (leading axis: steps).

    Its state is the absolute step, which `fit` puts there: after a skipped step the next batch is
    served, not the same one again.
    """

    block: PyTree
    start: Count

    def init(self, model: PyTree, *, key: PRNGKey) -> Count:
        return jnp.zeros((), jnp.int32)

    def draw(self, state: Count, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        batch = jax.tree.map(lambda leaf: leaf[state - self.start], self.block)
        return batch, state, NoInfo()


class FeedBlocks:
    """Cuts a feed into blocks of equal shape and fetches the next one in the background."""

    def __init__(self, feed: AbstractFeed, size: int):
        nbytes = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(feed.block(0, 1, size)))
        self._feed, self._size = feed, size
        self._num = max(1, min(256, BLOCK_BYTES // max(nbytes, 1)))
        self._ahead: dict[int, Future] = {}
        self._first, self._fed = -1, None

    def at(self, i: int) -> tuple[FeedSource, int]:
        """Return the source for step i and the step up to which it serves."""
        first = i // self._num * self._num
        if self._fed is None or first != self._first:
            block = jax.tree.map(jnp.asarray, self._fetch(first).result())
            self._first, self._fed = first, FeedSource(block, jnp.asarray(first, jnp.int32))
            self._ahead = {}
            self._fetch(first + self._num)
        return self._fed, first + self._num

    def _fetch(self, start: int) -> Future:
        if start not in self._ahead:
            self._ahead[start] = _pool.submit(self._feed.block, start, self._num, self._size)
        return self._ahead[start]
