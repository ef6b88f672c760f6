r"""Shares: weights of walkers, densities, bars of integers, of modes and of other categories."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import (
    BLACK,
    FULL,
    by_panel,
    labels_of,
    line_styles,
    panels,
    tiles,
    weights_of,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def weights(
    log_weights: Mapping[str, Any],
    *,
    bins: int = 60,
    title: str = "Weights",
    caption: str = "Log-weights of the walkers; equal weights (ESS/n = 1) are a spike at the line.",
) -> "Figure":
    """Draw the histogram of log w − log mean w of `{label: Samples or log-weights}`.

    Perfect transport is a spike at 0. Walkers of weight zero (log w = −∞) are counted in the
    legend; the axis shows all but the outermost half per cent on either side.
    """
    found = {k: _normalised(getattr(a, "log_weight", a)) for k, a in log_weights.items()}
    finite = [a[np.isfinite(a)] for a in found.values()]
    pooled = [np.quantile(a, (0.005, 0.995)) for a in finite if a.size] or [np.zeros(2)]
    low, high = min(p[0] for p in pooled), max(p[1] for p in pooled)
    pad = 0.05 * (high - low) or 0.5
    edges = np.linspace(low - pad, high + pad, bins + 1)
    with panels(title=title, caption=caption) as (figure, axes):
        axis = axes[0, 0]
        for (label, a), style in zip(found.items(), line_styles(found).values(), strict=True):
            dead = np.count_nonzero(np.isneginf(a))
            text = f"{label}, ESS/n = {_ess(a):.2f}" + (f", {dead} of weight 0" if dead else "")
            share = np.histogram(a, edges)[0] / max(a.size, 1)
            axis.stairs(share, edges, fill=True, color=style["color"], alpha=0.15)
            axis.stairs(
                share, edges, color=style["color"], ls=style["linestyle"], lw=1.4, label=text
            )
        axis.axvline(0, color=BLACK, lw=0.9, zorder=0)
        axis.set(xlabel=r"$\log w - \log \overline{w}$", ylabel="fraction of walkers")
        most = max((a.size for a in found.values()), default=1)
        axis.set_yscale("log")
        axis.set_ylim(0.5 / max(most, 1), 2.0 * 3.0 ** len(found))  # room for the legend
        axis.legend(loc="upper left")
    return figure


def histogram(
    data: Mapping[str, Any],
    *,
    exact: float | None = None,
    xlabel: str | None = None,
    log: bool = False,
    bins: int = 60,
    title: str = "Densities",
    caption: str = "Densities of the draws.",
) -> "Figure":
    """Draw one-dimensional densities of `{label: draws or (x, density)}`, a pair as a line.

    Parameters
    ----------
    data
        As above, or `{x label: {label: ...}}` for a panel each. The range is that of the lines of
        a panel, if there are any.
    exact
        A black line upright at this value.
    xlabel
        Of all panels, which then share one range; the names of the panels become their titles.
    log
        Logarithmic x axis with bins of equal ratio, and numbers of draws in place of densities.
    """
    panelled = by_panel(data)
    styles = line_styles(labels_of(panelled))
    shared = _span(panelled.values()) if xlabel is not None else None
    with tiles(len(panelled), side=3.1, title=title, caption=caption) as (figure, axes):
        for axis, (name, entries) in zip(axes, panelled.items(), strict=True):
            span = shared or _span([entries])
            edges = np.geomspace(*span, bins + 1) if log else np.linspace(*span, bins + 1)
            for label, curve in entries.items():
                if isinstance(curve, tuple):
                    order = 3 if "exact" in label else 2
                    axis.plot(*curve, label=label, **styles[label], zorder=order)
                    continue
                share, _ = np.histogram(np.asarray(curve).ravel(), edges, density=not log)
                colour = styles[label]["color"]
                axis.stairs(share, edges, fill=True, color=colour, alpha=0.25)
                axis.stairs(share, edges, color=colour, label=label)
            if exact is not None:
                axis.axvline(exact, color=BLACK, lw=1, ls="--", label="exact")
            axis.set(xlabel=name if xlabel is None else xlabel)
            if xlabel is not None:
                axis.set_title(name)
            axis.set_xscale("log" if log else "linear")
            axis.set_ylim(bottom=0)
        axes[0].set_ylabel("number of draws" if log else "density")
        axes[0].legend()
    return figure


def integers(
    data: Mapping[str, Any],
    exact: Mapping[str, Any] | None = None,
    *,
    symbol: str = "Q",
    title: str | None = None,
    caption: str | None = None,
) -> "Figure":
    """Draw how often each integer was seen, the exact probabilities as black marks across.

    `data` is `{label: charges}`, rounded to integers, or `{label: (charges, log-weights)}`, or
    `{title: {label: ...}}` for a panel each; `exact` is `{label: probabilities of −m, .., m}`.
    """
    panelled = by_panel(data)
    styles = line_styles(labels_of(panelled))
    text = "How often each charge was seen." + (" Black: exact probabilities." if exact else "")
    text = text if caption is None else caption
    title = title or f"Distribution of {symbol}"
    with tiles(len(panelled), side=3.1, title=title, caption=text) as (figure, axes):
        for axis, (name, entries) in zip(axes, panelled.items(), strict=True):
            groups, laws, shown = {}, {}, 0
            for label, entry in entries.items():
                values, share = _law(entry)
                mean = float(share @ values**2)
                text = label if name else f"{label}, ⟨{symbol}²⟩ = {mean:.3g}"
                groups[text] = (values, share, None, styles[label])
                shown = max(shown, int(np.abs(values).max()))
                if exact and label in exact:
                    law = np.asarray(exact[label])
                    laws[text] = (np.arange(len(law)) - len(law) // 2, law)
            _grouped(axis, groups, laws)
            axis.set(xlabel=f"${symbol}$", xlim=(-shown - 0.6, shown + 0.6), title=name)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_ylim(top=axis.get_ylim()[1] * (1 + 0.09 * len(entries)))
        axes[0].set_ylabel("fraction of configurations")
        axes[0].legend()
    return figure


def bars(
    data: Mapping[str, Any],
    names: Sequence[str],
    *,
    exact: Mapping[str, Any] | None = None,
    exact_label: str = "exact",
    xlabel: str = "",
    ylabel: str = "",
    log: bool = False,
    title: str = "Bars",
    caption: str = "",
) -> "Figure":
    """Draw bars of `{label: heights}` or `{label: (heights, standard errors)}` over their names.

    `exact` is `{label: expected heights}`, drawn as black marks called `exact_label`; `log` makes
    the y axis logarithmic.
    """
    place, styles = np.arange(len(names)), line_styles(data)
    pairs = {k: entry if isinstance(entry, tuple) else (entry, None) for k, entry in data.items()}
    groups = {k: (place, height, error, styles[k]) for k, (height, error) in pairs.items()}
    laws = {k: (place, np.asarray(law)) for k, law in (exact or {}).items()}
    with panels(title=title, caption=caption) as (figure, axes):
        axis = axes[0, 0]
        _grouped(axis, groups, laws, exact_label)
        axis.set_xticks(place, names)
        axis.margins(x=0.5 if len(names) == 1 else 0.05)
        axis.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
        top = axis.get_ylim()[1]
        axis.set_ylim(top=3 * max(top, 1e-3) if log else top * (1 + 0.09 * len(data)))
        axis.legend()
    return figure


def modes(
    shares: Mapping[str, Any],
    exact: float | np.ndarray,
    *,
    count: float | Mapping[str, float] | None = None,
    title: str = "Weights of the modes",
    caption: str = "Weight found in each mode (bars; whiskers: one standard error), exact: black "
    "line.",
) -> "Figure":
    """Draw `{label: weights of K modes}` as bars, one panel per label, with the exact line.

    `exact` is the weight of a mode (1/K) or the array of all. `count` is the effective number n of
    samples behind the weights, for all or per label: whiskers are binomial, sqrt(p (1 − p) / n).
    """
    counts = count if isinstance(count, Mapping) else dict.fromkeys(shares, count)
    styles, rows = line_styles(shares), len(shares)
    with panels(
        rows, 1, width=FULL, height=0.7 + 1.55 * rows, sharex=True, sharey=True, title=title,
        caption=caption,
    ) as (figure, axes):  # fmt: skip
        for axis, (label, p) in zip(axes[:, 0], shares.items(), strict=True):
            p = np.asarray(p, dtype=float)
            mode, n = np.arange(1, p.size + 1), counts.get(label)
            truth = np.broadcast_to(np.asarray(exact, dtype=float), p.shape)
            error = np.sqrt(np.clip(p * (1 - p), 0, None) / n) if n else None
            _grouped(axis, {label: (mode, p, error, styles[label])}, {})
            axis.stairs(truth, np.arange(p.size + 1) + 0.5, baseline=None, color=BLACK, lw=1.2)
            distance, covered = 0.5 * np.abs(p - truth).sum(), np.count_nonzero(p > 0.1 * truth)
            axis.set_title(f"{label}: {covered} of {p.size} modes, total variation {distance:.3f}")
            axis.set(ylabel="weight", xlim=(0.2, p.size + 0.8))
            axis.tick_params(axis="x", top=False, bottom=False)
        axes[-1, 0].set_xlabel("mode $k$")
        size = len(next(iter(shares.values()), ()))
        axes[-1, 0].set_xticks([1, *range(5, size + 1, 5)] if size > 12 else range(1, size + 1))
    return figure


def _grouped(
    axis: Any, groups: Mapping[str, tuple], laws: Mapping[str, tuple], exact_label: str = ""
) -> None:
    """Draw `{label: (places, heights, errors, style)}` beside each other, laws as black marks."""
    width = 0.8 / max(len(groups), 1)
    for k, (label, (place, height, error, style)) in enumerate(groups.items()):
        x = place + (k - (len(groups) - 1) / 2) * width
        axis.bar(x, height, 0.9 * width, color=style["color"], alpha=0.75, lw=0, label=label)
        if error is not None:
            axis.errorbar(x, height, error, fmt="none", ecolor=BLACK, elinewidth=0.9, capsize=1.6)
        if label in laws:
            at, law = laws[label]
            x = at + (k - (len(groups) - 1) / 2) * width
            text = exact_label if k == 0 else ""
            axis.hlines(law, x - width / 2, x + width / 2, color=BLACK, lw=1.4, label=text)


def _law(entry: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the integers seen and their shares; of a pair, weighted."""
    charge, log_weight = entry if isinstance(entry, tuple) else (entry, None)
    charge = np.rint(np.asarray(charge, float)).astype(int).ravel()
    share = np.full(charge.size, 1 / charge.size) if log_weight is None else weights_of(log_weight)
    values, where = np.unique(charge, return_inverse=True)
    return values, np.bincount(where, share.ravel())


def _span(entries: Any) -> tuple[float, float]:
    """Return the range of the lines of some panels, or of the finite draws where there are none."""
    curves = [curve for panel in entries for curve in panel.values()]
    lines = [np.asarray(curve[0], float) for curve in curves if isinstance(curve, tuple)]
    values = np.concatenate(lines or [np.asarray(curve, float).ravel() for curve in curves])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (low - 0.5, low + 0.5)


def _normalised(log_weight: Any) -> np.ndarray:
    a = np.asarray(log_weight, dtype=float).ravel()
    top = a.max(initial=-np.inf)
    if not np.isfinite(top):
        return a
    return a - top - np.log(np.mean(np.exp(a - top)))


def _ess(normalised: np.ndarray) -> float:
    w = np.exp(normalised)
    return float(w.sum() ** 2 / (w.size * (w**2).sum())) if w.size and w.sum() > 0 else np.nan
