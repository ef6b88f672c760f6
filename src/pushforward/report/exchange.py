r"""Pictures of replica exchange: how often neighbours swap, and the works of their bridges."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLACK, BLUE, FULL, HALF, RED, captioned, line_styles, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def swap_rates(
    rates: Mapping[str, Any],
    predicted: Mapping[str, Any],
    pairs: Sequence[str],
    *,
    caption: str | None = None,
) -> "Figure":
    r"""Draw the swap rate of every pair of neighbours, with the prediction erfc(√⟨D⟩/2).

    Parameters
    ----------
    rates
        `{label: rates}` or `{label: (rates, errors)}`, one number a pair.
    predicted
        `{label: predictions}`.
    pairs
        What the pairs are called.
    """
    figure, axes = panels(width=HALF, height=3.4)
    axis = axes[0, 0]
    place, width = np.arange(len(pairs)), 0.7 / len(rates)
    for k, (label, style) in enumerate(line_styles(rates).items()):
        rate, error = rates[label] if isinstance(rates[label], tuple) else (rates[label], None)
        x = place + (k - (len(rates) - 1) / 2) * width
        axis.bar(
            x, rate, 0.9 * width, yerr=error, color=style["color"], alpha=0.75, label=label,
            error_kw={"elinewidth": 1},
        )  # fmt: skip
        axis.plot(
            x, predicted[label], "D", ms=5, mfc="white", mec=BLACK,
            label=r"predicted, $\mathrm{erfc}(\sqrt{\langle D\rangle}/2)$" if k == 0 else None,
        )  # fmt: skip
    axis.set_xticks(place, pairs)
    axis.margins(x=0.5 if len(pairs) == 1 else 0.05)
    axis.set(ylabel="swap rate", yscale="log", xlabel="pair of neighbours")
    axis.set_ylim(top=3 * max(axis.get_ylim()[1], 1e-3))
    axis.legend()
    text = (
        "Acceptance of swaps. Diamonds: the rate if the work D of a swap were Gaussian with the "
        "measured mean."
    )
    return captioned(figure, "Swap rates", text if caption is None else caption)


@styled
def work_histograms(
    works: Mapping[str, tuple[np.ndarray, np.ndarray]],
    exact: float | None = None,
    *,
    bins: int = 50,
    caption: str | None = None,
) -> "Figure":
    r"""Draw the densities of W_f and of −W_b, one panel a bridge; they cross at ΔF.

    Parameters
    ----------
    works
        `{label: (forward, backward)}`; a narrower pair is a better bridge.
    exact
        ΔF.
    """
    figure, axes = panels(1, len(works), width=FULL, height=3.2, sharex=True)
    values = np.concatenate([np.concatenate([up, -down]) for up, down in works.values()])
    edges = np.linspace(values.min(), values.max(), bins + 1)
    for axis, (label, (up, down)) in zip(axes[0], works.items(), strict=True):
        for name, sample, colour in (("$W_f$", up, BLUE), ("$-W_b$", -down, RED)):
            axis.hist(sample, edges, density=True, histtype="stepfilled", color=colour, alpha=0.2)
            axis.hist(sample, edges, density=True, histtype="step", color=colour, label=name)
        if exact is not None:
            axis.axvline(exact, color=BLACK, lw=1, ls="--", label=r"$\Delta F$ exact")
        axis.set_title(label)
        axis.set(xlabel="work")
        axis.legend()
    axes[0, 0].set_ylabel("density")
    text = (
        "Work of the crossings forward, and minus that backward. The densities cross at the "
        "difference of free energies; their overlap is what swaps are accepted in."
    )
    return captioned(figure, "Works", text if caption is None else caption)
