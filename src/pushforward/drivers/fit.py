"""`fit`: draw a batch, square the defect, follow the gradient (`training.py`), watch and save."""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from .._errors import InputError, NonFinite
from .._tree import copy_arrays, scalar, trainable
from .._typing import PRNGKey
from ..objectives import AbstractObjective
from ..runs import Stage, as_stage
from ..sources import AbstractFeed, AbstractSource
from . import signals
from .advance import Controller, drive
from .feed import Blocks
from .guard import AbstractGuard, StopAtNonFinite, describe_nonfinite
from .keys import check_key, stream
from .records import Interval, Ring
from .training import EMA, FitCarry, FitStep, inspect, row_shapes
from .watchers import AbstractWatcher

ROWS = 4096


class History:
    """What happened in a training.

    Attributes
    ----------
    metrics
        Arrays by name; `step` is the last step of each row's interval.
    evaluations
        Rows of `evaluate`, each a dict with `step`.
    raw
        The model without the average.
    seconds, compile_seconds
        Host time of the chunks, and of those that compiled.
    skipped
        Bad steps that were skipped.
    """

    def __init__(self, rows: list[dict], raw: PyTree, seconds: float, compile: float, skipped: int):
        self.evaluations = [row for row in rows if "evaluation" in row]
        rows = [row for row in rows if "evaluation" not in row]
        names = list(dict.fromkeys(name for row in rows for name in row))
        self.metrics = {n: np.array([row.get(n, np.nan) for row in rows]) for n in names}
        self.raw, self.seconds, self.compile_seconds, self.skipped = raw, seconds, compile, skipped

    def __repr__(self) -> str:
        loss = self.metrics.get("loss", np.array([]))
        last = f", last loss {loss[-1]:.4g}" if loss.size else ""
        return f"History({loss.size} rows{last}, {self.seconds:.1f} s)"


@lru_cache(maxsize=64)
def default_optimiser(steps: int) -> optax.GradientTransformation:
    """Return Adam, 1e-3, 100 linear warm-up steps, cosine to 0; one object per number of steps."""
    warm_up = min(100, max(1, steps // 10))
    return optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-3, warm_up, max(steps, 2)))


