r"""Walkers of the present model as training points: a small replay buffer of rollouts.

The PINN loss may be averaged over ANY law q_t with full support, so walkers of slightly older
models serve as well: every `refresh` draws one new rollout overwrites the oldest of `capacity`.
The times of a rollout are random (`jitter`), so that no t is never seen; the horizon T grows, so
that walkers reach late times only when the drift is good at early ones.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._fields import checked, integer, positive
from .._tree import real_dtype, scalar
from .._typing import Array, Count, Flag, Float, PRNGKey, Scalar, X
from ..dynamics import AbstractProcess, Info, Trajectory, march
from ..targets import AbstractDistribution, AbstractEnergy
from .base import AbstractSource


class Horizon(eqx.Module):
    """T grows linearly from `start` to 1 over the first `full_at` of the schedule, then stays.

    Parameters
    ----------
    start
        T at the first step, in (0, 1]. Good value .1; 1 switches the curriculum off.
    full_at
        Fraction of the schedule at which T = 1. Good value .6.
    """

    start: Scalar = checked(
        holds=lambda t: (0 < t) & (t <= 1),
        expected="a time in (0, 1]",
        example=0.1,
        default=0.1,
        converter=scalar,
    )
    full_at: Scalar = positive(
        default=0.6, converter=scalar, hint="Horizon(start=1) switches the curriculum off"
    )

    def __call__(self, progress: Scalar) -> Scalar:
        """Return T."""
        return jnp.minimum(1, self.start + (1 - self.start) * progress / self.full_at)


class WeightedPoint(eqx.Module):
    """A training point of a sampler: x at time t with log-weight A (a group shares one t)."""

    t: Scalar
    x: X
    log_weight: Scalar


class Buffer(eqx.Module):
    """Ring buffer of rollouts: axes (capacity, times) and (capacity, times, walkers, ...)."""

    t: Float[Array, "capacity times"]
    x: X
    log_weight: Float[Array, "capacity times walkers"]
    draws: Count
    nonfinite: Count
    failed: Flag


class Rollout(AbstractSource):
    r"""Draws (t, x, A) from a ring buffer of rollouts of `process(model)`.

    Parameters
    ----------
    process
        Maps the model to the process that explores (a Module or `eqx.Partial`).
    walkers, num_times
        Size of one rollout. Good values 512 and 100.
    refresh, capacity
        A new rollout every `refresh` draws, the last `capacity` are kept. Good values 50, 4.
    horizon
        The curriculum T(progress).
    jitter
        Random sorted times (True) or equal steps.
    weighted
        Draw x by e^A within its time slice, so that q_t = ρ_t, instead of uniformly.
    group
        Walkers at the same t in one sample (0: a single point); >= 16 for `ContinuityVariance`.
    trajectories
        Draw the whole paths of the group, as `LogVariance` needs them.

    Recorded: the horizon, the walkers dropped at the last refresh, whether there were too many.
    """

    process: Callable[[PyTree], AbstractProcess]
    walkers: int = integer(least=1, default=512)
    num_times: int = integer(least=1, default=100)
    refresh: int = integer(least=1, default=50)
    capacity: int = integer(least=1, default=4)
    horizon: Horizon = eqx.field(default_factory=Horizon)
    jitter: bool = eqx.field(static=True, default=True)
    weighted: bool = eqx.field(static=True, default=False)
    group: int = integer(least=0, default=0, hint="0 draws single points")
    trajectories: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.trajectories and (self.group < 2 or self.weighted):
            raise InputError(
                f"trajectories=True with group={self.group}, weighted={self.weighted}: expected a "
                "group of 2 or more, unweighted: Rollout(..., group=16, trajectories=True)"
            )

    def init(self, model: PyTree, *, key: PRNGKey) -> Buffer:
        shape = (self.capacity, self.num_times + 1)
        x = jax.eval_shape(lambda k: _sampleable(self.process(model).path.base).sample(key=k), key)
        dtype = real_dtype(x)
        zero = jnp.zeros((), jnp.int32)
        return Buffer(
            jnp.zeros(shape, dtype),
            jax.tree.map(lambda a: jnp.zeros((*shape, self.walkers, *a.shape), a.dtype), x),
            jnp.zeros((*shape, self.walkers), dtype),
            zero,
            zero,
            jnp.zeros((), bool),
        )

    def draw(self, state: Buffer, model: PyTree, size: int, *, progress: Scalar, key: PRNGKey):
        horizon = self.horizon(progress).astype(state.t.dtype)
        state = jax.lax.cond(
            state.draws % self.refresh == 0,
            lambda: self._refreshed(state, model, horizon, jax.random.fold_in(key, size)),
            lambda: state,
        )
        filled = jnp.minimum(1 + state.draws // self.refresh, self.capacity)
        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(size))
        batch = jax.vmap(lambda k: self._point(state, filled, k))(keys)
        info = Info(horizon=horizon, nonfinite=state.nonfinite, failed=state.failed)
        return batch, eqx.tree_at(lambda s: s.draws, state, state.draws + 1), info

    def _refreshed(self, state: Buffer, model: PyTree, horizon: Scalar, key: PRNGKey) -> Buffer:
        t, x, log_weight = self._roll(model, horizon, key)
        finite = _all_along(jnp.isfinite, x) & _all_along(lambda a: ~jnp.isnan(a), log_weight)
        # The place of a lost walker, or of one behind a hard wall (A = −inf), is taken by
        # the first sound one: it is a training point like any.
        sound = finite & _all_along(jnp.isfinite, log_weight)
        source = jnp.where(sound, jnp.arange(self.walkers), jnp.argmax(sound))
        lost = jnp.sum(~finite).astype(jnp.int32)
        failed = (lost * 100 > self.walkers) | ~jnp.any(sound)
        slot = (state.draws // self.refresh) % self.capacity

        def write(buffer, new):
            old = jax.lax.dynamic_index_in_dim(buffer, slot, keepdims=False)
            return buffer.at[slot].set(jnp.where(failed, old, new))

        return Buffer(
            write(state.t, t),
            jax.tree.map(lambda b, a: write(b, a[:, source]), state.x, x),
            write(state.log_weight, log_weight[:, source]),
            state.draws,
            lost,
            failed,
        )

    def _roll(self, model: PyTree, horizon: Scalar, key: PRNGKey):
        kernel = self.process(model)
        grid_key, walker_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        inner = jnp.linspace(0, 1, self.num_times + 1, dtype=horizon.dtype)[1:-1]
        if self.jitter:
            inner = jnp.sort(jax.random.uniform(grid_key, inner.shape, inner.dtype))
        zero, one = jnp.zeros(1, inner.dtype), jnp.ones(1, inner.dtype)
        times = horizon * jnp.concatenate([zero, inner, one])
        base = _sampleable(kernel.path.base)

        def walker(j):
            key = jax.random.fold_in(walker_key, j)
            x = base.sample(key=jax.random.fold_in(key, 0))
            state = kernel.init(x, times[0], key=jax.random.fold_in(key, 1))
            return march(kernel, state, times, key=jax.random.fold_in(key, 2))[1]

        paths = jax.vmap(walker, out_axes=1)(jnp.arange(self.walkers))
        return times, paths.x, paths.log_weight

    def _point(self, state: Buffer, filled: Count, key: PRNGKey) -> WeightedPoint | Trajectory:
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        slot = jax.random.randint(keys[0], (), 0, filled)
        if self.trajectories:
            walker = jax.random.randint(keys[2], (self.group,), 0, self.walkers)
            x, log_weight = jax.tree.map(lambda a: a[slot, :, walker], (state.x, state.log_weight))
            x, log_weight = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), (x, log_weight))
            return Trajectory(state.t[slot], x, log_weight)
        k = jax.random.randint(keys[1], (), 0, self.num_times + 1)
        log_weight = state.log_weight[slot, k]
        shape = (self.group,) if self.group else ()
        if self.weighted:
            walker = jax.random.categorical(keys[2], log_weight, shape=shape)
        else:
            walker = jax.random.randint(keys[2], shape, 0, self.walkers)
        x = jax.tree.map(lambda a: a[slot, k, walker], state.x)
        return WeightedPoint(state.t[slot, k], x, log_weight[walker])


def _sampleable(base: AbstractEnergy) -> AbstractDistribution:
    if not isinstance(base, AbstractDistribution):
        raise InputError(
            f"the path begins at {type(base).__name__}, which cannot be sampled; expected an "
            "AbstractDistribution: Annealing(Normal(shape, scale=3.), target)"
        )
    return base


def _all_along(test: Callable[[Array], Array], tree: PyTree) -> Array:
    """Return which walkers (second axis) pass a test at all times and in all components."""

    def each(a):
        return jnp.all(test(a), axis=(0, *range(2, a.ndim)))

    return jnp.all(jnp.stack([each(a) for a in jax.tree.leaves(tree)]), axis=0)
