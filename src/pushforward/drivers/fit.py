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
from .advance import Controller, Session, drive
from .checks import check_fit, split_model
from .ema import EMA
from .feed import FeedBlocks
from .guard import AbstractGuard, StopAtNonFinite, describe_nonfinite
from .history import History
from .keys import check_key, stream
from .plan import compared, opened, stage_key
from .records import HOST, refuse_reserved
from .training import FitCarry, FitStep, inspect, start_training
from .watchers import AbstractWatcher, all_watchers

ROWS = 4096
COLUMNS = HOST | {"loss", "grad_norm", "skipped", "evaluation", "objective", "source"}


@lru_cache(maxsize=64)
def default_optimiser(steps: int) -> optax.GradientTransformation:
    """Return Adam, 1e-3, 100 linear warm-up steps, cosine to 0; one object per number of steps."""
    rise = min(100, max(1, steps // 10))
    return optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-3, rise, max(steps, 2)))


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
    progress: bool | None = None,
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
        A path or a `Stage`: metrics, checkpoints, resuming. None writes nothing. A finished stage
        of the same call is loaded; a larger `steps` goes on with it; a call with another model,
        objective, source, optimiser, average or batch is refused.
    watchers, progress
        Called between chunks; a progress line is shown on a terminal and in a notebook, always if
        `progress` is True, never if it is False.
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
        What `progress` of sources and the default optimiser refer to; default `steps`. To extend a
        stage, pass the `steps` it was begun with.
    key
        `jax.random.key(seed)`.

    Raises
    ------
    InputError, StageMismatch, NonFinite, Stopped, StorageError
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
        plan, finished = compared(
            stage, steps, key=key, batch=batch, schedule_steps=schedule_steps,
            log_every=log_every, ema=ema, objective=objective, source=source,
            optimiser=optimiser, trained=trainable_leaves, model=model,
        )  # fmt: skip
        if finished is not None:
            history = History.load(finished, model)
            return history.model, history
        feed = None
        if isinstance(source, AbstractFeed):
            feed = FeedBlocks(source, batch)
            source, _ = feed.at(0)
        step = FitStep(
            static, optimiser, objective, source,
            StopAtNonFinite() if guard is None else guard, ema,
            scalar(np.inf if clip is None else clip), jnp.asarray(schedule_steps, jnp.int32),
            jnp.asarray(log_every, jnp.int32), key, batch, micro_batch,
        )  # fmt: skip
        watchers = all_watchers(watchers, stage, progress)
        session = Session("fit", stage, steps, save_every, watchers, plan)
        evaluation = (evaluate, evaluate_every or 0, stream(key, "evaluate"))
        history = _run(session, step, params, feed, evaluation)
        return history.model, history


def _run(
    session: Session, step: FitStep, params: PyTree, feed: FeedBlocks | None, evaluation: tuple
) -> History:
    training = Training(step, session.total, feed, evaluation)
    carry = session.restored(start_training(step, params, ROWS))
    training.written = int(carry.i) // training.log_every
    if session.saved_step >= 0 and session.stage is not None:
        training.rows = session.stage.metrics()
    controller = Controller([evaluation[1]], cap=ROWS * training.log_every)
    carry = drive(session, training, carry, controller)
    history = History(
        training.rows, seconds=session.seconds, compile_seconds=session.compile_seconds,
        skipped=int(carry.bad), model=step.averaged(carry), raw=step.model(carry.params),
    )  # fmt: skip
    session.finish(carry, history.save, skipped=history.skipped)
    return history


class Training:
    """What `fit` does between chunks: metric rows come to the host, `evaluate` is called.

    `evaluation` is the caller's function, every how many steps it is called, and its key.
    """

    def __init__(
        self, step: FitStep, total: int, feed: FeedBlocks | None, evaluation: tuple[Any, int, Any]
    ):
        self.step, self.total, self.feed, self.evaluation = step, total, feed, evaluation
        self.log_every, self.written = int(step.log_every), 0
        self.rows: list[dict] = []

    def at(self, i: int) -> tuple[FitStep, int]:
        if self.feed is None:
            return self.step, self.total
        source, until = self.feed.at(i)
        return eqx.tree_at(lambda s: s.source, self.step, source), until

    def collect(self, carry: FitCarry, i: int, seconds: float) -> tuple[list[dict], dict[str, Any]]:
        first, last = self.written, i // self.log_every
        columns = carry.records.take(first, last)
        fresh = [
            {"step": (n + 1) * self.log_every}
            | {name: column[n - first].item() for name, column in columns.items()}
            | {"seconds": seconds}
            for n in range(first, last)
        ]
        self.written = last
        newest = (fresh or self.rows or [{}])[-1]
        if not bool(carry.stop):
            fresh += self._evaluated(carry, i)
        self.rows += fresh
        return fresh, newest | fresh[-1] if fresh else newest

    def _evaluated(self, carry: FitCarry, i: int) -> list[dict[str, Any]]:
        """Call the caller's `evaluate` at multiples of `evaluate_every`."""
        function, every, key = self.evaluation
        if function is None or i % every:
            return []
        values = function(self.step.averaged(carry), key=jax.random.fold_in(key, i))
        for name in values:
            refuse_reserved(name, COLUMNS, "a number of evaluate")
        return [{"step": i, "evaluation": True} | {k: float(v) for k, v in values.items()}]

    def diagnose(self, carry: FitCarry, i: int) -> str:
        """Session the bad step again, sample by sample."""
        losses, gradients, batch, failed = inspect(self.at(i)[0], carry)
        return (
            f"training stopped at step {i}: "
            f"{describe_nonfinite(losses, gradients, batch, bool(failed))}. Try a smaller learning "
            "rate, clip=1.0, or guard=SkipNonFinite()"
        )

    def memory_hint(self) -> str:
        batch, now = self.step.batch, self.step.micro_batch
        smaller = next((m for m in range(now // 2, 0, -1) if batch % m == 0), 1)
        return f"batch={batch}, micro_batch={now}: write micro_batch={smaller} (the same numbers)"
