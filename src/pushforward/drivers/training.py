r"""One training step as a function of its carry: what runs inside a chunk of `fit`.

Step i: batch = source.draw(model_i, key_i); g = (1/B) Σ_j ∇ loss_j over trainable leaves, in
micro-batches if asked; g <- g min(1, c/|g|); optimiser; EMA a_i = d_i a_{i−1} + (1 − d_i) θ_i. A
step whose loss or gradient is not finite leaves everything as it was. Keys depend on (key, i, j).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._tree import private_copy
from .._typing import Array, Count, Flag, PRNGKey, Scalar
from ..dynamics import reduce_particles
from ..objectives import AbstractObjective
from ..sources import AbstractSource
from .checks import check_loss, check_same_types
from .ema import EMA, start_average
from .feed import FeedSource
from .guard import AbstractGuard
from .keys import sample_keys, stream
from .records import MetricInterval, Ring


class FitCarry(eqx.Module):
    """All that changes in a training."""

    i: Count
    params: PyTree
    opt: PyTree
    average: PyTree
    source: PyTree
    interval: MetricInterval
    records: Ring
    bad: Count
    in_a_row: Count
    stop: Flag


class FitStep(eqx.Module):
    """One training step; an argument of the chunk, nothing of it changes."""

    static: PyTree
    optimiser: optax.GradientTransformation
    objective: AbstractObjective
    source: AbstractSource
    guard: AbstractGuard
    ema: EMA | None
    clip: Scalar
    schedule_steps: Count
    log_every: Count
    key: PRNGKey
    batch: int = eqx.field(static=True)
    micro_batch: int = eqx.field(static=True)

    def model(self, params: PyTree) -> PyTree:
        """Return the model with these trainable leaves."""
        return eqx.combine(params, self.static)

    def averaged(self, carry: FitCarry) -> PyTree:
        """Return the model to use: the average if there is one."""
        if self.ema is None:
            return self.model(carry.params)
        like = jax.tree.map(lambda a, p: a.astype(p.dtype), carry.average, carry.params)
        return self.model(like)

    def draw(self, carry: FitCarry):
        """Return the batch of step i, the next source state and the source's info."""
        key = jax.random.fold_in(self.key, carry.i)
        dtype = jnp.result_type(float)
        progress = carry.i.astype(dtype) / self.schedule_steps.astype(dtype)
        model = self.model(carry.params)
        state = carry.i if isinstance(self.source, FeedSource) else carry.source
        return self.source.draw(
            state, model, self.batch, progress=progress, key=stream(key, "source")
        )

    def losses(self, params: PyTree, batch: PyTree, index, key: PRNGKey):
        """Return the losses and infos of a (micro-)batch."""
        model, keys = self.model(params), sample_keys(key, index[:, None])
        return jax.vmap(lambda s, k: check_loss(self.objective(model, s, key=k)))(batch, keys)

    def gradient(self, carry: FitCarry, batch: PyTree):
        """Return mean loss, mean gradient and reduced info, accumulated over micro-batches."""
        key = stream(jax.random.fold_in(self.key, carry.i), "objective")
        num = self.batch // self.micro_batch
        index = jnp.arange(self.batch, dtype=jnp.int32).reshape(num, self.micro_batch)
        parts = jax.tree.map(lambda x: x.reshape(num, self.micro_batch, *x.shape[1:]), batch)

        def mean_loss(params, part, index):
            losses, info = self.losses(params, part, index, key)
            return jnp.mean(losses), reduce_particles(info)

        value_and_grad = eqx.filter_value_and_grad(mean_loss, has_aux=True)

        def one(carried, inputs):
            (loss, info), grads = value_and_grad(carry.params, *inputs)
            total, interval = carried
            return (jax.tree.map(jnp.add, total, grads), interval.add((loss, info))), None

        first = jax.tree.map(lambda x: x[0], (parts, index))
        if num == 1:
            (loss, info), grads = value_and_grad(carry.params, *first)
            return loss, grads, info
        (shape, _) = jax.eval_shape(value_and_grad, carry.params, *first)
        start = (jax.tree.map(_wide_zeros, carry.params), MetricInterval.like(shape))
        (total, interval), _ = jax.lax.scan(one, start, (parts, index))
        loss, info = interval.row()
        mean = jax.tree.map(lambda g, p: (g / num).astype(p.dtype), total, carry.params)
        return loss, mean, info

    def __call__(self, carry: FitCarry) -> FitCarry:
        """Take one step, or none if it is bad."""
        batch, source, source_info = self.draw(carry)
        loss, grads, info = self.gradient(carry, batch)
        norm = optax.tree.norm(grads)
        failed = jnp.asarray(getattr(source_info, "failed", False))
        good = jnp.isfinite(loss) & jnp.isfinite(norm) & ~failed

        shrink = jnp.minimum(1, self.clip / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
        grads = jax.tree.map(lambda g: g * shrink.astype(g.dtype), grads)
        updates, opt = self.optimiser.update(grads, carry.opt, carry.params)
        params = optax.apply_updates(carry.params, updates)
        average = carry.average
        if self.ema is not None:
            average = self.ema.update(average, params, carry.i + 1)

        def keep(new, old):
            return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)

        bad = carry.bad + (~good).astype(jnp.int32)
        in_a_row = jnp.where(good, 0, carry.in_a_row + 1)
        stop = ~good & self.guard.stop(bad, in_a_row, carry.i)
        advanced = jnp.where(stop, carry.i, carry.i + 1)

        row = metric_row(loss, norm, info, source_info, good)
        interval = carry.interval.add(row, good)
        interval = jax.tree.map(lambda a, b: jnp.where(stop, b, a), interval, carry.interval)
        due = ~stop & (advanced % self.log_every == 0)
        rows = carry.records.put(advanced // self.log_every - 1, interval.row(), due)
        return FitCarry(
            advanced,
            keep(params, carry.params),
            keep(opt, carry.opt),
            keep(average, carry.average),
            _keep_small(good, source, carry.source),
            interval.cleared(due),
            rows,
            bad,
            in_a_row,
            stop,
        )


def _wide_zeros(leaf: Array) -> Array:
    return jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32))


