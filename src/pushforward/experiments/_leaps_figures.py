"""Pictures of `leaps-ising`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf

SHOWN = 24  # configurations of each sampler and time


def draw(folder: Any) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    from ._load import config_of, find
    from .leaps_ising import exact_along

    report = pf.report
    config = config_of(folder.path, find("leaps-ising")).config
    runs = {
        stage.name.removeprefix("sample-"): (stage.series(), stage.draws())
        for stage in folder.stages()
        if stage.finished and stage.name.startswith("sample-")
    }
    figures: dict[str, Any] = {}
    if metrics := folder.stage("train").metrics():
        figures["training"] = report.training_curves(metrics)
    if not runs:
        return figures
    times = np.asarray(next(iter(runs.values()))[0]["t"], float)
    exact = exact_along(config, times)
    figures["along-path"] = report.along_time(
        {label: (s["t"], s["ess"], s["log_z"]) for label, (s, _) in runs.items()},
        exact=(times, exact["log_z"]),
    )
    figures["observables"] = _observables(config, runs, times, exact)
    figures["weights"] = report.weights_histogram(
        {label: draws["log_weight"][-1] for label, (_, draws) in runs.items()}
    )
    figures["configurations"] = _configurations(runs, times)
    return figures


def _observables(config: Any, runs: Any, times: np.ndarray, exact: Any) -> Any:
    names = {"energy": "energy per site $e$", "m": r"$\langle |m| \rangle$"}
    series = {
        text: {label: (config.beta * times, s[name]) for label, (s, _) in runs.items()}
        for name, text in names.items()
    }
    lines = {
        text: (config.beta * times, exact[name]) for name, text in names.items() if name in exact
    }
    return pf.report.observables_along(
        series, lines, xlabel=r"coupling $t\beta$",
        caption="Weighted means along the path: the prefix up to t is a sampler at coupling tβ. "
        "Exact: Kaufman's formula, and a sum over all states for |m| where that is possible.",
    )  # fmt: skip


def _configurations(runs: Any, times: np.ndarray) -> Any:
    rows = {}
    for label, (_, draws) in runs.items():
        kept = np.linspace(times[0], times[-1], len(draws["x"]))
        rows[label] = [
            (t, _drawn(x, log_weight))
            for t, x, log_weight in zip(kept, draws["x"], draws["log_weight"], strict=True)
        ]
    return pf.report.configurations(rows)


def _drawn(x: np.ndarray, log_weight: np.ndarray) -> np.ndarray:
    weights = np.exp(np.asarray(log_weight, float) - log_weight.max())
    rng = np.random.default_rng(0)
    return x[rng.choice(len(weights), SHOWN, p=weights / weights.sum())]
