r"""Walkers of a chain as training points: the model learns where they are, and helps to move them.

At every draw all walkers take `steps` steps of `process(model)`, the kernel with the PRESENT model
inside, held fixed while they move. Each kernel leaves the target invariant, but a model that
depends on where the walkers went makes the whole no Markov chain: the draws train, they are not
`Samples`. Let the learning rate go to zero, freeze the model, then measure with `simulate`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._fields import integer
from .._tree import real_dtype
from .._typing import Array, Count, Flag, PRNGKey, Scalar, X
from ..dynamics import AbstractKernel, Info, any_failed, march, reduce_particles
from .base import AbstractSource, common_length


class Walkers(eqx.Module):
    """Where the walkers are (leading axis) and how many points were handed out."""

    x: X
    given: Count


class RunningChains(AbstractSource):
    r"""Draws x from walkers that `process(model)` carries along.

    Batches take the walkers in turn: with as many walkers as the batch has samples, each is in it
    once. A sample may be a whole ladder of replicas, if that is what the kernel moves.

    Parameters
    ----------
    process
        Maps the model to the kernel (a Module or `eqx.Partial`); it must leave a law invariant.
    walkers
        Where they start, walker axis first. At least one in every mode known: a mode without
        walkers is never found.
    steps
        Steps of the kernel between draws. Good values: 1 for a kernel that mixes, the
        autocorrelation time for one that does not.

    References
    ----------
    Gabrié, Rotskoff and Vanden-Eijnden 2022 (arXiv 2105.12603), algorithm 1.
    """

    process: Callable[[PyTree], AbstractKernel]
    walkers: X = eqx.field(converter=lambda walkers: jax.tree.map(jnp.asarray, walkers))
    steps: int = integer(least=1, default=1)

    def __check_init__(self):
        example = ": simulate(kernel, 64, steps=500, initial=..., key=key).x"
        common_length(self.walkers, "walkers", example)

    def init(self, model: PyTree, *, key: PRNGKey) -> Walkers:
        if not self.process(model).stationary:
            raise InputError(
                "a chain needs a kernel that leaves a law invariant, such as HMC; points along a "
                "path with weights are drawn by Rollout"
            )
        return Walkers(self.walkers, jnp.zeros((), jnp.int32))

    def draw(self, state: Walkers, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        kernel = self.process(model)
        num = jax.tree.leaves(state.x)[0].shape[0]

        def walk(x: X, j: Array):
            one_key = jax.random.fold_in(key, j)
            times = jnp.ones(self.steps + 1, real_dtype(x))
            start = kernel.init(x, times[0], key=jax.random.fold_in(one_key, 0))
            end, seen = march(kernel, start, times, key=jax.random.fold_in(one_key, 1))
            return end.x, seen.info

        x, infos = jax.vmap(walk)(state.x, jnp.arange(num))
        rows = (state.given + jnp.arange(size)) % num
        info = Info(kernel=reduce_particles(infos, None), failed=_lost(x, infos))
        batch = jax.tree.map(lambda leaf: leaf[rows], x)
        return batch, Walkers(x, (state.given + size) % num), info


def _lost(x: X, infos: Any) -> Flag:
    """Return whether a walker left the finite numbers or a step failed."""
    lost = [~jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves(x) if eqx.is_inexact_array(a)]
    return jnp.any(jnp.stack([any_failed(infos), *lost]))
