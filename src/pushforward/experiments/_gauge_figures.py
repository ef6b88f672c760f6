"""Pictures of `gauge-u1-2d`, drawn from the series of its stage."""

from typing import Any

import numpy as np

import pushforward as pf


def draw(folder: Any) -> dict[str, Any]:
    """Return the figures that the stage on disk allows."""
    from ._load import config_of, find
    from ._u1_sums import label, sums
    from .gauge_u1_2d import series_of

    stage = next((s for s in folder.stages() if s.name == "hmc" and s.finished), None)
    if stage is None:
        return {}
    config = config_of(folder.path, find("gauge-u1-2d")).config
    record = stage.series()
    runs = {label(b): (b, series_of(record, k)) for k, b in enumerate(config.beta)}
    charges = {name: series["charge"] for name, (_, series) in runs.items()}
    exact = dict(zip(runs, sums(config), strict=True))
    shown = list(runs)[:: max(1, len(runs) // 3)][:4]
    report = pf.report
    return {
        "histories": report.chain_histories(
            {name: np.rint(charges[name]) for name in shown}, chains=1,
            caption="The topological charge along one chain of each run.",
        ),
        "charges": report.charge_histogram(
            {name: charges[name] for name in shown},
            {name: exact[name].charge_law(np.arange(-30, 31)) for name in shown},
        ),
        "autocorrelation": report.autocorrelation_functions(_curves(runs, shown)),
        "against-exact": report.against_exact(_rows(runs, exact)),
    }  # fmt: skip


def _estimate(series: Any) -> Any:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said by the run already
            return pf.estimators.gamma_method(series)
    except (pf.errors.ChainTooShort, pf.errors.FrozenObservable):
        return None


def _curves(runs: dict[str, Any], shown: list[str]) -> dict[str, Any]:
    curves = {}
    for name in shown:
        for symbol, key in (("Q", "charge"), ("P", "plaquette")):
            series = runs[name][1][key]
            if (found := _estimate(series)) is not None:
                gamma = pf.estimators.autocovariance(series)
                curves[f"{symbol}, {name}"] = (gamma / gamma[0], found.window, found.tau_int)
    return curves


def _rows(runs: dict[str, Any], exact: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    rows = []
    for name, (_, series) in runs.items():
        if _estimate(series["charge"] ** 2) is None:
            continue  # frozen: the plaquette's error bar is not honest either
        known = exact[name]
        for symbol, value, truth in (
            ("plaquette", series["plaquette"], known.plaquette),
            ("⟨Q²⟩", series["charge"] ** 2, known.q2),
        ):
            if (found := _estimate(value)) is not None:
                rows.append((f"{symbol}, {name}", found.mean, found.error, truth))
    return rows
