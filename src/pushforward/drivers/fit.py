"""`fit`: draw a batch, square the defect, follow the gradient (`training.py`), watch and save."""

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

from .._errors import InputError
from .._tree import scalar
from .._typing import PRNGKey
from ..objectives import AbstractObjective
from ..runs import Stage
from ..sources import AbstractFeed, AbstractSource
from .advance import Controller
from .checks import check_fit, split_model
from .ema import EMA
from .feed import FeedBlocks
from .guard import AbstractGuard, StopAtNonFinite, describe_nonfinite
from .history import History
from .keys import check_key, stream
from .session import AbstractSession, fingerprint, opened, stage_key
from .training import FitCarry, FitStep, inspect, start_training
from .watchers import AbstractWatcher

ROWS = 4096


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
    check_fit(objective, source, optimiser, ema, clip, steps, batch, micro_batch, log_every)
    if (evaluate is None) != (evaluate_every is None):
        raise InputError("give both evaluate and evaluate_every, or neither: evaluate_every=100")
    params, static = split_model(model, trainable_leaves)
    with opened(folder, "fit") as stage:
        key = stage_key(check_key(key), stage, "fit")
        feed = None
        if isinstance(source, AbstractFeed):
            feed = FeedBlocks(source, batch)
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
        evaluation = (evaluate, evaluate_every, stream(key, "evaluate"))
        plan = {"key": fingerprint(key), "batch": batch}
        plan |= {"schedule_steps": schedule_steps, "log_every": log_every}
        session = _Training(stage, steps, save_every, watchers, plan)
        return session.run(step, params, feed, evaluation)


class _Training(AbstractSession):
    """A run of `fit`."""

    verb = "fit"

    def run(self, step: FitStep, params: PyTree, feed: FeedBlocks | None, evaluation: tuple):
        """Train and return the model and its history."""
        self.step, self.feed, self.evaluation = step, feed, evaluation
        self.log_every = int(step.log_every)
        carry = self.restored(start_training(step, params, ROWS))
        self.rows = self.stage.metrics() if self.saved_step >= 0 and self.stage else []
        self.written = int(carry.i) // self.log_every
        controller = Controller([evaluation[1] or 0], cap=ROWS * self.log_every)
        carry = self.go(carry, self.step_at, controller)
        raw = step.model(carry.params)
        history = History(self.rows, raw, self.seconds, self.compile_seconds, int(carry.bad))
        return step.averaged(carry), history

    def step_at(self, i: int) -> tuple[FitStep, int]:
        """Return the step function at step i and the step up to which it serves."""
        if self.feed is None:
            return self.step, self.total
        source, until = self.feed.at(i)
        return eqx.tree_at(lambda s: s.source, self.step, source), until

    def buffers(self, carry: FitCarry) -> tuple:
        """Return the ring of metric rows."""
        return (carry.rows,)

    def flush(self, carry: FitCarry, i: int) -> tuple[list[dict], dict[str, Any]]:
        """Return the rows of the intervals that are complete."""
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
        return fresh, (self.rows[-1] if self.rows else {}) | self.result(carry)

    def evaluate(self, carry: FitCarry, i: int) -> list[dict]:
        """Call the caller's `evaluate` at multiples of `evaluate_every`."""
        function, every, key = self.evaluation
        if function is None or not every or i % every:
            return []
        values = function(self.step.averaged(carry), key=jax.random.fold_in(key, i))
        row = {"step": i, "evaluation": True} | {k: float(v) for k, v in values.items()}
        self.rows.append(row)
        self.tell(i, {"phase": "evaluation", "total": i, "seconds": self.seconds} | row)
        return [row]

    def diagnose(self, carry: FitCarry, i: int) -> str:
        """Run the bad step again, sample by sample."""
        losses, gradients, batch, failed = inspect(self.step_at(i)[0], carry)
        return (
            f"training stopped at step {i}: "
            f"{describe_nonfinite(losses, gradients, batch, bool(failed))}. Try a smaller learning "
            "rate, clip=1.0, or guard=SkipNonFinite()"
        )

    def memory_hint(self) -> str:
        """Return the micro-batch to try."""
        batch, now = self.step.batch, self.step.micro_batch
        smaller = next((m for m in range(now // 2, 0, -1) if batch % m == 0), 1)
        return f"batch={batch}, micro_batch={now}: write micro_batch={smaller} (the same numbers)"

    def result(self, carry: FitCarry) -> dict[str, Any]:
        """Return the number of skipped steps."""
        return {"skipped": int(carry.bad)}
