r"""Whether chains have mixed, and how many independent draws they hold.

Thin functions over `arviz_stats` for series of shape (draws, chains):

- `rhat`: between-chain over within-chain spread of the ranks of half chains, the larger of its
  plain and folded parts; `rhat_split` is the older one, of the values themselves.
- `ess_bulk`, `ess_tail`, `ess_mean`: effective numbers of draws for the centre, the 5 % and 95 %
  quantiles, the mean. `mcse`: the standard error of the mean.

Vehtari, Gelman, Simpson, Carpenter and Bürkner, *Rank-normalization, folding, and localization: an
improved R-hat*, Bayesian Analysis 16 (2021) 667, R-hat in equations (1)–(4).

The error bar of a chain is `gamma_method`'s; these numbers are printed beside it, never instead.
`chain_findings` turns numbers into sentences.
"""

from typing import Any

import numpy as np

from .._errors import ChainTooShort, FrozenObservable, InputError
from .autocorrelation import as_chains


def rhat(series: Any) -> float:
    """Return rank-normalised split R-hat, the larger of bulk and folded; at least two chains."""
    return float(_statistics().rhat(_chains(series, fewest=2), method="rank"))


def rhat_split(series: Any) -> float:
    """Return split R-hat of the values; it does not see chains that differ only in scale."""
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


def _statistics() -> Any:
    from arviz_stats.base.array import array_stats  # slow to import, and needed only between chunks

    return array_stats


def _chains(series: Any, fewest: int = 1) -> np.ndarray:
    """Return the series as ArviZ wants it, (chains, draws)."""
    chains = as_chains(series, "series")
    if len(chains) < fewest:
        raise InputError(
            f"series has {len(chains)} chain of {chains.shape[1]} draws, expected (draws, chains) "
            f"with {fewest} chains or more: R-hat compares chains"
        )
    if chains.shape[1] < 4:
        raise ChainTooShort(f"series has {chains.shape[1]} draws a chain, expected at least 4")
    if (chains == chains[0, 0]).all():
        raise FrozenObservable(
            f"series is {chains[0, 0]} in all {chains.size} draws: a constant looks perfectly "
            "mixed whatever the chains did"
        )
    return chains
