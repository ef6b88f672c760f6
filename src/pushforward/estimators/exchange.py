r"""Reading works: free energies from one side or both, and the swap rate a ladder should have.

A work W_f of a move from e^{−S_a} to e^{−S_b} obeys E_a e^{−W_f} = Z_b/Z_a (Jarzynski); works of
the move and of its reversal cross at ΔF = −log Z_b/Z_a (Crooks), and Bennett's ratio uses both. If
the log-weight is Gaussian of variance s², then E D = s² for the work D = W_f + W_b of a swap, and
its mean acceptance is erfc(s/2).
"""

import math
import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.optimize import root_scalar
from scipy.special import erfc, erfcinv, expit

from .._errors import InputError, NumericalError
from .._estimate import Estimate
from .weights import log_z, log_z_error

LARGEST_SHARE = 0.01  # of swaps whose work is no number
FEWEST_SWAPS = 1e-4


def jarzynski(work) -> Estimate:
    r"""Return ΔF = −log mean e^{−W} from independent forward works.

    Unbiased in e^{−ΔF}; the error is that of the delta method, right while W spreads by 1 or 2.
    With backward works it is the ΔF of the way back, −ΔF.

    Parameters
    ----------
    work
        W, shape (n,); +inf is a walker of weight zero.

    References
    ----------
    Jarzynski 1997.
    """
    log_weights = jnp.asarray(-_works(work, "work"))
    return Estimate(-float(log_z(log_weights)), float(log_z_error(log_weights)))


def bar(forward, backward) -> Estimate:
    r"""Return ΔF from independent works of both directions (Bennett's acceptance ratio).

    Solves Σ_f 1/(1 + e^{M + W_f − ΔF}) = Σ_b 1/(1 + e^{−M + W_b + ΔF}), M = log(n_f/n_b): the
    choice of least variance, which is (⟨f²⟩/⟨f⟩² − 1)/n of either side, added.

    Parameters
    ----------
    forward, backward
        W_f from e^{−S_a}, shape (n_f,), and W_b from e^{−S_b}, shape (n_b,).

    References
    ----------
    Bennett 1976, equations 10 to 12.
    """
    up, down = _works(forward, "forward"), _works(backward, "backward")
    ratio = math.log(up.size / down.size)

    def counts(free_energy):
        return expit(free_energy - ratio - up), expit(ratio - free_energy - down)

    def excess(free_energy):
        above, below = counts(free_energy)
        return above.sum() - below.sum()

    finite = np.concatenate([up[np.isfinite(up)], -down[np.isfinite(down)]])
    if finite.size == 0:
        raise NumericalError("no work is finite: the two laws do not overlap through this bridge")
    low, high = finite.min() - abs(ratio) - 1, finite.max() + abs(ratio) + 1
    while excess(low) > 0:
        low -= high - low
    while excess(high) < 0:
        high += high - low
    value = float(root_scalar(excess, bracket=(low, high), xtol=1e-13).root)
    parts = [np.mean(f**2) / np.mean(f) ** 2 / f.size - 1 / f.size for f in counts(value)]
    return Estimate(value, math.sqrt(sum(parts)))


class SwapRates(NamedTuple):
    """The swaps of a run, one number a pair.

    Attributes
    ----------
    rate
        Mean acceptance.
    work
        Mean D = W_f + W_b: 2 (dissipated work), s² if it is Gaussian.
    predicted
        erfc(s/2), s² = mean D.
    """

    rate: np.ndarray
    work: np.ndarray
    predicted: np.ndarray


def acceptance_prediction(work):
    """Return erfc(√D/2), the mean acceptance of a swap of mean work D if D is Gaussian.

    Then Var D = 2D; the same formula is HMC's with D = ⟨ΔH⟩ (Creutz).
    """
    return erfc(np.sqrt(np.maximum(work, 0)) / 2)


def swap_rates(acceptance, work, not_converged=None, chains: int = 1) -> SwapRates:
    """Read the columns `info.swaps.*` of a record of `ReplicaExchange`.

    Refuses a pair of whose works more than 1 % are no finite numbers. Warns of a pair whose
    predicted acceptance is below 1e-4, with the replicas that would be needed.

    Parameters
    ----------
    acceptance, work
        Means over chains, shape (steps, pairs).
    not_converged
        Sums over `chains` chains of the swaps whose work was no finite number.
    chains
        Number of chains.
    """
    rate, mean = np.mean(np.asarray(acceptance), 0), np.mean(np.asarray(work), 0)
    if not_converged is not None:
        counts = np.asarray(not_converged)
        share = counts.sum(0) / (counts.shape[0] * chains)
        if (share > LARGEST_SHARE).any():
            pair = int(np.argmax(share))
            raise NumericalError(
                f"{100 * share[pair]:.3g} % of the works of pair {pair} are no finite numbers, at "
                "most 1 % are tolerated: the inverse of its flow does not converge; use a smaller "
                "bound or float64"
            )
    predicted = acceptance_prediction(mean)
    for pair in np.flatnonzero(predicted < FEWEST_SWAPS):
        needed = math.ceil(math.sqrt(mean[pair]) / (2 * float(erfcinv(0.2))))
        warnings.warn(
            f"pair {pair} hardly swaps: mean work {mean[pair]:.3g}, predicted acceptance "
            f"{predicted[pair]:.1e}; put {needed - 1} replicas between for a rate of .2",
            stacklevel=2,
        )
    return SwapRates(rate, mean, predicted)


def _works(work, name: str) -> np.ndarray:
    works = np.asarray(work, dtype=float)
    if works.ndim != 1 or works.size < 2:
        raise InputError(f"{name} has shape {works.shape}, expected (n,) with n >= 2 works")
    if np.isnan(works).any() or (works == -np.inf).any():
        raise InputError(f"{name} holds NaN or -inf: a bridge that did not converge is no work")
    return works
