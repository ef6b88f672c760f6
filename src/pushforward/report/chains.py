r"""Pictures of Markov chains: histories, integer charges, autocorrelation, ours against exact.

Functions take NumPy arrays, chains as (draws, chains), and return a figure with title and caption.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .style import BLACK, BLUE, FULL, GREY, HALF, RED, captioned, line_styles, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def chain_histories(
    series: Mapping[str, np.ndarray],
    symbol: str = "Q",
    *,
    chains: int = 1,
    caption: str | None = None,
) -> "Figure":
    """Draw the first chains of each label against the trajectory, one panel a label.

    Parameters
    ----------
    series
        `{label: (draws, chains)}`; the first draws are shown, at most 2,000.
    symbol
        Of the vertical axis, in mathematics.
    """
    height = 0.7 + 1.25 * len(series)
    figure, axes = panels(len(series), 1, width=FULL, height=height, sharex=True)
    colours = line_styles(str(k) for k in range(chains)).values()
    for axis, (label, value) in zip(axes[:, 0], series.items(), strict=True):
        for chain, style in zip(np.asarray(value)[:2000, :chains].T, colours, strict=False):
            axis.step(np.arange(1, len(chain) + 1), chain, where="mid", lw=0.8, **style)
        axis.set_ylabel(f"${symbol}$")
        axis.annotate(
            label, (0.995, 0.94), xycoords="axes fraction", ha="right", va="top",
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5},
        )  # fmt: skip
        axis.margins(x=0.005)
    axes[-1, 0].set_xlabel("trajectory")
    text = f"The first {'chain' if chains == 1 else f'{chains} chains'} of each run."
    return captioned(figure, "Histories", text if caption is None else caption)


@styled
def charge_histogram(
    series: Mapping[str, np.ndarray],
    exact: Mapping[str, np.ndarray] | None = None,
    *,
    symbol: str = "Q",
    caption: str | None = None,
) -> "Figure":
    r"""Draw how often each integer was seen, the exact probabilities as black bars across.

    Parameters
    ----------
    series
        `{label: charges}`, any shape, rounded to integers.
    exact
        `{label: probabilities}` of the integers −m, .., m, an odd number of them.
    """
    figure, axes = panels(width=HALF, height=3.4)
    axis, shown, width = axes[0, 0], 0, 0.8 / len(series)
    for k, (label, style) in enumerate(line_styles(series).items()):
        charge = np.rint(np.asarray(series[label], float)).astype(int).ravel()
        values, counts = np.unique(charge, return_counts=True)
        offset = (k - (len(series) - 1) / 2) * width
        axis.bar(
            values + offset, counts / charge.size, width, color=style["color"], alpha=0.75,
            label=f"{label}, ⟨{symbol}²⟩ = {np.mean(charge**2):.3g}",
        )  # fmt: skip
        shown = max(shown, int(np.abs(charge).max()))
        if exact and label in exact:
            law = np.asarray(exact[label])
            where = np.arange(len(law)) - len(law) // 2 + offset
            axis.hlines(law, where - width / 2, where + width / 2, color=BLACK, lw=1.3)
    axis.set(xlabel=f"${symbol}$", ylabel="fraction of configurations")
    axis.set_xlim(-shown - 0.6, shown + 0.6)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_ylim(top=axis.get_ylim()[1] * (1 + 0.09 * len(series)))
    axis.legend()
    text = "How often each charge was seen." + (" Black: exact probabilities." if exact else "")
    return captioned(figure, f"Distribution of {symbol}", text if caption is None else caption)


@styled
def autocorrelation_functions(
    curves: Mapping[str, tuple[np.ndarray, int, float]], *, caption: str | None = None
) -> "Figure":
    r"""Draw ρ(t) on a logarithmic axis up to 1.5 windows, the summation window marked.

    Parameters
    ----------
    curves
        `{label: (rho, window, tau_int)}`, rho[0] = 1.
    """
    figure, axes = panels(width=HALF, height=3.4)
    axis = axes[0, 0]
    for label, style in line_styles(curves).items():
        rho, window, tau = curves[label]
        shown = np.asarray(rho, float)[: max(3 * window // 2 + 2, 12)]
        positive = np.where(shown > 0, shown, np.nan)
        axis.plot(positive, label=f"{label}, τ = {tau:.3g}", **style)
        axis.axvline(window, color=style["color"], lw=0.9, ls=":")
    axis.set(xlabel="lag $t$ (trajectories)", ylabel=r"$\rho(t)$", yscale="log")
    axis.set_ylim(bottom=2e-3, top=1.2)
    axis.legend()
    text = (
        "Normalised autocorrelation, negative values left out; the dotted lines mark the windows "
        "where the sums for τ stop."
    )
    return captioned(figure, "Autocorrelation", text if caption is None else caption)


@styled
def against_exact(
    rows: Sequence[tuple[str, float, float, float]], *, caption: str | None = None
) -> "Figure":
    """Draw (ours − exact)/error of each row, with bands at one and four standard errors.

    Parameters
    ----------
    rows
        (name, ours, error, exact).
    """
    figure, axes = panels(width=HALF, height=max(1.8, 0.9 + 0.27 * len(rows)))
    axis = axes[0, 0]
    scores = [(value - exact) / error for _, value, error, exact in rows]
    axis.axvspan(-4, 4, color=GREY, alpha=0.12, lw=0)
    axis.axvspan(-1, 1, color=GREY, alpha=0.2, lw=0)
    axis.axvline(0, color=BLACK, lw=0.9)
    for k, score in enumerate(scores):
        colour = BLUE if abs(score) <= 4 else RED
        axis.errorbar(score, -k, xerr=1, fmt="o", color=colour, ms=4, capsize=2)
    axis.set_yticks([-k for k in range(len(rows))], [name for name, *_ in rows])
    reach = max(4.6, 1.3 + max((abs(s) for s in scores), default=0))
    axis.set(xlim=(-reach, reach), ylim=(-len(rows) + 0.4, 0.6), xlabel="(ours − exact) / error")
    axis.grid(False, axis="y")
    text = "Deviations from the exact values in our own standard errors; bands at 1 and 4 σ."
    return captioned(figure, "Ours against exact", text if caption is None else caption)
