"""The host side of both verbs: what happens between chunks, always in this order.

Records come to the host, the guard looks, watchers are told, evaluations run, metrics and a
checkpoint go to disk, and the stop flag is polled. Nothing here enters the numbers: a session may
be cut anywhere, killed, and begun again.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError, NonFinite
from .._typing import PRNGKey
from ..runs import Stage, as_stage
from . import signals
from .advance import Controller, drive
from .keys import stream
from .watchers import AbstractWatcher


@contextmanager
def opened(folder: str | Path | Stage | None, name: str) -> Iterator[Stage | None]:
    """Open the stage that a verb writes to; one that was handed over stays open afterwards."""
    stage = as_stage(folder, name)
    try:
        yield stage
    finally:
        if stage is not None and stage is not folder:
            stage.close()


def stage_key(key: PRNGKey, stage: Stage | None, verb: str) -> PRNGKey:
    """Return the key of a verb in its stage; without a folder the stage is named like the verb."""
    return stream(key, stage.name if stage else verb, verb)


def fingerprint(value: Any) -> str:
    """Return a checksum of the arrays of a tree, PRNG keys included; "none" for None."""
    if value is None:
        return "none"
    total = 0
    for leaf in jax.tree.leaves(value):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        total = crc32(np.ascontiguousarray(leaf).tobytes(), total)
    return f"{total:08x}"


class AbstractSession(ABC):
    """One run of a verb: drives the chunks and does what is due between them.

    Parameters
    ----------
    stage
        Where to write, or None.
    total
        Absolute steps to reach.
    save_every
        Seconds between checkpoints.
    watchers
        Those of the call; the stage adds its own.
    plan
        What a stage is begun with and must be continued with: numbers, or `fingerprint`s.
    """

    verb: ClassVar[str]

    def __init__(
        self,
        stage: Stage | None,
        total: int,
        save_every: float,
        watchers: Sequence[AbstractWatcher],
        plan: dict[str, int | str],
    ):
        self.stage, self.total, self.save_every, self.plan = stage, total, save_every, plan
        self.watchers = (*watchers, *(stage.watchers if stage else ()))
        self.seconds = self.compile_seconds = 0.0
        self.saved_at, self.saved_step = time.monotonic(), -1

    @abstractmethod
    def buffers(self, carry: Any) -> tuple:
        """Return the record buffers of a carry: empty at every chunk border, so never saved."""

    @abstractmethod
    def flush(self, carry: Any, i: int) -> tuple[list[dict], dict[str, Any]]:
        """Bring the records up to step i to the host; return metric rows and the headline."""

    @abstractmethod
    def evaluate(self, carry: Any, i: int) -> list[dict]:
        """Return the rows of an evaluation that is due at step i."""

    @abstractmethod
    def diagnose(self, carry: Any, i: int) -> str:
        """Run the bad step i again and return where and why it went wrong."""

    def go(self, carry: Any, step_at: Callable[[int], tuple], controller: Controller) -> Any:
        """Drive a restored carry to the end and mark the stage as finished."""
        self.controller = controller
        try:
            carry = drive(step_at, carry, self.total, controller, self.between)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise InputError(
                f"out of device memory in {self.verb} with {self.memory_hint()}"
            ) from error
        if self.stage is not None and not self.stage.finished:
            self.save(carry)
            done = {"steps": self.total, "seconds": self.seconds}
            self.stage.finish(done | {"compile_seconds": self.compile_seconds} | self.result(carry))
        return carry

    @abstractmethod
    def result(self, carry: Any) -> dict[str, Any]:
        """Return what else belongs into the mark of a finished stage."""

    @abstractmethod
    def memory_hint(self) -> str:
        """Return what fills the memory and what to write instead, without changing results."""

    def restored(self, carry: Any) -> Any:
        """Return the state of the newest checkpoint, or the given one at step 0."""
        if self.stage is None:
            return carry
        found = self.stage.restore(self._bare(carry))
        if found is None:
            return carry
        state, step, extra = found
        self._same_plan(extra.get("plan", {}))
        if step > self.total:
            raise InputError(
                f"{self.stage.path} holds {step} steps, asked for {self.total}: a run cannot be "
                f"shortened, ask for {step} or more"
            )
        if step < self.total and self.stage.finished:
            self.stage.reopen()
        self.seconds, self.compile_seconds = extra["seconds"], extra["compile_seconds"]
        self.saved_step = step
        state = jax.tree.map(jnp.asarray, state)
        full = self.buffers(carry)
        return eqx.tree_at(self.buffers, state, full, is_leaf=lambda x: x is None)

    def save(self, carry: Any) -> None:
        """Write a checkpoint, unless this step has one."""
        i = int(carry.i)
        if self.stage is None or self.saved_step == i:
            return
        extra = {"seconds": self.seconds, "compile_seconds": self.compile_seconds}
        self.stage.save(i, self._bare(carry), extra | {"plan": self.plan})
        self.saved_at, self.saved_step = time.monotonic(), i

    def between(self, carry: Any, seconds: float, compiled: bool) -> None:
        """Do what is due after a chunk."""
        self.seconds += seconds
        self.compile_seconds += seconds if compiled else 0.0
        i = int(carry.i)
        fresh, headline = self.flush(carry, i)
        if bool(carry.stop):
            self._fail(carry, i, fresh)
        rate = 1 / self.controller.seconds_per_step if self.controller.seconds_per_step else None
        host = {"phase": self.stage.name if self.stage else self.verb, "total": self.total}
        self.tell(i, headline | host | {"seconds": self.seconds, "rate": rate})
        fresh += self.evaluate(carry, i)
        if self.stage is not None:
            self.stage.append_metrics(fresh)
            if time.monotonic() - self.saved_at >= self.save_every:
                self.save(carry)
        number = signals.requested(margin=2 * self.controller.seconds_per_step)
        if number is not None and i < self.total:
            self.save(carry)
            where = f"in {self.verb} after step {i} of {self.total}"
            raise signals.stopped(number, where, saved=self.stage is not None)

    def tell(self, i: int, values: dict) -> None:
        """Tell the watchers."""
        for watcher in self.watchers:
            watcher.log(i, values)

    def _same_plan(self, begun: dict[str, int | str]) -> None:
        other = [name for name in begun if begun[name] != self.plan.get(name)]
        if not other or self.stage is None:
            return
        numbers = [f"{name}={begun[name]}" for name in other if isinstance(begun[name], int)]
        same = f"pass {', '.join(numbers)} to go on with it" if numbers else "go on with the same"
        raise InputError(
            f"{self.stage.path} was begun with another {', '.join(other)}: {same}, or choose a new "
            "folder"
        )

    def _bare(self, carry: Any) -> Any:
        none = tuple(None for _ in self.buffers(carry))
        return eqx.tree_at(self.buffers, carry, none, is_leaf=lambda x: x is None)

    def _fail(self, carry: Any, i: int, fresh: list[dict]) -> None:
        carry = eqx.tree_at(lambda c: c.stop, carry, jnp.zeros((), bool))  # to stop there again
        good = "No folder was given: nothing is saved"
        if self.stage is not None:
            self.stage.append_metrics(fresh)
            self.save(carry)
            good = f"The state before it is saved as the checkpoint of step {i}"
        raise NonFinite(f"{self.diagnose(carry, i)}. {good}")