def metric_row(loss: Scalar, norm: Scalar, info: PyTree, source_info: PyTree, good: Flag):
    """Return the columns of one step; a skipped step leaves only its count."""
    columns = {"loss": loss, "grad_norm": norm, "objective": info, "source": source_info}

    def entry(x):
        if jnp.issubdtype(x.dtype, jnp.floating):  # rows are sums: bfloat16 would not add up
            x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return jnp.where(good, x, jnp.zeros_like(x))

    columns = jax.tree.map(entry, columns)
    return columns | {"skipped": (~good).astype(jnp.int32)}


def _keep_small(good: Flag, new: PyTree, old: PyTree) -> PyTree:
    # Large buffers are not restored: a slot is a function of the absolute step, so running a bad
    # step again writes the same rows, and a `where` over them would cost more than the step.
    def keep(a, b):
        return a if a.size > 4096 else jnp.where(good, a, b)

    return jax.tree.map(keep, new, old)


@eqx.filter_jit
def inspect(step: FitStep, carry: FitCarry):
    """Run a step again and return losses, gradients, batch and whether the source failed."""
    batch, _, info = step.draw(carry)
    key = stream(jax.random.fold_in(step.key, carry.i), "objective")
    index = jnp.arange(step.batch, dtype=jnp.int32)
    losses, _ = step.losses(carry.params, batch, index, key)
    _, gradients, _ = step.gradient(carry, batch)
    return losses, gradients, batch, jnp.asarray(getattr(info, "failed", False))


def row_shapes(step: FitStep, carry: FitCarry):
    """Return one metric row, to know its shapes; a source whose state changes is refused."""
    batch, source, info = step.draw(carry)
    why = "a source returns a state like the one it was given"
    check_same_types(carry.source, source, "in a draw the source's state", why)
    loss, grads, objective_info = step.gradient(carry, batch)
    return metric_row(loss, optax.tree.norm(grads), objective_info, info, jnp.ones((), bool))


def start_training(step: FitStep, params: PyTree, rows: int) -> FitCarry:
    """Return the carry before the first step: copies, so that nothing of the caller is donated."""
    average = None if step.ema is None else start_average(params)
    source = step.source.init(step.model(params), key=stream(step.key, "init"))
    zero, opt = jnp.zeros((), jnp.int32), step.optimiser.init(params)

    def start(interval, records):
        parts = (params, opt, average, source, interval, records)
        return FitCarry(zero, *parts, zero, zero, jnp.zeros((), bool))

    # rows are shaped like those of the first step
    return private_copy(start(*empty_records(step, start(None, None), rows)))


@eqx.filter_jit
def empty_records(step: FitStep, carry: FitCarry, rows: int) -> tuple[MetricInterval, Ring]:
    """Return the empty interval and ring; a second fit of equal structure traces nothing."""
    row = eqx.filter_eval_shape(row_shapes, step, carry)
    return MetricInterval.like(row), Ring.like(row, rows)
