r"""Lines: curves against anything, along the path, Markov chains, deviations from exact values."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..notation import number
from .style import (
    BLACK,
    BLUE,
    FULL,
    GREY,
    MARKERS,
    RED,
    by_panel,
    labels_of,
    line_styles,
    panels,
    tiles,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = {
    "loss": "loss",
    "grad_norm": r"gradient norm $\|g\|$",
    "learning_rate": r"learning rate $\eta$",
    "ess": r"$\mathrm{ESS}/n$",
    "log_z": r"$\log \hat Z$",
    "acceptance": "acceptance",
}
FEW = 30  # curves of fewer points show each of them


def curves(
    data: Any,
    names: Sequence[str] | Mapping[str, str] = ("loss",),
    *,
    exact: Any = None,
    xlabel: str | None = None,
    log: str | None = None,
    points: bool = False,
    title: str | None = None,
    caption: str | None = None,
) -> "Figure":
    r"""Draw the scalars of a training, or any lines with errors and exact values.

    Parameters
    ----------
    data
        A `History` (or rows of its metrics), or `{label: History}`: scalars against the training
        step, the recorded values faint, their running mean in full.
        `{label: curve}`: one panel; `{y label: {label: curve}}`: a panel each. A curve is `y`,
        `(x, y)` or `(x, y, standard error)`; errors are bars on few points, else a band.
    names
        The scalars of a History to draw, a panel each; `{scalar: y label}` names the axes. One of
        `history.evaluations` has error bars where `<name>_error` is there too.
    exact
        A black line in every panel: a number or `(x, y)`; or `{panel: number or (x, y)}`.
    xlabel
        Of all panels.
    log
        Logarithmic axes: "", "x", "y" or "xy". Default: none; of a History the y axis where the
        values span more than a factor of 20.
    points
        Draw dots without lines.
    """
    histories = _histories(data)
    if histories:
        panelled = {n: {k: _column(h, n) for k, h in histories.items()} for n in names}
        title, xlabel = title or "Training", xlabel or "training step $i$"
        text = "Faint: every recorded row. Full: running mean over a fiftieth of the run."
    else:
        panelled, text = by_panel(data), ""
    text = text if caption is None else caption
    if not all(_is_finite(curve) for entries in panelled.values() for curve in entries.values()):
        text = f"{text} Crosses: not finite.".strip()
    styles = line_styles(labels_of(panelled))
    with tiles(len(panelled), side=3.1, title=title or "Curves", caption=text) as (figure, axes):
        for axis, (name, entries) in zip(axes, panelled.items(), strict=True):
            axis.set_xlabel(xlabel or "")
            if name == "ess":
                axis.axhline(1, color=GREY, lw=0.8, zorder=0)
                axis.set_ylim(0, 1.05)
            for k, (label, curve) in enumerate(entries.items()):
                marker = MARKERS[k % len(MARKERS)]
                _line(axis, curve, label, styles[label], marker, points, smooth=bool(histories))
            truth = exact.get(name) if isinstance(exact, Mapping) else exact
            if isinstance(truth, tuple):
                axis.plot(*truth, color=BLACK, lw=1.2, label="exact")
            elif truth is not None:
                axis.axhline(truth, color=BLACK, lw=0.9, zorder=0, label="exact")
            spans = histories and log is None and _spans(entries, 20)
            axis.set(**{f"{letter}scale": "log" for letter in log or ("y" if spans else "")})
            # a metric's name comes from a file: it is text, never a formula
            ylabel = names[name] if histories and isinstance(names, Mapping) else name
            is_text = bool(histories) and ylabel not in SYMBOLS and not isinstance(names, Mapping)
            axis.set_ylabel(SYMBOLS.get(ylabel, ylabel[:60]), parse_math=not is_text)
            if any(entries) or truth is not None:
                axis.legend()
    return figure


def along_time(
    runs: Mapping[str, Any],
    *,
    exact: Any = None,
    title: str = "Along the path",
    caption: str = "Effective sample size and estimated log Z of the walkers along the path.",
) -> "Figure":
    r"""Draw ESS/n and log Z along the path, from the base (t = 0) to the target (t = 1).

    Parameters
    ----------
    runs
        `{label: Samples}`, or `{label: (t, ess)}`, `(t, ess, log_z)`, `(t, ess, log_z, error)`.
    exact
        A number: the exact log Z of the target, a dot at t = 1 with a line through it.
        `(t, log_z)`: the exact value along the whole path. None: unknown.
    """
    series = {label: _path_series(run) for label, run in runs.items()}
    data = {"ess": {label: (s[0], s[1]) for label, s in series.items()}}
    log_z = {label: (s[0], *s[2:]) for label, s in series.items() if len(s) > 2}
    if log_z:
        data["log_z"] = log_z
    figure = curves(data, exact={"log_z": exact}, xlabel="time $t$", title=title, caption=caption)
    if log_z:
        figure.axes[1].set(xlim=(0, 1.015), ylabel=r"$\log \hat Z_t$")
        if exact is not None and not isinstance(exact, tuple):
            figure.axes[1].plot(1, exact, "o", color=BLACK, clip_on=False)
    return figure


def chains(
    series: Mapping[str, Any],
    symbol: str = "Q",
    *,
    num: int = 1,
    title: str = "Histories",
    caption: str | None = None,
) -> "Figure":
    """Draw the first chains of each label against the trajectory, one panel a label.

    Parameters
    ----------
    series
        `{label: (draws, chains)}` or `(draws,)`; at most the first 2,000 draws are shown.
    symbol
        Of the vertical axis, in mathematics.
    num
        Chains of each label.
    """
    text = f"The first {'chain' if num == 1 else f'{num} chains'} of each run."
    rows = len(series)
    colours = line_styles(str(k) for k in range(num)).values()
    with panels(
        rows, 1, width=FULL, height=0.7 + 1.25 * rows, sharex=True, title=title,
        caption=text if caption is None else caption,
    ) as (figure, axes):  # fmt: skip
        for axis, (label, value) in zip(axes[:, 0], series.items(), strict=True):
            value = np.asarray(value)[:2000]
            for chain, style in zip(value.reshape(len(value), -1).T, colours, strict=False):
                axis.step(np.arange(1, len(chain) + 1), chain, where="mid", lw=0.8, **style)
            axis.set_ylabel(f"${symbol}$")
            axis.annotate(
                label, (0.995, 0.94), xycoords="axes fraction", ha="right", va="top",
                bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5},
            )  # fmt: skip
            axis.margins(x=0.005)
        axes[-1, 0].set_xlabel("trajectory")
    return figure


def autocorrelation(
    series: Mapping[str, Any], *, title: str = "Autocorrelation", caption: str | None = None
) -> "Figure":
    r"""Draw ρ(t) = Γ(t)/Γ(0) on a logarithmic axis up to 1.5 windows, the window of the sum marked.

    Parameters
    ----------
    series
        `{label: (draws, chains)}`. A frozen or too short series has no τ: the caption names it.
    """
    found, missing = {}, []
    for label, value in series.items():
        curve = _autocorrelation(value)
        if curve is None:
            missing.append(label)
        else:
            found[label] = curve
    text = (
        "Normalised autocorrelation, negative values left out; the dotted lines mark the windows "
        "where the sums for τ stop."
    )
    text += f" Frozen or too short, so without a τ: {', '.join(missing)}." if missing else ""
    with panels(title=title, caption=text if caption is None else caption) as (figure, axes):
        axis = axes[0, 0]
        for label, style in line_styles(found).items():
            rho, window, tau = found[label]
            shown = rho[: max(3 * window // 2 + 2, 12)]
            positive = np.where(shown > 0, shown, np.nan)
            axis.plot(positive, label=f"{label}, τ = {tau:.3g}", **style)
            axis.axvline(window, color=style["color"], lw=0.9, ls=":")
        axis.set(xlabel="lag $t$ (trajectories)", ylabel=r"$\rho(t)$", yscale="log")
        axis.set_ylim(bottom=2e-3, top=1.2)
        if found:
            axis.legend()
    return figure


def against_exact(
    rows: Mapping[str, tuple[float, float, float]],
    *,
    title: str = "Ours against exact",
    caption: str | None = None,
) -> "Figure":
    """Draw (ours − exact)/error of each row, with bands at one and four standard errors.

    Parameters
    ----------
    rows
        `{name: (ours, error, exact)}`; a row whose error is not a positive number is left out.
    """
    rows = {k: r for k, r in rows.items() if r[1] is not None and np.isfinite(r[1]) and r[1] > 0}
    scores = [(value - exact) / error for value, error, exact in rows.values()]
    text = "Deviations from the exact values in our own standard errors; bands at 1 and 4 σ."
    height = max(1.8, 0.9 + 0.27 * len(rows))
    text = text if caption is None else caption
    with panels(height=height, title=title, caption=text) as (figure, axes):
        axis = axes[0, 0]
        axis.axvspan(-4, 4, color=GREY, alpha=0.12, lw=0)
        axis.axvspan(-1, 1, color=GREY, alpha=0.2, lw=0)
        axis.axvline(0, color=BLACK, lw=0.9)
        for k, score in enumerate(scores):
            colour = BLUE if abs(score) <= 4 else RED
            axis.errorbar(score, -k, xerr=1, fmt="o", color=colour, ms=4, capsize=2)
        axis.set_yticks([-k for k in range(len(rows))], list(rows))
        reach = max(4.6, 1.3 + max((abs(s) for s in scores), default=0))
        axis.set(xlim=(-reach, reach), ylim=(-len(rows) + 0.4, 0.6))
        axis.set_xlabel("(ours − exact) / error")
    return figure


def _line(
    axis: Any, curve: Any, label: str, style: dict, marker: str, points: bool, smooth: bool
) -> None:
    """Draw one curve with its errors; smoothed, if asked and long enough, over the faint values."""
    x, y, error = _xy(curve)
    finite = np.isfinite(y)
    bad, x, y = x[~finite], x[finite], y[finite]
    error = None if error is None else error[finite]
    if points:
        style = style | {"linestyle": "none"}
    if smooth and y.size >= FEW:
        axis.plot(x, y, color=style["color"], alpha=0.3)
        y = _running_mean(y)
    is_few = points or y.size < FEW
    if error is not None and is_few:
        axis.errorbar(x, y, error, marker=marker, label=label, **style)
    else:
        axis.plot(x, y, marker=marker if is_few else None, label=label, **style)
        if error is not None:
            axis.fill_between(x, y - error, y + error, color=style["color"], alpha=0.2, lw=0)
    if bad.size:
        top = np.full(bad.size, 0.97)
        axis.plot(bad, top, "x", color=RED, transform=axis.get_xaxis_transform())


def _xy(curve: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return x, y, error of a curve as flat arrays."""
    x, y, error = (*curve, None)[:3] if isinstance(curve, tuple) else (None, curve, None)
    y = np.asarray(y, dtype=float).ravel()
    x = np.arange(1, y.size + 1) if x is None else np.asarray(x, dtype=float).ravel()
    return x, y, None if error is None else np.broadcast_to(np.asarray(error, float), y.shape)


