"""`simulate`: move particles along a time grid, or run chains, with one compiled step."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError, NonFinite
from .._tree import copy_arrays, named_leaves
from .._typing import Array, Context, Float, PRNGKey, X
from ..dynamics import AbstractKernel, State
from ..estimators import AbstractResampling
from ..estimators import Moments as HostMoments
from ..paths import check_times
from ..runs import Stage, as_stage
from . import signals
from .advance import Controller, drive
from .keys import check_key, sample_keys, stream
from .observe import Keep, OfState
from .records import Moments, Ring, capacity_for, scalars
from .samples import Samples
from .simulation import SimCarry, SimStep
from .watchers import AbstractWatcher


def simulate(
    kernel: AbstractKernel,
    x0: int | X,
    *,
    times: Float[Array, " n"] | Sequence[float] | None = None,
    steps: int | None = None,
    initial: Any = None,
    index: Array | None = None,
    populations: int = 1,
    stacked: bool | Callable[[AbstractKernel], Any] = False,
    context: Context = None,
    resample: AbstractResampling | None = None,
    observe: Callable[[X], dict] | OfState | None = None,
    keep: Keep | None = None,
    warm_up: int = 0,
    lanes: int | None = None,
    folder: str | Path | Stage | None = None,
    watchers: Sequence[AbstractWatcher] = (),
    save_every: float = 60.0,
    key: PRNGKey,
) -> Samples:
    """Simulate particles and return them with their weights and record.

    Parameters
    ----------
    kernel
        Steps ONE particle; vmap is applied here.
    x0
        Samples with a leading particle axis, or how many to draw from `initial`.
    times
        Strictly monotone grid in [0, 1] for processes. Give exactly one of times and steps.
    steps
        Number of steps for chains (each at t = 1).
    initial
        A distribution with `sample(key=)` for an integer x0; default `kernel.path.base`.
    index
        Global sample numbers for the keys, (n,) or (n, k); default 0..n−1.
    populations
        Independent populations of equal size; resampling stays within each.
    stacked
        True: every array of the kernel has a leading member axis; or a filter such as
        `lambda k: k.epsilon`: only those leaves have it. x0 then has axes (members, n).
    context
        Labels or history, particle axis first.
    resample
        `Systematic(.5)` and friends, after each interval but the last.
    observe
        Function of x (`OfState(f)` of the State) returning a dict of arrays. Along `times` its
        weighted means are recorded, for chains the series; arrays over 64 entries as moments.
    keep
        `Keep(every, what, particles)`: draws to store.
    warm_up
        Steps of chains before anything is recorded.
    lanes
        Particles at once, to save memory; the same bits.
    folder
        A path or a `Stage`: draws, checkpoints, resuming. None writes nothing.
    watchers, save_every
        As in `fit`.
    key
        `jax.random.key(seed)`.

    Raises
    ------
    InputError, NonFinite, Stopped, StorageError
    """
    grid = _check(kernel, times, steps, resample, warm_up)
    key = check_key(key)
    stage = as_stage(folder, "simulate")
    key = stream(key, stage.name, "simulate") if stage else stream(key, "simulate")
    split, members = _split(kernel, stacked)
    x, index = _start(kernel, x0, initial, index, members, key)
    num = index.shape[len(members)]
    if populations < 1 or num % populations:
        raise InputError(f"populations = {populations} does not divide {num} particles")
    step = SimStep(
        *split,
        grid,
        jnp.asarray(warm_up, jnp.int32),
        index,
        key,
        resample,
        observe,
        keep,
        populations,
        lanes,
    )
    total = grid.shape[0] - 1 if grid is not None else warm_up + int(steps or 0)
    session = _Session(step, stage, total, warm_up, save_every, watchers)
    try:
        record, draws, carry = session.run(x, context)
    finally:
        if stage is not None and stage is not folder:
            stage.close()
    state = carry.state
    return Samples(
        state.x,
        state.log_weight.value,
        record=record,
        draws=draws,
        moments=_moments(carry.moments),
        weighted=not kernel.stationary,
        populations=populations,
        stacked=bool(members),
    )


class _Session:
    """The host side of one simulation: what happens between chunks."""

    def __init__(self, step: SimStep, stage, total, warm_up, save_every, watchers):
        self.step, self.stage, self.total = step, stage, total
        self.warm_up, self.save_every = warm_up, save_every
        self.watchers = (*watchers, *(stage.watchers if stage else ()))
        self.seconds = self.compile_seconds = 0.0
        self.saved_at, self.saved_step = time.monotonic(), -1
        self.parts: list[dict[str, np.ndarray]] = []
        self.kept: list[dict[str, np.ndarray]] = []

    def run(self, x: X, context: Context):
        carry = self.restored(self.start(x, context))
        every = 1 if self.step.keep is None else int(self.step.keep.every)
        assert carry.rows is not None  # only a checkpoint leaves them out
        cap = carry.rows.capacity - 1
        if carry.draws is not None:
            cap = min(cap, carry.draws.capacity * every - 1)
        self.controller = Controller(cap=max(cap, 1))
        i = int(carry.i)
        self.flushed = 0 if i == 0 else self.rows_at(i)
        carry = drive(lambda _: (self.step, self.total), carry, self.total, self.controller,
                      self.between)  # fmt: skip
        if self.stage is None:
            return _joined(self.parts), _joined(self.kept), carry
        if not self.stage.finished:
            if self.saved_step != self.total:
                self.save(carry)
            done = {"steps": self.total, "seconds": self.seconds}
            self.stage.finish(done | {"compile_seconds": self.compile_seconds})
        return self.stage.series(), self.stage.draws(), carry

    def start(self, x: X, context: Context) -> SimCarry:
        state, (row, kept, large), first = _begin(self.step, x, context)
        self.refuse_nonfinite(state)
        moments = Moments.like(large)
        rows = Ring.like(row, min(capacity_for(row), self.total + 1) if first else _limit(row))
        draws = None
        if self.step.keep is not None:
            draws = Ring.like(kept, capacity_for(kept, limit=1024))
        zero, one = jnp.zeros((), jnp.int32), jnp.ones((), bool)
        if first:
            rows = rows.put(zero, row, one)
            draws = None if draws is None else draws.put(zero, kept, one)
        return copy_arrays(SimCarry(zero, state, moments, rows, draws, jnp.zeros((), bool)))

    def rows_at(self, i: int) -> int:
        """Return the number of rows written when i steps are done."""
        return i + 1 if self.step.times is not None else max(0, i - self.warm_up)

    def refuse_nonfinite(self, state: State) -> None:
        if state.energy is None:
            return
        shape = state.log_weight.high.shape
        energy = np.asarray(state.energy).reshape(*shape, -1).sum(-1)
        bad = ~np.isfinite(energy)
        if bad.any():
            raise InputError(
                f"the energy is not finite at {bad.sum()} of {bad.size} starting points, the first "
                f"is particle {np.argwhere(bad)[0].tolist()} with U = {energy[bad][0]}: start "
                "where the density is positive"
            )

    def restored(self, carry: SimCarry) -> SimCarry:
        if self.stage is None:
            return carry
        state = eqx.tree_at(_rings, carry, (None, None), is_leaf=lambda x: x is None)
        found = self.stage.restore(state)
        if found is None:
            return carry
        state, step, extra = found
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
        return eqx.tree_at(_rings, state, _rings(carry), is_leaf=lambda x: x is None)

    def between(self, carry: SimCarry, seconds: float, compiled: bool) -> None:
        self.seconds += seconds
        self.compile_seconds += seconds if compiled else 0.0
        i = int(carry.i)
        last = self.flush(carry, i)
        if bool(carry.stop):
            self.fail(carry, i)
        rate = 1 / self.controller.seconds_per_step if self.controller.seconds_per_step else None
        host = {"phase": self.stage.name if self.stage else "simulate", "total": self.total}
        for watcher in self.watchers:
            watcher.log(i, last | host | {"seconds": self.seconds, "rate": rate})
        if self.stage is not None and time.monotonic() - self.saved_at >= self.save_every:
            self.save(carry)
        number = signals.requested(margin=2 * self.controller.seconds_per_step)
        if number is not None and i < self.total:
            if self.saved_step != i:
                self.save(carry)
            raise signals.stopped(number, f"in simulate after step {i} of {self.total}")

    def flush(self, carry: SimCarry, i: int) -> dict[str, Any]:
        start, stop = self.flushed, self.rows_at(i)
        if stop <= start:
            return {}
        assert carry.rows is not None
        columns = {_column(n): v for n, v in carry.rows.take(start, stop).items()}
        kept, first, keep = {}, 0, self.step.keep
        if carry.draws is not None and keep is not None:
            every = int(keep.every)
            first, last = -(-start // every), -(-stop // every)
            if last > first:
                kept = {_draw(n): v for n, v in carry.draws.take(first, last).items()}
        self.flushed = stop
        if self.stage is None:
            self.parts.append(columns)
            self.kept += [kept] if kept else []
        else:
            self.stage.append_series(columns, start)
            if kept:
                self.stage.append_draws(kept, first)
            rows = [scalars({n: v[k] for n, v in columns.items()}) for k in range(stop - start)]
            rows = [{"step": start + k} | row for k, row in enumerate(rows) if row]
            self.stage.append_metrics(rows if self.step.times is not None else rows[-1:])
        return scalars({name: value[-1] for name, value in columns.items()})

    def save(self, carry: SimCarry) -> None:
        if self.stage is None:
            return
        state = eqx.tree_at(_rings, carry, (None, None), is_leaf=lambda x: x is None)
        extra = {"seconds": self.seconds, "compile_seconds": self.compile_seconds}
        self.stage.save(int(carry.i), state, extra)
        self.saved_at, self.saved_step = time.monotonic(), int(carry.i)

    def fail(self, carry: SimCarry, i: int) -> None:
        self.save(carry)
        state, info, nan = _inspect(self.step, carry.state, carry.i)
        t, t_next = (float(v) for v in self.step.interval(jnp.asarray(i)))
        where = f"step {i}"
        if self.step.times is not None:
            where += f" (t = {t:.6g} -> {t_next:.6g})"
        bad = np.asarray(nan)
        first = tuple(int(k) for k in np.argwhere(bad)[0]) if bad.any() else (0,) * bad.ndim
        kernel = self.step.shared
        if self.step.stacked is not None:
            kernel = eqx.combine(jax.tree.map(lambda a: a[first[0]], self.step.stacked), kernel)
        sentence = kernel.explain(jax.tree.map(lambda a: np.asarray(a)[first], info))
        x = jax.tree.map(lambda a: np.asarray(a)[first], carry.state.x)
        point = np.array2string(np.ravel(jax.tree.leaves(x)[0]), precision=5, threshold=8)
        saved = f"; the state before it is saved in {self.stage.path}" if self.stage else ""
        raise NonFinite(
            f"simulation stopped at {where}: {int(bad.sum())} of {bad.size} particles failed, the "
            f"first is particle {first[-1]} at x = {point}: {sentence}{saved}"
        )


@eqx.filter_jit
def _begin(step: SimStep, x: X, context: Context):
    state = step.begin(x, context)
    shape = eqx.filter_eval_shape(step.moved, state, jnp.zeros((), jnp.int32))
    _check_kernel_types(state, shape[0])
    axis = state.log_weight.high.ndim - 1
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape[1])
    row = step.row(state, jnp.asarray(-1, jnp.int32), zeros)
    kept = None if step.keep is None else step.kept(state)
    return state, (row, kept, step.large(state, axis)), step.times is not None


@eqx.filter_jit
def _inspect(step: SimStep, state: State, i):
    moved, info = step.moved(state, i)
    bad = jnp.isnan(moved.log_weight.value)
    for node in jax.tree.leaves(info, is_leaf=lambda n: hasattr(n, "failed")):
        if hasattr(node, "failed"):
            bad = bad | node.failed
    return moved, info, bad


def _check(kernel, times, steps, resample, warm_up):
    if not isinstance(kernel, AbstractKernel):
        raise InputError(f"kernel is {type(kernel).__name__}, expected an AbstractKernel")
    if (times is None) == (steps is None):
        raise InputError(
            "give exactly one of times (a process along a path: times=uniform_times(200)) and "
            "steps (a chain: steps=1000)"
        )
    if times is not None:
        if kernel.stationary:
            raise InputError(
                f"{type(kernel).__name__} leaves its law invariant and carries no weight along a "
                "path: write compose(Transport(path), HMC(path, step_size)), or steps=1000"
            )
        if warm_up:
            raise InputError("warm_up belongs to steps=, a march along times has none")
        return check_times(times)
    if not isinstance(steps, int) or steps < 1 or warm_up < 0:
        raise InputError(f"steps = {steps!r}, warm_up = {warm_up!r}: expected positive integers")
    if resample is not None:
        raise InputError("resample belongs to times=: a chain has no weights")
    return None


def _split(kernel: AbstractKernel, stacked):
    if stacked is False:
        return (None, kernel), ()
    if stacked is True:
        mask = jax.tree.map(eqx.is_array, kernel)
    else:
        mask = jax.tree.map(lambda _: False, kernel)
        chosen = stacked(kernel)
        mask = eqx.tree_at(stacked, mask, jax.tree.map(eqx.is_array, chosen))
    with_axis, shared = eqx.partition(kernel, mask)
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(with_axis)}
    if len(sizes) != 1 or () in sizes:
        raise InputError(
            f"stacked leaves need one common leading axis, got {sorted(sizes)}: give each member's "
            "value, as in eqx.tree_at(lambda k: k.epsilon, kernel, jnp.array([.1, 1., 10.]))"
        )
    return (with_axis, shared), next(iter(sizes))


def _start(kernel, x0, initial, index, members, key):
    space = kernel.path.space
    if isinstance(x0, (int, np.integer)) and not isinstance(x0, bool):
        if x0 < 1:
            raise InputError(f"x0 = {x0}: expected a positive number of particles")
        index = _index(index, (*members, int(x0)))
        source = getattr(kernel.path, "base", None) if initial is None else initial
        if not hasattr(source, "sample"):
            raise InputError(
                "an integer x0 needs a distribution to draw from: initial=Normal(shape, scale=1.), "
                "or hand over the samples themselves"
            )
        keys = sample_keys(stream(key, "x0"), index)
        return _draw_from(source, keys), index
    leaves = jax.tree.leaves(x0)
    if not leaves:
        raise InputError("x0 is empty: expected samples with a leading particle axis, or a number")
    axes = len(members) + 1
    shapes = {np.shape(leaf)[:axes] for leaf in leaves}
    if len(shapes) != 1 or len(next(iter(shapes))) < axes:
        raise InputError(f"the leaves of x0 have different particle axes {sorted(shapes)}")
    shape = next(iter(shapes))
    if shape[: len(members)] != members:
        raise InputError(f"x0 has leading axes {shape}, expected {members} members first")
    one = jax.tree.map(lambda a: jnp.asarray(a)[(0,) * axes], x0)
    _check_one(space, one, jax.tree.map(jnp.shape, x0))
    return jax.tree.map(jnp.asarray, x0), _index(index, shape)


def _check_one(space, one, shape) -> None:
    try:
        space.check(one, "a sample of x0")
    except InputError as error:
        raise InputError(
            f"{error}. x0 has shape {shape}: particles come first, (n, *sample); one sample alone "
            "is x0[None], and vmap is applied for you"
        ) from error


@eqx.filter_jit
def _draw_from(source, keys):
    def draw(key):
        return source.sample(key=key)

    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)


def _index(index, shape):
    if index is None:
        index = jnp.arange(int(np.prod(shape)), dtype=jnp.int32).reshape(shape)
    index = jnp.asarray(index)
    if index.shape == shape:
        index = index[..., None]
    if index.shape[:-1] != shape or not jnp.issubdtype(index.dtype, jnp.integer):
        raise InputError(
            f"index has shape {index.shape}, expected integers {shape} or {shape}+(k,)"
        )
    return index


def _check_kernel_types(before: State, after: State) -> None:
    old, new = dict(named_leaves(before)), dict(named_leaves(after))
    if old.keys() != new.keys():
        raise InputError(
            f"the kernel's State changed structure in a step: {sorted(old)} became {sorted(new)}"
        )
    for name, leaf in old.items():
        a, b = (leaf.shape, leaf.dtype), (new[name].shape, new[name].dtype)
        if a != b:
            raise InputError(
                f"State{name} changed in a step from {a[1]}{list(a[0])} to {b[1]}{list(b[0])}: x0, "
                "the energy and the times must share one floating dtype"
            )


def _rings(carry: SimCarry):
    return carry.rows, carry.draws


def _limit(row) -> int:
    return capacity_for(row, limit=1024)


def _column(name: str) -> str:
    return name.removeprefix("observed.")


def _draw(name: str) -> str:
    return name.lstrip(".") or "x"


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _moments(moments: Moments) -> dict[str, HostMoments]:
    count = int(moments.count)
    return {
        name: HostMoments(count, np.asarray(moments.mean[name]), np.asarray(moments.m2[name]))
        for name in moments.mean
    }
