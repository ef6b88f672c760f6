r"""Whether chains have mixed, and how many independent draws they hold.

Thin functions over `arviz_stats` for series of shape (chains, draws):

- `rhat`: between-chain over within-chain spread of the ranks of half chains, the larger of its
  plain and folded parts; `rhat_split` is the older one, of the values themselves.
- `ess_bulk`, `ess_tail`, `ess_mean`: effective numbers of draws for the centre, the 5 % and 95 %
  quantiles, the mean. `mcse`: the standard error of the mean.

Vehtari, Gelman, Simpson, Carpenter and Bürkner, *Rank-normalization, folding, and localization: an
improved R-hat*, Bayesian Analysis 16 (2021) 667, R-hat in equations (1)–(4).

The error bar of a chain is `gamma_method`'s; these numbers are printed beside it, never instead.
The `..._warnings` functions turn numbers into sentences: empty when there is nothing to say.
"""

import warnings
from typing import Any

import numpy as np

from .._errors import ChainTooShort, FrozenObservable, InputError
from .autocorrelation import check_series, gamma_method
from .weights import FEWEST, elbo, ess, largest_weight, log_z

RHAT = 1.01
ESS_BULK = 400
ACCEPTANCE = (0.2, 0.99)
DIVERGENCE = 1000.0  # of |ΔH|


def rhat(series: Any) -> float:
    """Return rank-normalised split R-hat, the larger of bulk and folded; at least two chains."""
    return float(_statistics().rhat(_chains(series, fewest=2), method="rank"))


def rhat_split(series: Any) -> float:
    """Return split R-hat of the values; blind to chains that differ only in scale."""
    return float(_statistics().rhat(_chains(series, fewest=2), method="split"))


def ess_bulk(series: Any) -> float:
    """Return the effective number of draws for the centre of the distribution."""
    return float(_statistics().ess(_chains(series), method="bulk"))


def ess_tail(series: Any) -> float:
    """Return the smaller effective number of draws of the 5 % and 95 % quantiles."""
    return float(_statistics().ess(_chains(series), method="tail", prob=(0.05, 0.95)))


def ess_mean(series: Any) -> float:
    """Return the effective number of draws for the mean."""
    return float(_statistics().ess(_chains(series), method="mean"))


def mcse(series: Any) -> float:
    """Return the Monte Carlo standard error of the mean, sd / sqrt(ess_mean)."""
    return float(_statistics().mcse(_chains(series), method="mean"))


def chain_warnings(series: Any, name: str = "series") -> list[str]:
    """Return sentences about a series (chains, draws): τ, R-hat > 1.01, bulk ESS < 400.

    A frozen or too short series is one of the sentences here, not an exception.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            gamma_method(series, name=name)
        found = [str(w.message) for w in caught]
        chains = _chains(series)
    except (ChainTooShort, FrozenObservable) as error:
        return [str(error)]
    if len(chains) > 1 and (value := rhat(chains)) > RHAT:
        found.append(
            f"{name}: R-hat = {value:.4g} > {RHAT} over {len(chains)} chains: they do not agree; "
            "run longer or start them closer to equilibrium"
        )
    if (value := ess_bulk(chains)) < ESS_BULK:
        found.append(f"{name}: {value:.3g} effective draws < {ESS_BULK}: run longer")
    return found


def weight_warnings(log_weights: Any) -> list[str]:
    """Return sentences about one population of log weights: fewer than 10 walkers count."""
    log_weights = np.asarray(log_weights)
    n, effective = log_weights.size, log_weights.size * float(ess(log_weights))
    if effective >= FEWEST:
        return []
    what = (
        "one walker carries the weight"
        if effective < 2
        else f"{effective:.3g} walkers of {n} carry the weight"
    )
    return [
        f"{what}: ESS = {effective / n:.3g} of n = {n}, largest weight "
        f"{float(largest_weight(log_weights)):.3g}, log Z = {float(log_z(log_weights)):.6g}, "
        f"ELBO = {float(elbo(log_weights)):.6g}; expected {FEWEST:g} or more. Try more steps, a "
        "wider base, more training, or resampling"
    ]


def hmc_warnings(acceptance: Any, delta_h: Any = ()) -> list[str]:
    """Return sentences about HMC: acceptance outside [.2, .99], |ΔH| > 1000 or not finite.

    Parameters
    ----------
    acceptance
        Acceptance probabilities of the trajectories, or their mean.
    delta_h
        Energy errors ΔH of ALL trajectories, before any thinning.
    """
    found = []
    low, high = ACCEPTANCE
    rate, errors = float(np.mean(acceptance)), np.asarray(delta_h, float)
    if not rate >= low:
        found.append(f"acceptance {rate:.3g} < {low}: halve the step size")
    elif rate > high:
        found.append(f"acceptance {rate:.3g} > {high}: the step size can be doubled")
    divergent = ~(np.abs(errors) <= DIVERGENCE)
    if divergent.any():
        found.append(
            f"{int(divergent.sum())} of {errors.size} trajectories diverged (|ΔH| > "
            f"{DIVERGENCE:g}): the step is too long somewhere; halve it or reparametrise"
        )
    return found


def _statistics() -> Any:
    from arviz_stats.base.array import array_stats  # slow to import, and needed only between chunks

    return array_stats


def _chains(series: Any, fewest: int = 1) -> np.ndarray:
    chains = check_series(series, "series")
    if len(chains) < fewest:
        raise InputError(
            f"series has {len(chains)} chain of {chains.shape[1]} draws, expected (chains, draws) "
            f"with {fewest} chains or more: R-hat compares chains"
        )
    if chains.shape[1] < 4:
        raise ChainTooShort(f"series has {chains.shape[1]} draws a chain, expected at least 4")
    if (chains == chains[0, 0]).all():
        raise FrozenObservable(
            f"series is {chains[0, 0]} in all {chains.size} draws: a constant looks perfectly "
            "mixed and says nothing"
        )
    return chains