def _histories(data: Any) -> dict[str, dict[str, list]] | None:
    """Return `{label: [rows of metrics, rows of evaluations]}` if `data` comes from trainings."""
    if isinstance(data, Mapping) and data and all(map(_is_history, data.values())):
        return {label: _rows_of(one) for label, one in data.items()}
    return {"": _rows_of(data)} if _is_history(data) else None


def _is_history(data: Any) -> bool:
    rows = isinstance(data, list) and all(isinstance(row, Mapping) for row in data)
    return rows or hasattr(data, "evaluations")


def _rows_of(history: Any) -> dict[str, list]:
    """Return columns of numbers by name; those of evaluations come with their own steps."""
    if isinstance(history, list):
        return {"rows": history, "evaluations": []}
    names = list(history.metrics)
    columns = zip(*(np.asarray(history.metrics[n]) for n in names), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in columns] if names else []
    return {"rows": rows, "evaluations": history.evaluations}


def _column(history: dict[str, list], name: str) -> tuple:
    """Return step, value and, of an evaluation that has it, the standard error."""
    is_evaluated = any(name in row for row in history["evaluations"])
    rows = history["evaluations"] if is_evaluated else history["rows"]
    kept = [
        (step, value, number(row.get(f"{name}_error")))
        for row in rows
        if (step := number(row.get("step"))) is not None
        and np.isfinite(step)
        and (value := number(row.get(name))) is not None
    ]
    step, value, error = np.array(kept, dtype=float).reshape(-1, 3).T
    return (step, value, error) if is_evaluated and np.isfinite(error).all() else (step, value)


