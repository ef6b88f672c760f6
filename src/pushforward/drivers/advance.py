"""Chunks: the only host loop, shared by both verbs.

A chunk is ONE compiled function, `advance(fixed, carry)`: a while loop over a dynamic number of
steps with a donated carry. How a run is cut into chunks changes nothing, bit for bit, since keys
and metric rows belong to absolute steps. Between chunks the host saves, draws, listens to signals.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

C = TypeVar("C", bound="Carry")
_compilations = 0


def compilations() -> int:
    """Return how often a chunk was traced in this process (tests: once per structure)."""
    return _compilations


class Carry(Protocol):
    """What a chunk carries: at least the absolute step and a stop flag."""

    i: jax.Array
    stop: jax.Array


@eqx.filter_jit(donate="all-except-first")
def advance(fixed: tuple[Callable[[C], C], jax.Array], carry: C) -> C:
    """Run `step` until carry.i reaches the bound or carry.stop is set."""
    global _compilations
    _compilations += 1
    step, bound = fixed

    def unfinished(carry: C) -> jax.Array:
        return (carry.i < bound) & ~carry.stop

    return jax.lax.while_loop(unfinished, lambda c: step(c), carry)


class Controller:
    """Chooses chunk lengths: 1 (compile), 8, then about `target` seconds each.

    Parameters
    ----------
    periods
        Every multiple of these is a chunk boundary, whatever the clock says.
    cap
        Longest chunk in steps (the capacity of the record buffers).
    target
        Seconds a chunk should take; well under 10 so that signals and saving are prompt.
    """

    def __init__(self, periods: Sequence[int] = (), cap: int = 1 << 30, target: float = 2.0):
        self._periods, self._cap, self._target = [p for p in periods if p], cap, target
        self._length, self.seconds_per_step = 1, 0.0

    def bound(self, i: int, total: int) -> int:
        """Return the absolute step at which the chunk starting at i ends."""
        boundaries = [(i // p + 1) * p for p in self._periods]
        return min(i + min(self._length, self._cap), total, *boundaries)

    def learn(self, num: int, seconds: float, compiled: bool) -> None:
        """Adapt to a chunk of `num` steps that took `seconds`."""
        if compiled or num < 1:
            self._length = 8
            return
        self.seconds_per_step = seconds / num
        wished = round(self._target / max(self.seconds_per_step, 1e-9))
        self._length = max(1, min(4 * max(num, 8), wished))


def drive(
    step_at: Callable[[int], tuple[Callable, int]],
    carry: Any,
    total: int,
    controller: Controller,
    between: Callable[[Any, float, bool], None],
) -> Any:
    """Advance `carry` to `total`, calling `between(carry, seconds, compiled)` after every chunk.

    `step_at(i)` returns the step function at absolute step i and the last step it serves.
    """
    i = int(carry.i)
    while i < total and not bool(carry.stop):
        step, until = step_at(i)
        bound = controller.bound(i, min(total, until))
        before, start = compilations(), time.perf_counter()
        carry = advance((step, jnp.asarray(bound, jnp.int32)), carry)
        done = int(carry.i)  # waits for the chunk
        seconds, compiled = time.perf_counter() - start, compilations() > before
        controller.learn(done - i, seconds, compiled)
        i = done
        between(carry, seconds, compiled)
    return carry
