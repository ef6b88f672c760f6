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
)

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
    """Draw the scalars of a training, or any lines with errors and exact values.

    Parameters
    ----------
    data
        A `History` (or rows of its metrics), or `{label: History}`: scalars against the training
        step, recorded values faint, their running mean in full. Or `{label: curve}`, or
        `{y label: {label: curve}}` for a panel each, where a curve is `y`, `(x, y)` or
        `(x, y, standard error)`; errors are bars on few points, else a band.
    names
        The scalars of a History to draw, a panel each; `{scalar: y label}` names the axes. One of
        `history.evaluations` has error bars where `<name>_error` is there too.
    exact
        A black line in every panel: a number or `(x, y)`; or `{panel: number or (x, y)}`.
    log
        Logarithmic axes: "", "x", "y" or "xy". Default: none; of a History the y axis where the
        values span more than a factor of 20.
    points
        Draw dots without lines.
    """
    histories = _histories(data)
    panelled = {n: {k: _column(h, n) for k, h in histories.items()} for n in names}
    text = "Faint: every recorded row. Full: running mean over a fiftieth of the run."
    if not histories:
        panelled, text = by_panel(data), ""
    elif xlabel is None:
        xlabel = "training step $i$"
    title = title or ("Training" if histories else "Curves")
    text = text if caption is None else caption
    if not all(np.isfinite(_values(entries)).all() for entries in panelled.values()):
        text = f"{text} Crosses: not finite.".strip()
    styles = line_styles(labels_of(panelled))
    with tiles(len(panelled), side=3.1, title=title, caption=text) as (figure, axes):
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
            spans = histories and log is None and _spans(_values(entries), 20)
            axis.set(**{f"{letter}scale": "log" for letter in log or ("y" if spans else "")})
            ylabel = names.get(name, name) if isinstance(names, Mapping) else name
            axis.set_ylabel(SYMBOLS.get(ylabel, ylabel))
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
    """Draw ESS/n and log Z along the path, from the base (t = 0) to the target (t = 1).

    `runs` is `{label: Samples}`, or `{label: (t, ess)}` with `log_z` and its error behind them.
    `exact` is the log Z of the target, or `(t, log_z)` along the whole path; None: unknown.
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
    """Draw the first `num` chains of `{label: (draws, chains)}`, one panel a label.

    At most the first 2,000 draws are shown; `symbol` is mathematics for the vertical axis.
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
    """Draw ρ(t) = Γ(t)/Γ(0) of `{label: (draws, chains)}` up to 1.5 windows of the sum for τ.

    A series that is frozen or too short has no τ: the caption names it.
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
    """Draw (ours − exact)/error of `{name: (ours, error, exact)}` with bands at 1 and 4 σ.

    A row whose error is not a positive number is left out.
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


def _histories(data: Any) -> dict[str, list[Any]]:
    """Return `{label: rows of metrics}` if `data` comes from trainings, else nothing."""
    if isinstance(data, list) or hasattr(data, "evaluations"):
        return {"": _rows(data)}
    one = next(iter(data.values()), None)
    is_rows = isinstance(one, list) and bool(one) and isinstance(one[0], Mapping)
    trained = is_rows or hasattr(one, "evaluations")
    return {label: _rows(history) for label, history in data.items()} if trained else {}


def _rows(history: Any) -> list[Any]:
    """Return the metrics of a training and its evaluations as rows."""
    if isinstance(history, list):
        return history
    columns = dict(history.metrics)
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows] + history.evaluations


def _column(rows: list[Any], name: str) -> tuple[np.ndarray, ...]:
    """Return steps, values and, where every row has one, standard errors."""
    found = [
        (number(r.get("step")), number(r.get(name)), number(r.get(f"{name}_error"))) for r in rows
    ]
    kept = [entry for entry in found if entry[0] is not None and entry[1] is not None]
    step, value, error = np.array(kept, dtype=float).reshape(-1, 3).T
    known = np.isfinite(step)
    columns = (step, value, error) if np.isfinite(error[known]).all() else (step, value)
    return tuple(column[known] for column in columns)


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
    value = value.reshape(len(value), -1)
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


def _values(entries: Mapping[str, Any]) -> np.ndarray:
    """Return the values of all curves of a panel."""
    return np.concatenate([_xy(curve)[1] for curve in entries.values()] or [np.zeros(0)])


def _spans(y: np.ndarray, factor: float) -> bool:
    """Tell whether the finite values are positive and span more than `factor`."""
    y = y[np.isfinite(y)]
    return bool(y.size > 1 and y.min() > 0 and y.max() / y.min() > factor)