def _path_series(run: Any) -> tuple:
    if isinstance(run, tuple):
        return run
    names = [name for name in ("t", "ess", "log_z") if name in run.record]
    return tuple(np.asarray(run.record[name], dtype=float) for name in names)


def _autocorrelation(series: Any) -> tuple[np.ndarray, int, float] | None:
    """Return ρ, window and τ; None for a series that is frozen or too short."""
    import warnings

    from ..._errors import ChainTooShort, FrozenObservable
    from ...estimators import autocovariance, gamma_method

    value = np.asarray(series, dtype=float)
    value = value.reshape(len(value), -1).T
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said by the run already
            found, gamma = gamma_method(value), autocovariance(value)
    except (ChainTooShort, FrozenObservable):
        return None
    return gamma / gamma[0], found.window, found.tau_int


def _running_mean(value: np.ndarray) -> np.ndarray:
    """Mean over a centred window of a fiftieth of the series, shorter at its ends."""
    half = value.size // 100
    total = np.concatenate([[0.0], np.cumsum(value)])
    index = np.arange(value.size)
    reach = np.minimum(half, np.minimum(index, value.size - 1 - index))
    return (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)


def _spans(entries: Mapping[str, Any], factor: float) -> bool:
    """Tell whether the finite values of all curves are positive and span more than `factor`."""
    y = np.concatenate([_xy(curve)[1] for curve in entries.values()])
    y = y[np.isfinite(y)]
    return bool(y.size > 1 and y.min() > 0 and y.max() / y.min() > factor)


def _is_finite(curve: Any) -> bool:
    return bool(np.isfinite(_xy(curve)[1]).all())
