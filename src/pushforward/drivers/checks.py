"""What the two verbs refuse before they begin; each sentence says what to write instead."""

import operator
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import PyTree

from .._errors import DiskFull, InputError
from .._tree import named_leaves, trainable
from ..dynamics import AbstractKernel
from ..paths import check_times
from ..sources import AbstractFeed, AbstractSource
from .ema import EMA


def check_fit(objective, source, optimiser, ema, clip, steps, batch, micro_batch, log_every):
    """Refuse what `fit` cannot mean."""
    if not isinstance(optimiser, optax.GradientTransformation):
        raise InputError(f"optimiser is {optimiser!r}, expected an optax one: optax.adam(1e-3)")
    check_positive(steps=steps, batch=batch, micro_batch=micro_batch, log_every=log_every)
    if batch % micro_batch:
        raise InputError(f"micro_batch = {micro_batch} does not divide batch = {batch}")
    if clip is not None and not clip > 0:
        raise InputError(f"clip = {clip!r}, expected a positive number, or None for no clipping")
    if not callable(objective):
        raise InputError(f"objective is {objective!r}, expected an AbstractObjective")
    if not isinstance(source, AbstractSource | AbstractFeed):
        raise InputError(
            f"source is {type(source).__name__}, expected an AbstractSource or AbstractFeed: "
            "data in memory are Arrays(data)"
        )
    if ema is None:
        return
    if not isinstance(ema, EMA):
        raise InputError(f"ema is {ema!r}, expected EMA(.99) or None")
    memory = 1 / (1 - float(ema.decay))
    if memory > steps / 10 and steps > 1 and not ema.ramp:
        warnings.warn(
            f"EMA({float(ema.decay):g}) remembers {memory:.0f} of {steps} steps: the average would "
            "sample the initial weights; use EMA(..., ramp=True)"
            + (f" or EMA({1 - 10 / steps:.3g})" if steps > 10 else ""),
            stacklevel=3,
        )


def check_simulate(kernel, times, steps, resample, burn_in, populations, batch_size):
    """Refuse what `simulate` cannot mean; return the time grid, None for chains."""
    if not isinstance(kernel, AbstractKernel):
        raise InputError(f"kernel is {type(kernel).__name__}, expected an AbstractKernel")
    if (times is None) == (steps is None):
        raise InputError(
            "give exactly one of times (a process along a path: times=uniform_times(200)) and "
            "steps (a chain: steps=1000)"
        )
    check_positive(populations=populations, batch_size=1 if batch_size is None else batch_size)
    check_positive(0, burn_in=burn_in)
    if times is not None:
        if kernel.stationary:
            raise InputError(
                f"{type(kernel).__name__} leaves its law invariant and carries no weight along a "
                "path: write compose(Transport(path), HMC(path, step_size)), or steps=1000"
            )
        if burn_in:
            raise InputError("burn_in belongs to steps=, a march along times has none")
        try:
            return check_times(times)
        except TypeError as error:
            raise InputError(
                f"times is {type(times).__name__}, expected numbers in [0, 1]: uniform_times(200)"
            ) from error
    check_positive(steps=steps)
    if resample is not None:
        raise InputError("resample belongs to times=: a chain has no weights")
    return None


def check_positive(smallest: int = 1, **values: Any) -> None:
    """Refuse values that are not integers of at least `smallest`."""
    for name, value in values.items():
        try:
            number = smallest - 1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            number = smallest - 1
        if number < smallest:
            raise InputError(f"{name} = {value!r}, expected an integer of at least {smallest}")


def split_model(
    model: PyTree, leaves: PyTree | Callable[[Any], bool] | None
) -> tuple[PyTree, PyTree]:
    """Return the trained and the other leaves of a model."""
    mask = trainable(model)
    if leaves is not None:
        wanted = jax.tree.map(leaves, model) if callable(leaves) else leaves
        mask = jax.tree.map(lambda a, b: bool(a) and bool(b), mask, wanted)
    params, static = eqx.partition(model, mask)
    if not jax.tree.leaves(params):
        raise InputError(
            "the model has no trainable leaf: inexact arrays outside Frozen are trained"
        )
    return params, static


def check_loss(out: Any) -> tuple[Any, Any]:
    """Return (loss, info) of one sample, or refuse what the objective returned."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise InputError(
            f"the objective returned {type(out).__name__}, expected (loss, info): where there is "
            "nothing to record, return loss, NoInfo()"
        )
    shape = np.shape(out[0])
    if shape != ():
        raise InputError(
            f"the objective returned a loss of shape {shape} for ONE sample, expected a scalar (): "
            "objectives see one sample and fit averages; write jnp.mean(loss) over its components"
        )
    return out


def check_same_types(before: PyTree, after: PyTree, what: str, why: str) -> None:
    """Refuse a state whose structure, shapes or dtypes differ after a step."""
    old, new = dict(named_leaves(before)), dict(named_leaves(after))
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise InputError(
            f"{what} changed structure: {sorted(old)} became {sorted(new)} "
            f"({jax.tree.structure(before)} -> {jax.tree.structure(after)}); {why}"
        )
    for name, leaf in old.items():
        a, b = (leaf.shape, leaf.dtype), (new[name].shape, new[name].dtype)
        if a != b:
            raise InputError(
                f"{what}{name} changed from {a[1]}{list(a[0])} to {b[1]}{list(b[0])}: {why}"
            )


def check_context(context: PyTree, shape: tuple[int, ...]) -> None:
    """Refuse a context that has not one entry a particle."""
    for name, leaf in named_leaves(context):
        if np.shape(leaf)[: len(shape)] != shape:
            raise InputError(
                f"context{name} has shape {np.shape(leaf)}, expected the axes of the particles "
                f"{shape} first: repeat what all share, jnp.broadcast_to(label, {shape} + shape)"
            )


def check_disk(kept: PyTree, draws: int, folder: Path) -> None:
    """Refuse to begin what would not fit on the disk."""
    row = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))
    free = shutil.disk_usage(folder).free
    if row * draws > free:
        raise DiskFull(
            f"keep would write {draws} draws of {row} bytes, {row * draws / 1e9:.3g} GB, and "
            f"{folder} has {free / 1e9:.3g} GB free: keep fewer, Keep(every=..., particles=...)"
        )


def check_energies(energy: Any, shape: tuple[int, ...]) -> None:
    """Refuse particles that start where the energy is not finite."""
    if energy is None:
        return
    total = np.asarray(energy).reshape(*shape, -1).sum(-1)
    bad = ~np.isfinite(total)
    if bad.any():
        raise InputError(
            f"the energy is not finite at {bad.sum()} of {bad.size} starting points, the first "
            f"is particle {np.argwhere(bad)[0].tolist()} with U = {total[bad][0]}: start "
            "where the density is positive"
        )
