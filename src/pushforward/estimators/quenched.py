r"""Averages over quenched disorder, with the two parts of their error separated.

Sample s has its own thermal mean ⟨O⟩_s, measured with an error; the answer is
[O] = mean_s f(⟨O⟩_s). The scatter of the f_s holds both the disorder and the thermal noise of each,
so a bootstrap over samples ALONE is the total error,

error² = (s_d² + s_th²)/S.

A block bootstrap within each sample gives the thermal part of it, and the rest is disorder.
Resampling both levels at once counts the thermal noise twice, √((s_d² + 2 s_th²)/S): 22 % too much
at s_d = s_th.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._errors import ChainTooShort, InputError, NonFinite
from .._estimate import Estimate
from .._typing import PRNGKey
from .autocorrelation import warn_of_orientation
from .jackknife import default_block, generator

FEWEST_SAMPLES, ENOUGH_SAMPLES, FEWEST_BLOCKS = 4, 8, 8


class QuenchedEstimate(NamedTuple):
    """A disorder average.

    Attributes
    ----------
    mean, error
        [O] and its total standard error.
    thermal, disorder
        The two parts: error² = thermal² + disorder² (disorder clipped at 0).
    bias
        What thermal noise adds to the mean of a non-linear f; subtract it if you wish.
    per_sample, per_sample_error
        f_s and their thermal errors, (S,).
    largest_share
        max_s |f_s| / Σ |f_s|: near 1, one rare sample is the average.
    """

    mean: float
    error: float
    thermal: float
    disorder: float
    bias: float
    per_sample: np.ndarray
    per_sample_error: np.ndarray
    largest_share: float

    @property
    def estimate(self) -> Estimate:
        """The average and its total error alone."""
        return Estimate(self.mean, self.error)

    def __str__(self) -> str:
        parts = f"thermal {self.thermal:.2g}, disorder {self.disorder:.2g}"
        return f"{self.estimate} ({parts})"


def quenched(
    values: Any,
    function: Callable[[np.ndarray], Any] = lambda mean: mean,
    *,
    block: int | None = None,
    copies: int = 500,
    key: PRNGKey,
) -> QuenchedEstimate:
    """Return the disorder average of a function of thermal means.

    Needs 4 samples (8 for a good error bar), each of 8 blocks and of chains longer than 10 τ_int.

    Parameters
    ----------
    values
        (draws, samples, chains) or (draws, samples, chains, ...) after burn-in: a record of a
        stacked simulation as it is.
    function
        Of one sample's thermal mean (its trailing axes), to a real number; default the mean itself.
    block
        Length of a block within a chain. Default and good value: 4 τ_int of the slowest sample; the
        thermal errors come out low by a part τ/(2 block), the total error does not.
    copies
        Of both bootstraps; an error is good to 1/√(2 copies).
    key
        JAX key; seeds a NumPy generator.
    """
    data = _checked(values)
    num, chains, draws = data.shape[:3]
    block = default_block(data, "sample") if block is None else int(block)
    if not 1 <= block <= draws or chains * draws < FEWEST_BLOCKS * block:
        raise ChainTooShort(
            f"{chains} chains of {draws} draws hold {chains * draws / max(block, 1):.3g} blocks "
            f"of {block}, expected at least {FEWEST_BLOCKS}: run longer"
        )
    random = generator(key)

    each = np.array([_number(function, sample.mean((0, 1))) for sample in data])
    picked = random.integers(num, size=(copies, num))
    # A bootstrap of S values sees the variance (S − 1)/S: undone.
    error = each[picked].mean(1).std() * np.sqrt(num / (num - 1))

    inner = [_copies(function, sample, block, copies, random) for sample in data]
    spread, centre = np.array([a.std() for a in inner]), np.array([a.mean() for a in inner])
    thermal = np.sqrt(np.sum(spread**2)) / num
    disorder = np.sqrt(max(error**2 - thermal**2, 0.0))
    share = np.abs(each).max() / max(np.abs(each).sum(), np.finfo(float).tiny)
    return QuenchedEstimate(
        mean=float(each.mean()),
        error=float(error),
        thermal=float(thermal),
        disorder=float(disorder),
        bias=float((centre - each).mean()),
        per_sample=each,
        per_sample_error=spread,
        largest_share=float(share),
    )


def _copies(
    function: Callable, sample: np.ndarray, block: int, copies: int, random: np.random.Generator
) -> np.ndarray:
    """Return f of `copies` block-resampled means of one sample, (chains, draws, ...)."""
    chains, draws = sample.shape[:2]
    wrapped = np.concatenate([sample, sample[:, : block - 1]], axis=1)
    sums = np.cumsum(np.concatenate([np.zeros_like(sample[:, :1]), wrapped], axis=1), axis=1)
    means = ((sums[:, block:] - sums[:, :-block]) / block).reshape(chains * draws, -1)
    picked = random.integers(len(means), size=(copies, round(chains * draws / block)))
    resampled = means[picked].mean(1).reshape(copies, *sample.shape[2:])
    return np.array([_number(function, mean) for mean in resampled])


def _checked(values: Any) -> np.ndarray:
    """Return the values as (samples, chains, draws, ...)."""
    data = np.asarray(values)
    if data.ndim < 3 or data.size == 0 or data.dtype.kind not in "fiub":
        raise InputError(
            f"values has shape {data.shape} and dtype {data.dtype}, expected real numbers "
            "(draws, samples, chains, ...), as record[name] of a stacked simulation holds them"
        )
    data = np.moveaxis(data, 0, 2)
    if len(data) < FEWEST_SAMPLES:
        raise InputError(
            f"{len(data)} samples of disorder, expected at least {FEWEST_SAMPLES} for an error bar"
        )
    if len(data) < ENOUGH_SAMPLES:
        warnings.warn(
            f"{len(data)} samples of disorder, fewer than {ENOUGH_SAMPLES}: the error bar is rough",
            stacklevel=3,
        )
    if not np.isfinite(data).all():
        place = [int(i) for i in np.argwhere(~np.isfinite(data))[0]]
        raise NonFinite(f"values is not finite at {place} (sample, chain, draw, ...)")
    warn_of_orientation(data[0], "values")
    return data.astype(np.float64)


def _number(function: Callable, mean: np.ndarray) -> float:
    value = np.asarray(function(mean))
    if value.shape != () or not np.isfinite(value):
        raise NonFinite(f"the function of a sample's mean returned {value}, expected one number")
    return float(value)
