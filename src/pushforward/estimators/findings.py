r"""What a run found out about itself, as sentences: frozen, too short, diverged, collapsed.

Pure functions on host arrays. They never raise, and look at no more than about a million numbers a
column (fewer chains, then every k-th draw), so they may follow every simulation. A finding is
**red** where numbers must not be trusted and **amber** where they may be worse than they look:

| what | amber | red |
|---|---|---|
| chains that never changed | some | all |
| length of a chain in autocorrelation times | < 50 | < 10 |
| split R-hat | | > 1.05 |
| acceptance of HMC | < .2, > .99 | < .01 |
| acceptance of other moves | | < .01 |
| acceptance of swaps between replicas | < .01 | |
| steps in which a trajectory diverged (|ΔH| > 1000) | any | |
| walkers that count, n·ESS | | < 10 |
| Pareto k of the largest weights | > .7 | |

The Pareto k is the shape of the tail of the weights: above .7 their mean converges too slowly for
any error bar (Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto smoothed importance sampling*,
J. Mach. Learn. Res. 25 (2024), section 3); the fit is that of Zhang and Stephens 2009.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import softmax

from .autocorrelation import REFUSED, frozen, mean_of_chains, too_short
from .weights import collapse

NUMBERS = 2**20  # looked at in one column
FEWEST_NUMBERS = 2**13  # in one series, however many a column has
COMPONENTS = 64
TAIL = 5  # weights a Pareto fit needs
RHAT, PARETO_K = 1.05, 0.7
LOWEST, LOW, HIGH = 0.01, 0.2, 0.99  # acceptance

Severity = Literal["amber", "red"]


class Finding(NamedTuple):
    """What must be known before a number of the run is used.

    Attributes
    ----------
    severity
        "red": do not trust it; "amber": it may be worse than it looks.
    subject
        The column, or "log_weight".
    text
        One sentence with the number and what to do.
    """

    severity: Severity
    subject: str
    text: str

    def __str__(self) -> str:
        return self.text


def chain_findings(
    record: Mapping[str, Any], names: Sequence[str] = (), *, stacked: bool = False
) -> list[Finding]:
    """Return what the record of chains says of them: nothing where all is well.

    Parameters
    ----------
    record
        Columns as `simulate(..., steps=)` records them: observables (steps, chains, ...), those of
        a stack (steps, members, chains, ...), and `info.*` of the kernel. A record along times
        has no chains, and no findings.
    names
        What the members of a stack are called, else the components (rungs) of the observables.
    stacked
        Whether the second axis is the members.
    """
    if "t" in record:
        return []
    found = []
    with np.errstate(all="ignore"):
        for column, value in record.items():
            array = np.asarray(value)
            if array.dtype.kind not in "fiub" or array.ndim == 0 or array.size == 0:
                continue
            if column.startswith("info"):
                found += _kernel_findings(record, column, array, names, stacked)
            elif array.ndim > 1 + stacked:
                found += _observable_findings(column, array, names, stacked)
    return found


def weight_findings(log_weight: Any, names: Sequence[str] = ()) -> list[Finding]:
    """Return what the log-weights (walkers,) or (members, walkers) say of a weighted run."""
    rows, found = np.atleast_2d(np.asarray(log_weight, float)), []
    if rows.size == 0:
        return []
    labels = [f" of {name}" for name in _labels(names, len(rows))] if len(rows) > 1 else [""]
    for row, label in zip(rows, labels, strict=True):
        if sentence := collapse(row, label):
            found.append(Finding("red", "log_weight", sentence))
        elif (k := pareto_k(row)) > PARETO_K:
            text = (
                f"the weights{label} have a heavy tail, Pareto k = {k:.2g} > {PARETO_K}: log Z and "
                "means converge more slowly than their error bars say. Use more walkers, more "
                "steps or more training"
            )
            found.append(Finding("amber", "log_weight", text))
    return found


def pareto_k(log_weight: Any) -> float:
    """Return the Pareto shape of the largest min(n/5, 3√n) weights; NaN where it has no fit."""
    ordered = np.sort(np.asarray(log_weight, float))
    tail = int(min(ordered.size / 5, 3 * np.sqrt(ordered.size)))
    if tail < TAIL or not np.isfinite(ordered[-1]):
        return np.nan
    weights = np.exp(ordered[-tail - 1 :] - ordered[-1])
    x = weights[1:] - weights[0]
    if x[0] <= np.finfo(float).eps * x[-1]:  # equal weights at its end: no tail to fit
        return np.nan
    grid = 30 + int(np.sqrt(tail))
    b = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * x[int(tail / 4 + 0.5) - 1])
    k = np.log1p(-b[:, None] * x[None]).mean(1)
    likelihood = tail * (np.log(-b / k) - k - 1)
    shape = np.log1p(-np.sum(b * softmax(likelihood)) * x).mean()
    return float((tail * shape + 5) / (tail + 10))


def _observable_findings(
    column: str, array: np.ndarray, names: Sequence[str], stacked: bool
) -> Iterator[Finding]:
    """Judge every scalar series (steps, chains) of a column; equal complaints become one."""
    members = array.shape[1] if stacked else 1
    series = array.reshape(len(array), members, array.shape[1 + stacked], -1)
    components = series.shape[3]
    if components > COMPONENTS:
        return
    outer = [f" at {name}" for name in _labels(names, members)] if stacked else [""]
    inner = [""] if array.ndim == 2 + stacked else [f"[{c}]" for c in range(components)]
    if not stacked and array.ndim > 2 and len(names) == components:
        inner = [f" at {name}" for name in names]

    numbers = max(NUMBERS // (members * components), FEWEST_NUMBERS)
    complaints: dict[tuple[str, Severity], list[tuple[str, str]]] = {}
    for m, member in enumerate(outer):
        for c, component in enumerate(inner):
            label = f"{component}{member}"
            for kind, severity, text in _series_findings(
                series[:, m, :, c].T, numbers, f"{column}{label}"
            ):
                complaints.setdefault((kind, severity), []).append((label, text))
    for (_, severity), ((_, text), *others) in complaints.items():
        same = ", ".join(label.strip() for label, _ in others[:4])
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        yield Finding(severity, column, text + (f"; the same {same}{more}" if same else ""))


def _series_findings(
    chains: np.ndarray, numbers: int, name: str
) -> Iterator[tuple[str, Severity, str]]:
    """Yield (kind, severity, sentence) of one series (chains, draws); a few draws are no chain."""
    if chains.shape[1] < REFUSED:
        return
    bad = ~np.isfinite(chains)
    if bad.any():
        yield "finite", "red", f"{name} is not finite in {bad.sum()} of {bad.size} numbers"
        return
    draws = chains.shape[1]
    moved = (chains != chains[:, :1]).any(1)
    if sentence := frozen(chains, name):
        yield "frozen", "amber" if moved.any() else "red", sentence
    if not moved.any():
        return

    few = chains[:: max(1, chains.size // numbers)]
    few = few if (few != few[:, :1]).any() else chains[moved][:1]
    stride = max(1, few.size // numbers)
    few = few[:, ::stride].astype(float)
    if (few == few[:, :1]).all():  # moved, but between the draws looked at
        return
    mean = mean_of_chains(few)
    tau, error = stride * mean.tau_int, stride * mean.tau_int_error
    mean = mean._replace(tau_int=tau, tau_int_error=error)
    refused, sentence = too_short(mean, draws, name)
    if sentence:
        yield "short", "red" if refused else "amber", sentence
    if (value := _split_rhat(few)) > RHAT:
        text = f"{name}: R-hat = {value:.4g} > {RHAT} over {len(few)} chains, they do not agree: "
        yield "rhat", "red", f"{text}run longer or start them closer to equilibrium"


def _split_rhat(chains: np.ndarray) -> float:
    """Return `rhat_split` without the import, 0 for one chain: split halves of the values."""
    half = chains.shape[1] // 2
    halves = np.concatenate([chains[:, :half], chains[:, -half:]])
    within = halves.var(1, ddof=1).mean()
    if len(chains) < 2 or within == 0:
        return 0.0
    between = half * halves.mean(1).var(ddof=1)
    return float(np.sqrt((between / within + half - 1) / half))


def _kernel_findings(
    record: Mapping[str, Any], column: str, array: np.ndarray, names: Sequence[str], stacked: bool
) -> Iterator[Finding]:
    """Judge the acceptance and the divergences of a kernel, (steps,) or (steps, members, ...)."""
    prefix, _, what = column.rpartition(".")
    if what not in ("acceptance", "diverged"):
        return
    rates = np.atleast_1d(array.mean(0))
    lowest = np.argmin(np.where(np.isnan(rates), -1, rates))
    low, high = (np.unravel_index(k, rates.shape) for k in (lowest, np.argmax(rates)))
    kernel = prefix.removeprefix("info").strip(".") or "the kernel"

    def rate(place: Any) -> str:
        where = "" if array.ndim == 1 else _place(place, rates.shape, names, stacked)
        return f"{what} of {kernel}{where} is {rates[place]:.3g}"

    is_hmc = f"{prefix}.delta_energy" in record
    if what == "diverged":
        if rates[high] > 0:
            yield Finding(
                "amber", column,
                f"{rate(high)} > 0, the share of {len(array)} steps with |ΔH| > 1000: the step is "
                "too long somewhere; halve it or reparametrise",
            )  # fmt: skip
    elif not rates[low] >= LOWEST:
        severity, advice = "red", "nothing moves; halve the step size, or propose nearer points"
        if prefix.endswith("swaps"):
            severity, advice = "amber", "these replicas hardly swap; put rungs between them"
        yield Finding(severity, column, f"{rate(low)} < {LOWEST}: {advice}")
    elif is_hmc and rates[low] < LOW:
        yield Finding("amber", column, f"{rate(low)} < {LOW}: halve the step size")
    elif is_hmc and rates[high] > HIGH:
        yield Finding("amber", column, f"{rate(high)} > {HIGH}: the step size can be doubled")


def _labels(names: Sequence[str], number: int) -> list[str]:
    return list(names) if len(names) == number else [f"member {k}" for k in range(number)]


def _place(
    place: tuple[int, ...], shape: tuple[int, ...], names: Sequence[str], stacked: bool
) -> str:
    """Name an entry of an array: by member of the stack, or along an axis as long as `names`."""
    named = 0 if stacked else shape.index(len(names)) if len(names) in shape else -1
    labels = _labels(names, shape[named])
    return "".join(f" at {labels[i]}" if a == named else f"[{i}]" for a, i in enumerate(place))
