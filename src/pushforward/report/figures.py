r"""Curves and histograms: training, weights, effective sample size, log Z, modes, marginals.

Functions take NumPy arrays and return a matplotlib figure with a title and a caption attached.
Labels name the methods compared ("geometric", "mixture", "SMC", ...); a label keeps its colour
and dashes in every figure of a page. Clouds of particles are drawn in `clouds`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .notation import number
from .style import BLACK, FULL, GREY, HALF, RED, captioned, line_styles, markers, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {
    "loss": "loss",
    "grad_norm": r"gradient norm $\|g\|$",
    "gradient_norm": r"gradient norm $\|g\|$",
    "learning_rate": r"learning rate $\eta$",
    "ess": r"$\mathrm{ESS}/n$",
    "log_z": r"$\log \hat Z$",
    "acceptance": "acceptance",
}


@styled
def training_curves(
    metrics: Sequence[Mapping[str, Any]],
    names: Sequence[str] = ("loss",),
    *,
    caption: str | None = None,
) -> "Figure":
    """Draw scalars against the training step: the rows faint, their running mean in full.

    Parameters
    ----------
    metrics
        Rows with `step` and scalars, as in `metrics.jsonl`; values may be missing or "nan".
    names
        Which scalars to draw, one panel each. A row of `<name>_ema` is drawn beside its name.
    """
    figure, axes = panels(1, len(names), width=HALF if len(names) == 1 else FULL, height=3.0)
    has_bad = False
    for axis, name in zip(axes[0], names, strict=True):
        step, value = _series(metrics, name)
        finite = np.isfinite(value)
        smooth = _running_mean(value[finite])
        axis.plot(step[finite], value[finite], color=line_styles([name])[name]["color"], alpha=0.3)
        axis.plot(step[finite], smooth, color=line_styles([name])[name]["color"], label="raw")
        ema_step, ema = _series(metrics, f"{name}_ema")
        if ema.size:
            axis.plot(ema_step, ema, color=RED, label="EMA")
            axis.legend()
        if (bad := step[~finite]).size:
            has_bad = True
            axis.plot(bad, np.full(bad.size, 0.97), "x", color=RED, transform=_along_x(axis))
        if _spans(value[finite], 20):
            axis.set_yscale("log")
        axis.set_xlabel("training step $i$")
        # a metric's name comes from a file: it is text, never a formula
        axis.set_ylabel(SYMBOLS.get(name, name[:40]), parse_math=name in SYMBOLS)
    text = "Faint: every recorded row. Full: running mean over a fiftieth of the run."
    text += " Crosses: not finite." if has_bad else ""
    return captioned(figure, "Training", text if caption is None else caption)


@styled
def along_time(
    series: Mapping[str, tuple],
    log_z: Mapping[str, tuple] | None = None,
    *,
    exact: float | tuple | None = 0.0,
    caption: str | None = None,
) -> "Figure":
    r"""Draw ESS/n and log Z along the path, from the base (t = 0) to the target (t = 1).

    Parameters
    ----------
    series
        `{label: (t, ess)}`, or `{label: (t, ess, log_z)}` in place of the next argument.
    log_z
        `{label: (t, log_z)}` or `{label: (t, log_z, standard error)}`.
    exact
        A number: the exact log Z of the target, a dot at t = 1 with a line through it.
        `(t, log_z)`: the exact free energy along the whole path. None: unknown.
    """
    log_z = dict(log_z or {label: (s[0], s[2]) for label, s in series.items() if len(s) > 2})
    styles = line_styles([*series, *(label for label in log_z if label not in series)])
    figure, axes = panels(1, 1 + bool(log_z), width=FULL if log_z else HALF, height=3.4)
    for label, (t, ess, *_) in series.items():
        axes[0, 0].plot(t, ess, label=label, **styles[label])
    _ess_axis(axes[0, 0], "time $t$")
    for label, (t, value, *error) in log_z.items():
        axes[0, 1].plot(t, value, label=label, **styles[label])
        if error:
            band = np.asarray(error[0])
            axes[0, 1].fill_between(
                t, value - band, value + band, color=styles[label]["color"], alpha=0.2, lw=0
            )
    if log_z:
        axes[0, 1].set(xlabel="time $t$", ylabel=r"$\log \hat Z_t$", xlim=(0, 1.015))
        if isinstance(exact, tuple):
            axes[0, 1].plot(*exact, color=BLACK, lw=1, label="exact")
        elif exact is not None:
            axes[0, 1].axhline(exact, color=BLACK, lw=0.9, zorder=0)
            axes[0, 1].plot(1, exact, "o", color=BLACK, clip_on=False, label="exact at $t=1$")
        axes[0, 1].legend()
    text = "Effective sample size and estimated log Z of the walkers along the path."
    return captioned(figure, "Along the path", text if caption is None else caption)


@styled
def weights_histogram(
    log_weights: Mapping[str, np.ndarray], *, bins: int = 60, caption: str | None = None
) -> "Figure":
    r"""Draw the histogram of log w − log mean w; perfect transport is a spike at 0.

    Walkers of weight zero (log w = −∞) are counted in the legend; the axis shows all but the
    outermost half per cent on either side.
    """
    figure, axes = panels(width=HALF, height=3.4)
    shifted = {label: _normalised(a) for label, a in log_weights.items()}
    finite = [a[np.isfinite(a)] for a in shifted.values()]
    pooled = [np.quantile(a, (0.005, 0.995)) for a in finite if a.size] or [np.zeros(2)]
    low, high = min(p[0] for p in pooled), max(p[1] for p in pooled)
    pad = 0.05 * (high - low) or 0.5
    edges = np.linspace(low - pad, high + pad, bins + 1)
    for (label, a), style in zip(shifted.items(), line_styles(shifted).values(), strict=True):
        dead = np.count_nonzero(np.isneginf(a))
        text = f"{label}, ESS/n = {_ess(a):.2f}" + (f", {dead} of weight 0" if dead else "")
        share = np.histogram(a, edges)[0] / max(a.size, 1)
        axes[0, 0].stairs(share, edges, fill=True, color=style["color"], alpha=0.15)
        axes[0, 0].stairs(
            share, edges, color=style["color"], ls=style["linestyle"], lw=1.4, label=text
        )
    axes[0, 0].axvline(0, color=BLACK, lw=0.9, zorder=0)
    axes[0, 0].set(xlabel=r"$\log w - \log \overline{w}$", ylabel="fraction of walkers")
    most = max((a.size for a in shifted.values()), default=1)
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylim(0.5 / max(most, 1), 2.0 * 3.0 ** len(shifted))  # room for the legend
    axes[0, 0].legend(loc="upper left")
    text = (
        "Log-weights of the walkers on a logarithmic scale, which shows the tails; equal weights "
        "(ESS/n = 1) would be a spike at the line."
    )
    return captioned(figure, "Weights", text if caption is None else caption)


@styled
def mode_histogram(
    weights: Mapping[str, np.ndarray],
    exact: float | np.ndarray,
    *,
    count: float | Mapping[str, float] | None = None,
    caption: str | None = None,
) -> "Figure":
    """Draw the weight of every mode as a bar, one panel per label, with the exact line.

    Parameters
    ----------
    weights
        `{label: array of K mode weights}`, each summing to 1, in the order of the modes.
    exact
        Exact weight of a mode (1/K), or the array of all.
    count
        Effective number of samples n behind the weights, for all or per label: whiskers are
        binomial, sqrt(p (1 - p) / n). None draws no whiskers.
    """
    figure, axes = panels(
        len(weights), width=FULL, height=0.7 + 1.55 * len(weights), sharex=True, sharey=True
    )
    counts = count if isinstance(count, Mapping) else dict.fromkeys(weights, count)
    styles = line_styles(weights)
    for axis, (label, p) in zip(axes[:, 0], weights.items(), strict=True):
        p = np.asarray(p, dtype=float)
        mode, n = np.arange(1, p.size + 1), counts.get(label)
        truth = np.broadcast_to(np.asarray(exact, dtype=float), p.shape)
        axis.bar(mode, p, width=0.72, color=styles[label]["color"], alpha=0.75, lw=0)
        if n:
            whisker = np.sqrt(np.clip(p * (1 - p), 0, None) / n)
            axis.errorbar(mode, p, whisker, fmt="none", ecolor=BLACK, elinewidth=0.9, capsize=1.6)
        edges = np.arange(p.size + 1) + 0.5
        axis.stairs(truth, edges, baseline=None, color=BLACK, lw=1.2, label="exact")
        distance = 0.5 * np.abs(p - truth).sum()
        covered = np.count_nonzero(p > 0.1 * truth)
        axis.set_title(f"{label}: {covered} of {p.size} modes, total variation {distance:.3f}")
        axis.set(ylabel="weight", xlim=(0.2, p.size + 0.8))
        axis.tick_params(axis="x", top=False, bottom=False)
    axes[-1, 0].set_xlabel("mode $k$")
    size = len(next(iter(weights.values()), ()))
    axes[-1, 0].set_xticks([1, *range(5, size + 1, 5)] if size > 12 else range(1, size + 1))
    text = "Weight found in each mode (bars; whiskers: one standard error), exact: black line."
    return captioned(figure, "Weights of the modes", text if caption is None else caption)


@styled
def ess_against(
    x: np.ndarray,
    curves: Mapping[str, Any],
    xlabel: str,
    *,
    caption: str | None = None,
) -> "Figure":
    """Draw ESS/n against a setting, e.g. the noise or the number of steps.

    `curves` is `{label: ess}` or `{label: (ess, standard error)}`; the axis is logarithmic when
    `x` spans more than a factor of ten.
    """
    figure, axes = panels(width=HALF, height=3.4)
    styles = line_styles(curves)
    for label, curve in curves.items():
        y, error = curve if isinstance(curve, tuple) else (curve, None)
        marker = markers(styles)[label]
        axes[0, 0].errorbar(x, y, error, marker=marker, label=label, **styles[label])
    if _spans(np.asarray(x, dtype=float), 10):
        axes[0, 0].set_xscale("log")
    _ess_axis(axes[0, 0], xlabel)
    text = "Effective sample size of the final walkers; nothing was retrained."
    return captioned(figure, "Effective sample size", text if caption is None else caption)


@styled
def evaluation_curves(
    steps: np.ndarray,
    curves: Mapping[str, Mapping[str, Any]],
    *,
    exact: float | None = 0.0,
    caption: str | None = None,
) -> "Figure":
    """Draw ESS/n and log Z of evaluations during training.

    `curves` is `{label: {"ess": ..., "log_z": ...}}`, optionally with `"log_z_error"` and with
    its own `"steps"`; `exact` is the exact log Z (None if unknown).
    """
    figure, axes = panels(1, 2, width=FULL, height=3.4)
    styles = line_styles(curves)
    for label, curve in curves.items():
        at, dot = curve.get("steps", steps), markers(styles)[label]
        axes[0, 0].plot(at, curve["ess"], marker=dot, label=label, **styles[label])
        axes[0, 1].errorbar(
            at,
            curve["log_z"],
            curve.get("log_z_error"),
            marker=dot,
            label=label,
            **styles[label],
        )
    _ess_axis(axes[0, 0], "training step $i$")
    axes[0, 0].set_xlim(axes[0, 1].get_xlim())
    if exact is not None:
        axes[0, 1].axhline(exact, color=BLACK, lw=0.9, zorder=0, label="exact")
    axes[0, 1].set(xlabel="training step $i$", ylabel=r"$\log \hat Z$")
    axes[0, 1].legend()
    text = "Effective sample size and log Z of fresh walkers, evaluated during training."
    return captioned(figure, "Progress of the sampler", text if caption is None else caption)


@styled
def marginals(
    curves: Mapping[str, Mapping[str, Any]], *, bins: int = 60, caption: str | None = None
) -> "Figure":
    """Draw one-dimensional densities, one panel per entry of `curves`.

    `curves` is `{axis label: {label: (x, density) or array of draws}}`: a pair is drawn as a
    line ("exact" in black), draws as a normalised histogram on the range of the lines, if any.
    """
    columns = min(len(curves), 3)
    rows = -(-len(curves) // max(columns, 1))
    width = HALF if columns == 1 else FULL
    figure, axes = panels(rows, columns, width=width, height=0.3 + 3.1 * rows)
    labels = list(dict.fromkeys(label for panel in curves.values() for label in panel))
    styles = line_styles(labels)
    for axis, (title, panel) in zip(axes.flat, curves.items(), strict=False):
        lines = [curve for curve in panel.values() if isinstance(curve, tuple)]
        span = (min(x[0] for x, _ in lines), max(x[-1] for x, _ in lines)) if lines else None
        for label, curve in panel.items():
            if isinstance(curve, tuple):
                order = 3 if "exact" in label else 2
                axis.plot(*curve, label=label, **styles[label], zorder=order)
            else:
                share, edges = np.histogram(curve, bins, range=span, density=True)
                axis.stairs(share, edges, fill=True, color=styles[label]["color"], alpha=0.3)
                axis.stairs(share, edges, color=styles[label]["color"], label=label)
        axis.set(xlabel=title, ylabel="density")
        axis.set_ylim(bottom=0)
    for axis in axes.flat[len(curves) :]:
        axis.remove()
    axes.flat[0].legend()
    return captioned(figure, "Marginals", "Marginal densities." if caption is None else caption)


def _series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(number(row.get("step")), number(row.get(name))) for row in metrics]
    kept = [(s, v) for s, v in pairs if s is not None and np.isfinite(s) and v is not None]
    array = np.asarray(kept, dtype=float).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _running_mean(value: np.ndarray) -> np.ndarray:
    """Mean over a centred window of a fiftieth of the series, shorter at its ends."""
    half = value.size // 100
    total = np.concatenate([[0.0], np.cumsum(value)])
    index = np.arange(value.size)
    reach = np.minimum(half, np.minimum(index, value.size - 1 - index))
    return (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)


def _spans(x: np.ndarray, factor: float) -> bool:
    x = x[np.isfinite(x)]
    return bool(x.size > 1 and x.min() > 0 and x.max() / x.min() > factor)


def _along_x(axis: Any) -> Any:
    """Return data coordinates along x, fractions of the panel along y."""
    return axis.get_xaxis_transform()


def _normalised(log_weight: np.ndarray) -> np.ndarray:
    a = np.asarray(log_weight, dtype=float).ravel()
    top = a.max(initial=-np.inf)
    if not np.isfinite(top):
        return a
    return a - top - np.log(np.mean(np.exp(a - top)))


def _ess(normalised: np.ndarray) -> float:
    w = np.exp(normalised)
    return float(w.sum() ** 2 / (w.size * (w**2).sum())) if w.size and w.sum() > 0 else np.nan


def _ess_axis(axis: Any, xlabel: str) -> None:
    axis.axhline(1, color=GREY, lw=0.8, zorder=0)
    axis.set(xlabel=xlabel, ylabel=r"$\mathrm{ESS}/n$", ylim=(0, 1.05))
    axis.legend()