def fit(
    model: PyTree,
    objective: AbstractObjective,
    source: AbstractSource | AbstractFeed,
    *,
    steps: int,
    optimiser: optax.GradientTransformation | None = None,
    batch: int = 256,
    ema: EMA | None = None,
    folder: str | Path | Stage | None = None,
    watchers: Sequence[AbstractWatcher] = (),
    trainable_leaves: PyTree | Callable[[Any], bool] | None = None,
    micro_batch: int | None = None,
    clip: float | None = 1.0,
    guard: AbstractGuard | None = None,
    evaluate: Callable[..., dict] | None = None,
    evaluate_every: int | None = None,
    save_every: float = 60.0,
    log_every: int | None = None,
    schedule_steps: int | None = None,
    key: PRNGKey,
) -> tuple[PyTree, History]:
    """Train `model`; return it (the average if `ema` is given) and its history.

    Parameters
    ----------
    model
        A pytree; only its inexact arrays outside `Frozen` are trained. Left as it is.
    objective, source
        The loss of one sample, and where samples come from (an `AbstractFeed` stays on the host).
    steps
        Training steps in all; a stage that has done some goes on from there.
    optimiser
        An optax transformation without clipping. Default: Adam, 1e-3, warm-up 100, cosine to 0.
    batch, micro_batch
        Samples a step, and how many at once (the same numbers to 1e-6, less memory).
    ema
        `EMA(.99)` or None.
    folder
        A path or a `Stage`: metrics, checkpoints, resuming. None writes nothing.
    watchers
        Look on between chunks.
    trainable_leaves
        A tree of booleans like the model, or a predicate of a leaf.
    clip
        Largest global gradient norm; None for none. The logged norm is the unclipped one.
    guard
        `StopAtNonFinite()` (default) or `SkipNonFinite()`.
    evaluate, evaluate_every
        `evaluate(model, key=key) -> dict` of numbers, at multiples of `evaluate_every` steps.
    save_every
        Seconds between checkpoints.
    log_every
        Steps a metric row covers; default `max(1, steps // 2000)`.
    schedule_steps
        What `progress` of sources refers to; default `steps`.
    key
        `jax.random.key(seed)`.

    Raises
    ------
    InputError, NonFinite, Stopped, StorageError
    """
    schedule_steps = steps if schedule_steps is None else schedule_steps
    optimiser = default_optimiser(schedule_steps) if optimiser is None else optimiser
    micro_batch = batch if micro_batch is None else micro_batch
    log_every = max(1, schedule_steps // 2000) if log_every is None else log_every
    _check(model, objective, optimiser, steps, batch, micro_batch, log_every)
    _check_ema(ema, steps)
    mask = _mask(model, trainable_leaves)
    params, static = eqx.partition(model, mask)
    if not jax.tree.leaves(params):
        raise InputError(
            "the model has no trainable leaf: inexact arrays outside Frozen are trained"
        )

    key = check_key(key)
    stage = as_stage(folder, "fit")
    key = stream(key, stage.name, "fit") if stage else stream(key, "fit")
    feed = None
    if isinstance(source, AbstractFeed):
        feed = Blocks(source, batch)
        source, _ = feed.at(0)
    step = FitStep(
        static,
        optimiser,
        objective,
        source,
        StopAtNonFinite() if guard is None else guard,
        ema,
        scalar(np.inf if clip is None else clip),
        jnp.asarray(schedule_steps, jnp.int32),
        jnp.asarray(log_every, jnp.int32),
        key,
        batch,
        micro_batch,
    )
    session = _Session(step, stage, feed, steps, log_every, save_every, watchers)
    session.evaluation = (evaluate, evaluate_every, stream(key, "evaluate"))
    try:
        return session.run(params)
    finally:
        if stage is not None and stage is not folder:
            stage.close()


class _Session:
    """The host side of one training: what happens between chunks, in this order."""

    evaluation: tuple[Callable[..., dict] | None, int | None, PRNGKey]

    def __init__(self, step, stage, feed, steps, log_every, save_every, watchers):
        self.step, self.stage, self.feed, self.steps = step, stage, feed, steps
        self.log_every, self.save_every = log_every, save_every
        self.watchers = (*watchers, *(stage.watchers if stage else ()))
        self.rows: list[dict] = []
        self.seconds = self.compile_seconds = 0.0
        self.saved_at, self.saved_step = time.monotonic(), -1

    def run(self, params: PyTree) -> tuple[PyTree, History]:
        carry = self.restored(self.start(params))
        _, every, _ = self.evaluation
        self.controller = Controller([every or 0], cap=ROWS * self.log_every)
        self.written = int(carry.i) // self.log_every
        carry = drive(self.step_at, carry, self.steps, self.controller, self.between)
        average = carry.params if self.step.ema is None else carry.average
        raw = self.step.model(carry.params)
        skipped = int(carry.bad)
        history = History(self.rows, raw, self.seconds, self.compile_seconds, skipped)
        if self.stage is not None and not self.stage.finished:
            if self.saved_step != self.steps:
                self.save(carry)
            done = {"steps": self.steps, "seconds": self.seconds, "skipped": skipped}
            self.stage.finish(done | {"compile_seconds": self.compile_seconds})
        return self.step.model(average), history

    def start(self, params: PyTree) -> FitCarry:
        step = self.step
        params = copy_arrays(params)
        average = None if step.ema is None else copy_arrays(params)
        zero = jnp.zeros((), jnp.int32)
        source = step.source.init(step.model(params), key=stream(step.key, "init"))
        later: Any = None  # rows are shaped like those of the first step
        empty = FitCarry(
            zero, params, step.optimiser.init(params), average, copy_arrays(source), later, later,
            zero, zero, jnp.zeros((), bool),
        )  # fmt: skip
        row = eqx.filter_eval_shape(row_shapes, step, empty)
        carry = eqx.tree_at(
            lambda c: (c.interval, c.rows),
            empty,
            (Interval.like(row), Ring.like(row, ROWS)),
            is_leaf=lambda x: x is None,
        )
        return copy_arrays(carry)

    def restored(self, carry: FitCarry) -> FitCarry:
        if self.stage is None:
            return carry
        state = eqx.tree_at(lambda c: c.rows, carry, None)
        found = self.stage.restore(state)
        if found is None:
            return carry
        state, step, extra = found
        if step > self.steps:
            raise InputError(
                f"{self.stage.path} holds {step} steps, asked for {self.steps}: a run cannot be "
                f"shortened, ask for {step} or more"
            )
        if step < self.steps and self.stage.finished:
            self.stage.reopen()
        self.rows = self.stage.metrics()
        self.seconds, self.compile_seconds = extra["seconds"], extra["compile_seconds"]
        self.saved_step = step
        state = jax.tree.map(jnp.asarray, state)
        return eqx.tree_at(lambda c: c.rows, state, carry.rows, is_leaf=lambda x: x is None)

    def step_at(self, i: int) -> tuple[FitStep, int]:
        if self.feed is None:
            return self.step, self.steps
        source, until = self.feed.at(i)
        return eqx.tree_at(lambda s: s.source, self.step, source), until

    def between(self, carry: FitCarry, seconds: float, compiled: bool) -> None:
        self.seconds += seconds
        self.compile_seconds += seconds if compiled else 0.0
        i = int(carry.i)
        fresh = self.flush(carry, i)
        if bool(carry.stop):
            self.fail(carry, i)
        last = self.rows[-1] if self.rows else {}
        rate = 1 / self.controller.seconds_per_step if self.controller.seconds_per_step else None
        host = {"phase": self.stage.name if self.stage else "fit", "total": self.steps}
        host |= {"seconds": self.seconds, "rate": rate, "skipped": int(carry.bad)}
        self.tell(i, last | host)
        fresh += self.evaluate(carry, i)
        if self.stage is not None:
            self.stage.append_metrics(fresh)
            if time.monotonic() - self.saved_at >= self.save_every or i == self.steps:
                self.save(carry)
        number = signals.requested(margin=2 * self.controller.seconds_per_step)
        if number is not None and i < self.steps:
            if self.stage is not None and self.saved_step != i:
                self.save(carry)
            raise signals.stopped(number, f"in fit after step {i} of {self.steps}")

    def flush(self, carry: FitCarry, i: int) -> list[dict]:
        first, last = self.written, i // self.log_every
        columns = carry.rows.take(first, last)
        fresh = [
            {"step": (n + 1) * self.log_every}
            | {name: column[n - first].item() for name, column in columns.items()}
            | {"seconds": self.seconds}
            for n in range(first, last)
        ]
        self.written = last
        self.rows += fresh
        return fresh

    def evaluate(self, carry: FitCarry, i: int) -> list[dict]:
        function, every, key = self.evaluation
        if function is None or not every or i % every:
            return []
        params = carry.params if self.step.ema is None else carry.average
        values = function(self.step.model(params), key=jax.random.fold_in(key, i))
        row = {"step": i, "evaluation": True} | {k: float(v) for k, v in values.items()}
        self.rows.append(row)
        self.tell(i, {"phase": "evaluation", "total": i, "seconds": self.seconds} | row)
        return [row]

    def tell(self, i: int, values: dict) -> None:
        for watcher in self.watchers:
            watcher.log(i, values)

    def save(self, carry: FitCarry) -> None:
        if self.stage is None:
            return
        state = eqx.tree_at(lambda c: c.rows, carry, None)
        extra = {"seconds": self.seconds, "compile_seconds": self.compile_seconds}
        self.stage.save(int(carry.i), state, extra)
        self.saved_at, self.saved_step = time.monotonic(), int(carry.i)

    def fail(self, carry: FitCarry, i: int) -> None:
        carry = eqx.tree_at(lambda c: c.stop, carry, jnp.zeros((), bool))
        step, _ = self.step_at(i)
        losses, gradients, batch, failed = inspect(step, carry)
        text = describe_nonfinite(losses, gradients, batch, bool(failed))
        good = f"last good checkpoint: step {self.saved_step}" if self.saved_step >= 0 else ""
        if self.stage is not None and self.saved_step != i:
            self.save(carry)
            good = f"the state before it is saved as the checkpoint of step {i}"
        raise NonFinite(
            f"training stopped at step {i}: {text}. "
            f"{good or 'No folder was given: nothing saved'}. "
            "Try a smaller learning rate, clip=1.0, or guard=SkipNonFinite()"
        )


def _mask(model: PyTree, leaves: PyTree | Callable[[Any], bool] | None) -> PyTree:
    allowed = trainable(model)
    if leaves is None:
        return allowed
    wanted = jax.tree.map(leaves, model) if callable(leaves) else leaves
    return jax.tree.map(lambda a, b: bool(a) and bool(b), allowed, wanted)


def _check(model, objective, optimiser, steps, batch, micro_batch, log_every) -> None:
    if not isinstance(optimiser, optax.GradientTransformation):
        raise InputError(f"optimiser is {optimiser!r}, expected an optax one: optax.adam(1e-3)")
    for name, value in (("steps", steps), ("batch", batch), ("log_every", log_every)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} = {value!r}, expected a positive integer")
    if micro_batch < 1 or batch % micro_batch:
        raise InputError(f"micro_batch = {micro_batch} does not divide batch = {batch}")
    if not callable(objective):
        raise InputError(f"objective is {objective!r}, expected an AbstractObjective")


def _check_ema(ema: EMA | None, steps: int) -> None:
    if ema is None or ema.warm_up:
        return
    memory = 1 / (1 - float(ema.decay))
    if memory > steps / 10 and steps > 1:
        warnings.warn(
            f"EMA({float(ema.decay):g}) remembers {memory:.0f} of {steps} steps: the average would "
            f"sample the initial weights; use EMA(..., warm_up=True) or EMA({1 - 10 / steps:.3g})",
            stacklevel=3,
        )
