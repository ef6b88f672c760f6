"""`simulate`: move particles along a time grid, or run chains, with one compiled step."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._tree import take
from .._typing import Array, Context, Float, PRNGKey, X
from ..dynamics import AbstractKernel, failure_of
from ..estimators import AbstractResampling, Moments
from ..runs import Stage
from .advance import Controller, Session, drive
from .checks import check_disk, check_simulate
from .keys import check_key
from .particles import split_members, start_particles
from .plan import compared, opened, stage_key
from .records import Keep, OfState, StreamingMoments, scalars
from .samples import Samples
from .simulation import SimCarry, SimStep, inspect, start_simulation
from .watchers import AbstractWatcher, all_watchers


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
    burn_in: int = 0,
    batch_size: int | None = None,
    folder: str | Path | Stage | None = None,
    watchers: Sequence[AbstractWatcher] = (),
    progress: bool | None = None,
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
    burn_in
        Steps of chains before anything is recorded.
    batch_size
        Particles at once, to save memory; the same numbers up to the last digits.
    folder
        A path or a `Stage`: draws, checkpoints, resuming. None writes nothing. A finished stage of
        the same call is loaded; a larger `steps` goes on with it; any other call is refused.
    watchers, progress, save_every
        As in `fit`.
    key
        `jax.random.key(seed)`.

    Raises
    ------
    InputError, StageMismatch, NonFinite, Stopped, StorageError
    """
    grid = check_simulate(kernel, times, steps, resample, burn_in, populations, batch_size)
    total = burn_in + int(steps or 0) if grid is None else grid.shape[0] - 1
    split, members = split_members(kernel, stacked)
    with opened(folder, "simulate") as stage:
        key = stage_key(check_key(key), stage, "simulate")
        plan, finished = compared(
            stage, total, key=key, burn_in=burn_in, populations=populations, stacked=stacked,
            times=grid, x0=x0, index=index, context=context, resample=resample, observe=observe,
            keep=keep, initial=initial, kernel=kernel,
        )  # fmt: skip
        if finished is not None:
            return Samples.load(finished)
        x, index = start_particles(kernel, x0, initial, index, (split, members), populations, key)
        start = jnp.asarray(burn_in, jnp.int32)
        step = SimStep(
            *split, grid, start, index, key, resample, observe, keep, populations, batch_size
        )
        watchers = all_watchers(watchers, stage, progress)
        session = Session("simulate", stage, total, save_every, watchers, plan)
        return _run(session, step, x, context)


def _run(session: Session, step: SimStep, x: X, context: Context) -> Samples:
    carry = start_simulation(step, x, context)
    simulation = Simulation(session.stage, step, session.total, carry)
    carry = session.restored(carry)
    i = int(carry.i)
    simulation.flushed = simulation.rows_at(i) if i else 0
    carry = drive(session, simulation, carry, Controller(cap=simulation.capacity))
    series, draws = simulation.recorded()
    samples = Samples(
        carry.state.x,
        carry.state.log_weight.value,
        record=series,
        draws=draws,
        moments=_moments(carry.moments, carry.state.log_weight.high.shape[-1]),
        weighted=step.shared.weighted,
        populations=step.populations,
        stacked=step.stacked is not None,
    )
    session.finish(carry, samples.save)
    return samples


