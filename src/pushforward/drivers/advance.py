"""Chunks: the only host loop, shared by both verbs.

A chunk is ONE compiled function, `advance(fixed, carry)`: a while loop over a dynamic number of
steps with a donated carry. How a run is cut into chunks changes nothing, bit for bit, since keys
and metric rows belong to absolute steps. Between chunks, always in this order: records come to the
host and to disk, a bad step ends the run, watchers are called, a checkpoint is written if it is
due, and the stop flag is polled. Nothing of this enters the numbers: a run may be killed and begun
again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError, NonFinite
from ..runs import Stage
from . import signals
from .plan import check_length, write_plan
from .watchers import AbstractWatcher, Progress

_compilations = 0


def compilations() -> int:
    """Return how often a chunk was traced in this process (tests: once per structure)."""
    return _compilations


@eqx.filter_jit(donate="all-except-first")
def advance(fixed: tuple[Callable, jax.Array], carry: Any) -> Any:
    """Session `step` until carry.i reaches the bound or carry.stop is set.

    A carry has the absolute step `i`, the flag `stop`, and `records`: buffers that are empty at
    every chunk border, and so never saved.
    """
    global _compilations
    _compilations += 1
    step, bound = fixed

    def unfinished(carry: Any) -> jax.Array:
        return (carry.i < bound) & ~carry.stop

    return jax.lax.while_loop(unfinished, lambda c: step(c), carry)


class Controller:
    """Chooses chunk lengths: 1 (compile), 8, then about `target` seconds each.

    Every multiple of `periods` is a chunk boundary, whatever the clock says; `cap` is the longest
    chunk in steps (the capacity of the record buffers). `target` stays well under 10 seconds, so
    that signals and saving are prompt.
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


@dataclass
class Session:
    """One call of a verb: its stage (or None), the absolute steps to reach, watchers and times."""

    verb: str
    stage: Stage | None
    total: int
    save_every: float
    watchers: Sequence[AbstractWatcher]
    plan: dict[str, str]
    seconds: float = 0.0
    compile_seconds: float = 0.0
    saved_step: int = -1
    saved_at: float = field(default_factory=time.monotonic)

    def restored(self, carry: Any) -> Any:
        """Return the state of the newest checkpoint, or the given one at step 0."""
        if self.stage is None:
            return carry
        found = self.stage.restore(_with_records(carry, None))
        if found is None:
            write_plan(self.stage, self.plan)
            return carry
        state, step, extra = found
        check_length(self.stage, step, self.total)
        if step < self.total and self.stage.finished:
            self.stage.reopen()
        self.seconds, self.compile_seconds = extra["seconds"], extra["compile_seconds"]
        self.saved_step = step
        return _with_records(jax.tree.map(jnp.asarray, state), carry.records)

    def save(self, carry: Any) -> None:
        """Write a checkpoint, unless this step has one."""
        i = int(carry.i)
        if self.stage is None or self.saved_step == i:
            return
        extra = {"seconds": self.seconds, "compile_seconds": self.compile_seconds}
        self.stage.save(i, _with_records(carry, None), extra)
        self.saved_at, self.saved_step = time.monotonic(), i

    def finish(self, carry: Any, write_result: Callable[[Stage], None], **info: Any) -> None:
        """Mark the stage as finished, its result on disk."""
        if self.stage is None or self.stage.finished:
            return
        self.save(carry)
        write_result(self.stage)
        spent = {"seconds": self.seconds, "compile_seconds": self.compile_seconds}
        self.stage.finish({"verb": self.verb, "steps": self.total} | spent | info)

    def notify(self, i: int, state: str, rate: float | None, values: dict[str, Any]) -> None:
        """Call the watchers: `state` is what the run does now, "compiling" or "running"."""
        phase = self.stage.name if self.stage else self.verb
        host = {"phase": phase, "total": self.total, "seconds": self.seconds}
        for watcher in self.watchers:
            watcher.log(i, values | host | {"rate": rate, "state": state})


def drive(session: Session, work: Any, carry: Any, controller: Controller) -> Any:
    """Advance `carry` to the last step, and do what is due after every chunk.

    `work` is what the verb adds: `at(i)` returns the step function at step i and the step up to
    which it serves, `collect(carry, i, seconds)` brings the records up to step i to the host and
    returns metric rows and the last numbers, `diagnose(carry, i)` runs the bad step i again and
    says what went wrong, `memory_hint()` says what fills the memory and what to write instead.
    """
    try:
        return _drive(session, work, carry, controller)
    finally:
        for watcher in session.watchers:
            if isinstance(watcher, Progress):
                watcher.close()  # ends its line


def _drive(session: Session, work: Any, carry: Any, controller: Controller) -> Any:
    i = int(carry.i)
    if i < session.total:
        session.notify(i, "compiling", None, {})
    while i < session.total and not bool(carry.stop):
        step, until = work.at(i)
        before, start = compilations(), time.perf_counter()
        bound = controller.bound(i, min(session.total, until))
        carry, done = _one_chunk(session, work, step, bound, carry)
        seconds, compiled = time.perf_counter() - start, compilations() > before
        controller.learn(done - i, seconds, compiled)
        session.seconds += seconds
        session.compile_seconds += seconds if compiled else 0.0
        i = done
        rows, numbers = work.collect(carry, i, session.seconds)
        if session.stage is not None:
            session.stage.append_metrics(rows)
        if bool(carry.stop):
            _fail(session, work, carry, i)
        pace = controller.seconds_per_step
        session.notify(i, "running", 1 / pace if pace else None, numbers)
        if time.monotonic() - session.saved_at >= session.save_every:
            session.save(carry)
        number = signals.requested(margin=2 * pace)
        if number is not None and i < session.total:
            session.save(carry)
            where = f"in {session.verb} after step {i} of {session.total}"
            raise signals.stopped(number, where, stage=session.stage)
    return carry


def _one_chunk(session: Session, work: Any, step: Any, bound: int, carry: Any) -> tuple[Any, int]:
    try:
        carry = advance((step, jnp.asarray(bound, jnp.int32)), carry)
        return carry, int(carry.i)  # waits for the chunk
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        hint = work.memory_hint()
        raise InputError(f"out of device memory in {session.verb} with {hint}") from error


def _fail(session: Session, work: Any, carry: Any, i: int) -> None:
    carry = eqx.tree_at(lambda c: c.stop, carry, jnp.zeros((), bool))  # to stop there again
    session.save(carry)
    good = f"The state before it is saved as the checkpoint of step {i}"
    if session.stage is None:
        good = "No folder was given: nothing is saved"
    raise NonFinite(f"{work.diagnose(carry, i)}. {good}")


def _with_records(carry: Any, records: Any) -> Any:
    return eqx.tree_at(lambda c: c.records, carry, records, is_leaf=lambda x: x is None)
