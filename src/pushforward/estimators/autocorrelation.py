r"""The error of a chain's mean, from its autocorrelation (the Gamma method).

Successive draws of a chain repeat each other, so n of them count as n / (2 τ) independent ones.
With d_i = a_i − ā (the mean over ALL chains) and Γ(t) = mean of d_i d_{i+t},

    τ(W) = ½ + Σ_{t=1}^{W} Γ(t)/Γ(0),      error² = 2 τ(W) Γ(0)/n · (1 + (2W+1)/n).

The sum must stop, for its noise grows with W while its truncation falls as e^{−W/τ}: the window is
the first W at which their sum stops falling, e^{−W/τ_S} − τ_S/√(W n) < 0 with
τ_S = S / ln((2τ(W)+1)/(2τ(W)−1)). The error of τ is τ √(4 (W + ½ − τ)/n).

U. Wolff, *Monte Carlo errors with less errors*, Comput. Phys. Commun. 156 (2004) 143,
hep-lat/0306017: equations (31), (41), (42), (49)–(52). Its default S = 1.5; ours is 2.

Series are (draws,) or (draws, chains), as `simulate` records them: the leading axis is time.

Two readings are refused. A series that never changes has no error bar (a charge frozen at 0 would
get ± 0). And τ is only known where the chain is much longer than it: fewer than 10 τ draws a chain
raise, fewer than 50 τ warn. In a short chain τ also comes out low (measured on AR(1): one of 5 τ
looks longer than 10 τ every other time), so what raises is τ taken one standard error up.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.fft import next_fast_len

from .._errors import ChainTooShort, FrozenObservable, InputError, NonFinite
from .._estimate import Estimate

REFUSED = 10  # autocorrelation times a chain must last at least
ENOUGH = 50  # and should last


class ChainMean(NamedTuple):
    """A mean with its error bar and what it rests on.

    Attributes
    ----------
    mean, error
        The value and one standard error.
    tau_int, tau_int_error
        Integrated autocorrelation time in draws (½ for independent ones) and its error.
    window
        Lag W at which the sum was stopped.
    n
        Number of draws in all chains.
    """

    mean: float
    error: float
    tau_int: float
    tau_int_error: float
    window: int
    n: int

    @property
    def effective(self) -> float:
        """Number of independent draws with the same error, n / (2 τ)."""
        return self.n / (2 * self.tau_int)

    @property
    def estimate(self) -> Estimate:
        """The mean and its error alone."""
        return Estimate(self.mean, self.error)

    def __str__(self) -> str:
        return f"{self.estimate}, tau {Estimate(self.tau_int, self.tau_int_error)}"


class Events(NamedTuple):
    """How often an integer charge changed."""

    changes: int
    trajectories: int
    frozen_chains: int
    chains: int

    def __str__(self) -> str:
        return (
            f"{self.changes} events in {self.trajectories} trajectories "
            f"({self.frozen_chains} of {self.chains} chains never moved)"
        )


def gamma_method(series: Any, *, S: float = 2.0, name: str = "series") -> ChainMean:
    """Return the mean of a series with its error and autocorrelation time.

    Raises `ChainTooShort` below 10 (τ + its error) draws a chain, `FrozenObservable` where no chain
    ever changed, `NonFinite` with its place. Warns below 50 τ draws, where some chains never
    changed, and of fewer draws than chains.

    Parameters
    ----------
    series
        Real, (draws,) or (draws, chains), after burn-in.
    S
        Assumed ratio of the exponential to the integrated autocorrelation time. Good values: 2,
        or 1.5 (Wolff's); 3 to 5 when a slow mode couples weakly.
    name
        What the series is called in messages.
    """
    return read_chains(as_chains(series, name), S, name)


def derived(f: Callable[..., Any], *series: Any, S: float = 2.0, name: str = "f") -> ChainMean:
    r"""Return f(means) with the error of the whole, correlations between the series included.

    The deviations are projected on the gradient, d_i = Σ_α ∂f/∂a_α (a_{α,i} − ā_α), by automatic
    differentiation, and the projected series is read as any other (Wolff 2004). First order in the
    errors.

    Parameters
    ----------
    f
        Scalar function of as many real scalars as there are series, differentiable by JAX: a
        Binder cumulant is `derived(lambda m4, m2: 1 - m4 / (3 * m2**2), m**4, m**2)`.
    series
        Series of equal shapes, (draws,) or (draws, chains), measured on the same draws.
    S, name
        As in `gamma_method`.
    """
    chains = [as_chains(a, f"{name}, series {k}") for k, a in enumerate(series)]
    if len({a.shape for a in chains}) != 1:
        raise InputError(
            f"the series have shapes {[np.shape(a) for a in series]}, expected equal ones, "
            "measured on the same draws"
        )
    means = [float(a.mean()) for a in chains]
    value, gradient = jax.value_and_grad(f, argnums=tuple(range(len(means))))(*means)
    if not np.all(np.isfinite([value, *gradient])):
        raise NonFinite(
            f"{name} at the means {means} is {value} with gradient {[float(g) for g in gradient]}"
        )
    parts = [float(g) * (a - m) for g, a, m in zip(gradient, chains, means, strict=True)]
    projected = sum(parts[1:], start=parts[0])
    return read_chains(projected, S, name)._replace(mean=float(value))


def autocovariance(series: Any) -> np.ndarray:
    """Return Γ(t), t = 0..draws−1, averaged over chains: n − t products each, by FFT."""
    return _autocovariance(as_chains(series, "series"))


def count_events(charge: Any) -> Events:
    """Count the changes of a charge, rounded to the nearest integer, from draw to draw."""
    chains = as_chains(charge, "charge")
    moved = np.diff(np.rint(chains), axis=1) != 0
    return Events(int(moved.sum()), chains.size, int((~moved.any(1)).sum()), len(chains))


def as_chains(series: Any, name: str) -> np.ndarray:
    """Return (draws,) or (draws, chains) as float64 (chains, draws): one chain a row.

    Raises for complex, ragged, non-finite and empty series; warns of fewer draws than chains.
    """
    array = np.asarray(series)
    if array.dtype.kind == "c":
        raise InputError(f"{name} is complex: pass its real and imaginary parts one by one")
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or array.size == 0:
        raise InputError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected real numbers "
            "(draws,) or (draws, chains), as `record` holds them; of a stack (draws, members, "
            "chains) take one member, record[name][:, 0]"
        )
    chains = (array[:, None] if array.ndim == 1 else array).T.astype(np.float64)
    bad = ~np.isfinite(chains)
    if bad.any():
        chain, draw = np.argwhere(bad)[0]
        raise NonFinite(
            f"{name} is {chains[chain, draw]} at draw {draw}, chain {chain} ({bad.sum()} of "
            f"{bad.size} are not finite)"
        )
    warn_of_orientation(chains, name)
    return chains


def warn_of_orientation(chains: np.ndarray, name: str) -> None:
    """Warn where (chains, draws, ...) has fewer draws than chains: it may be transposed."""
    num, draws = chains.shape[:2]
    if draws < num:
        warnings.warn(
            f"{name} has {draws} draws of {num} chains, fewer draws than chains: its leading axis "
            "must be the draws, as in `record`. If it is the chains, write series.T",
            stacklevel=4,
        )


def read_chains(chains: np.ndarray, S: float, name: str) -> ChainMean:
    """Return what `gamma_method` does, of (chains, draws)."""
    if not (np.isfinite(S) and S > 0):
        raise InputError(f"S is {S}, expected a positive number such as 2.0")
    if sentence := frozen(chains, name):
        if (chains == chains[:, :1]).all():
            raise FrozenObservable(sentence)
        warnings.warn(sentence, stacklevel=3)
    draws = chains.shape[1]
    if draws < REFUSED:
        raise ChainTooShort(f"{name} has {draws} draws a chain, expected {REFUSED} or more")
    found = mean_of_chains(chains, S)
    refused, sentence = too_short(found, draws, name)
    if refused:
        raise ChainTooShort(sentence)
    if sentence:
        warnings.warn(sentence, stacklevel=3)
    return found


def frozen(chains: np.ndarray, name: str) -> str:
    """Return a sentence if all or some of the chains (chains, draws) never changed, else ""."""
    num, draws = chains.shape
    still = int((chains == chains[:, :1]).all(1).sum())
    if still == num:
        return (
            f"{name} never changed within a chain: 0 events in {chains.size} trajectories "
            f"of {num} chains. Its error bar would be a false zero: do not trust this "
            "mean. Run longer, or use a kernel that moves it (replica exchange, a learned move)"
        )
    if still:
        return (
            f"{name}: {still} of {num} chains never changed in {draws} draws: they may be stuck, "
            "and their error bar with them"
        )
    return ""


def too_short(found: ChainMean, draws: int, name: str) -> tuple[bool, str]:
    """Return whether chains are shorter than 10 τ, and a sentence if they are shorter than 50."""
    # The bias of Γ makes a short chain look less correlated than it is: corrected as in (49).
    tau = found.tau_int * (1 + (2 * found.window + 1) / found.n)
    length = (
        f"{name}: chains of {draws} draws with tau_int = {tau:.3g} ± {found.tau_int_error:.2g} "
        f"last {draws / tau:.3g} autocorrelation times"
    )
    if draws < REFUSED * (tau + found.tau_int_error):
        return True, (
            f"{length}, expected at least {REFUSED} for any error bar (and {ENOUGH} for a good "
            f"one): run at least {int(np.ceil(ENOUGH * tau))} draws a chain"
        )
    if draws < ENOUGH * tau:
        return False, f"{length}, fewer than {ENOUGH}: tau_int and the error bar may be too small"
    return False, ""


def mean_of_chains(chains: np.ndarray, S: float = 2.0) -> ChainMean:
    """Return the mean of (chains, draws) with its error and τ, whatever they are worth."""
    n, draws = chains.size, chains.shape[1]
    gamma = _autocovariance(chains)
    tau = 0.5 + np.cumsum(np.r_[0.0, gamma[1:] / gamma[0]])

    # Anticorrelated draws could claim τ < ½, even τ < 0: never better than independent ones.
    tau = np.maximum(tau, 0.5)
    lags = np.arange(1, draws // 2)
    slow = S / np.log1p(2 / np.maximum(2 * tau[lags] - 1, 1e-12))
    falling = np.exp(-lags / slow) - slow / np.sqrt(lags * n) >= 0
    window = int(lags[-1] if falling.all() else lags[np.argmin(falling)])

    value = float(tau[window])
    error = np.sqrt(2 * value * gamma[0] / n * (1 + (2 * window + 1) / n))
    tau_error = value * np.sqrt(4 * (window + 0.5 - value) / n)
    return ChainMean(float(chains.mean()), float(error), value, float(tau_error), window, n)


def _autocovariance(chains: np.ndarray) -> np.ndarray:
    draws = chains.shape[1]
    deviation = chains - chains.mean()
    size = next_fast_len(2 * draws, real=True)
    spectrum = np.abs(np.fft.rfft(deviation, size, axis=1)) ** 2
    products = np.fft.irfft(spectrum.sum(0), size)[:draws]
    return products / (len(chains) * (draws - np.arange(draws)))