class Simulation:
    """What `simulate` does between chunks: rows and draws go to the stage, or into memory."""

    def __init__(self, stage: Stage | None, step: SimStep, total: int, carry: SimCarry):
        self.stage, self.step, self.total, self.flushed = stage, step, total, 0
        self.parts: list[dict[str, np.ndarray]] = []
        self.kept: list[dict[str, np.ndarray]] = []
        self.every = 1 if step.keep is None else int(step.keep.every)
        rows, draws = carry.records
        self.capacity = rows.capacity - 1
        if draws is not None:
            self.capacity = min(self.capacity, draws.capacity * self.every - 1)
            if stage is not None:
                row = jax.tree.map(lambda a: a[0], draws.rows)
                check_disk(row, self.rows_at(total) // self.every, stage.path)
        self.capacity = max(self.capacity, 1)

    def at(self, i: int) -> tuple[SimStep, int]:
        return self.step, self.total

    def rows_at(self, i: int) -> int:
        """Return the number of rows written when i steps are done."""
        return i + 1 if self.step.times is not None else max(0, i - int(self.step.burn_in))

    def collect(self, carry: SimCarry, i: int, seconds: float) -> tuple[list[dict], dict[str, Any]]:
        start, stop = self.flushed, self.rows_at(i)
        if stop <= start:
            return [], {}
        rows, draws = carry.records
        columns = {k.removeprefix("observed."): v for k, v in rows.take(start, stop).items()}
        first, last = -(-start // self.every), -(-stop // self.every)
        kept = draws.take(first, last) if draws is not None and last > first else {}
        kept = {name.lstrip(".") or "x": v for name, v in kept.items()}
        self.flushed = stop
        self._store(columns, start, kept, first)
        along_times = self.step.times is not None
        logged = [n for n in range(start, stop) if along_times or _is_logged(n)]
        table = [(n, scalars({k: v[n - start] for k, v in columns.items()})) for n in logged]
        last_row = scalars({name: value[-1] for name, value in columns.items()})
        return [{"step": n} | row for n, row in table if row], last_row

    def _store(self, columns: dict, start: int, kept: dict, first: int) -> None:
        if self.stage is None:
            self.parts.append(columns)
            self.kept += [kept] if kept else []
            return
        if columns:  # a kernel may record nothing
            self.stage.append_series(columns, start)
        if kept:
            self.stage.append_draws(kept, first)

    def recorded(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
        """Return the whole series and all draws, in memory or as the stage holds them."""
        if self.stage is None:
            return _joined(self.parts), _joined(self.kept)
        return self.stage.series(), self.stage.draws()

    def diagnose(self, carry: SimCarry, i: int) -> str:
        """Session the bad step again and look at the first particle that failed."""
        _, info, bad = inspect(self.step, carry.state, carry.i)
        where = f"step {i}"
        if self.step.times is not None:
            t, t_next = (float(v) for v in self.step.interval(jnp.asarray(i)))
            where += f" (t = {t:.6g} -> {t_next:.6g})"
        bad = np.asarray(bad)
        first = tuple(int(k) for k in np.argwhere(bad)[0]) if bad.any() else (0,) * bad.ndim
        kernel = self.step.shared
        if self.step.stacked is not None:
            kernel = eqx.combine(take(self.step.stacked, first[0]), kernel)
        sentence = failure_of(kernel, jax.tree.map(lambda a: np.asarray(a)[first], info))
        x = jax.tree.map(lambda a: np.asarray(a)[first], carry.state.x)
        point = np.array2string(np.ravel(jax.tree.leaves(x)[0]), precision=5, threshold=8)
        return (
            f"simulation stopped at {where}: {int(bad.sum())} of {bad.size} particles failed, the "
            f"first is particle {first[-1]} at x = {point}: {sentence}"
        )

    def memory_hint(self) -> str:
        num = self.step.index.shape[-2]
        now = num if self.step.batch_size is None else self.step.batch_size
        return (
            f"{num} particles, {now} at once: write batch_size={max(1, now // 2)} (the same "
            "numbers), or keep fewer draws"
        )


def _is_logged(n: int) -> bool:
    # About 1,000 rows of a chain per doubling of its length go to the metrics, whatever its end.
    return n % (1 << max(0, n.bit_length() - 11)) == 0


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _moments(moments: StreamingMoments, chains: int) -> dict[str, Moments]:
    count = int(moments.steps) * chains
    return {
        name: Moments(count, np.asarray(moments.mean[name]), np.asarray(moments.m2[name]))
        for name in moments.mean
    }
