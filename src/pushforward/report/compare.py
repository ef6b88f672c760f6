"""Runs side by side: the settings that differ, their numbers with z, their curves in one axis."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import InputError, NotARun
from pushforward.formats.durable import write_bytes
from pushforward.runs import RunFolder

from .facts import Facts, mapping, pick, read_facts
from .notation import DASH, format_value, number
from .page import axis_names, curve_names, fill_page
from .pictures import Picture, drawn
from .tables import Table, flat_items
from .verdict import Verdict

MOST_STAGES = 8  # whose curves are drawn


def compare(paths: Sequence[Path | str]) -> dict[str, Any]:
    """Return what differs between two or more runs, as data for JSON and for a table.

    Returns
    -------
    dict
        `runs`: their names; `settings`: `{key: [value of each run]}` for the keys that differ;
        `numbers`: `{name: {"values", "errors", "z"}}` with z = (a − b)/sqrt(e_a² + e_b²) of the
        first run a and each run b, None where a number or both errors are missing.

    Raises
    ------
    InputError
        Fewer than two runs, or one of them twice.
    NotARun
        A folder holds no run.
    """
    runs = _read(paths)
    configs = [dict(flat_items(run.config)) for run in runs.values()]
    settings = {k: [config.get(k, DASH) for config in configs] for one in configs for k in one}
    tables = [mapping(run.summary["results"]) for run in runs.values()]
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        "runs": list(runs),
        "settings": {key: values for key, values in settings.items() if len(set(values)) > 1},
        "numbers": {n: _numbers([pick("result", table.get(n)) for table in tables]) for n in names},
    }


def write_comparison(paths: Sequence[Path | str], out: Path | str) -> Path:
    """Write the page that compares runs to the file `out` and return its path."""
    data, runs = compare(paths), _read(paths)
    labels, settings, numbers = data["runs"], data["settings"], data["numbers"]
    far = [n for n, entry in numbers.items() if any(abs(z or 0) > 4 for z in entry["z"])]
    sentence = f"Settings that differ: {len(settings)}. Numbers more than 4 σ apart: "
    sentence += f"{len(far)} of {len(numbers)}" + (f" ({', '.join(far[:5])})." if far else ".")
    heads = ["", *labels, *(f"z of {label}" for label in labels[1:])]
    stages = dict.fromkeys(stage.name for run in runs.values() for stage in run.stages)
    rows = [_cells(name, entry) for name, entry in numbers.items()]
    tables = [
        Table("Settings that differ", ["", *labels], [[k, *v] for k, v in settings.items()]),
        Table(f"Numbers, z against {labels[0]}", heads, rows),
    ]
    text = fill_page(
        now=datetime.datetime.now(datetime.UTC),
        verdict=Verdict("comparison", "warn" if far else "plain", sentence, [], ""),
        name=" and ".join(labels),
        tables=[table for table in tables if table.rows],
        pictures=[p for stage in list(stages)[:MOST_STAGES] for p in _overlaid(runs, stage)],
    )
    write_bytes(Path(out), text.encode("utf-8", errors="replace"))
    return Path(out)


def _read(paths: Sequence[Path | str]) -> dict[str, Facts]:
    """Return the facts of runs by names that tell them apart."""
    if len(paths) < 2:
        raise InputError(f"compare: got {len(paths)} run; expected two or more, e.g. runs/a runs/b")
    names = [Path(path).resolve().name for path in paths]
    labels = names if len(set(names)) == len(names) else [str(path) for path in paths]
    if len(set(labels)) < len(labels):
        raise InputError(f"compare: got a run twice in {', '.join(labels)}; give each once")
    runs = {label: read_facts(path) for label, path in zip(labels, paths, strict=True)}
    for label, run in runs.items():
        if not run.is_run:
            raise NotARun(f"{label} holds no run; expected a folder like runs/nets-gmm40")
    return runs


def _numbers(entries: list[dict[str, Any]]) -> dict[str, list[Any]]:
    values = [number(entry["value"]) for entry in entries]
    errors = [number(entry["error"]) for entry in entries]
    pairs = list(zip(values, errors, strict=True))
    return {
        "values": values,
        "errors": errors,
        "z": [None, *(_z(*pairs[0], *p) for p in pairs[1:])],
    }


def _z(a: float | None, ea: float | None, b: float | None, eb: float | None) -> float | None:
    scale = math.hypot(ea or 0.0, eb or 0.0)
    return None if a is None or b is None or not 0 < scale < math.inf else (a - b) / scale


def _cells(name: str, entry: dict[str, list[Any]]) -> list[str]:
    values = map(format_value, entry["values"], entry["errors"])
    return [name, *values, *(DASH if z is None else f"{z:+.1f}" for z in entry["z"][1:])]


def _overlaid(runs: dict[str, Facts], stage: str) -> list[Picture]:
    """Draw what stages of one name recorded, each run with its own colour."""
    from . import plots

    rows = {k: s.rows for k, run in runs.items() for s in run.stages if s.name == stage and s.rows}
    figures, names = [], curve_names(next(iter(rows.values()), []))
    if names:
        figures.append(
            plots.curves(rows, axis_names(names), xlabel=None if "loss" in names else "step")
        )
    series = {
        k: run.attempt(lambda run=run: _series(run.path, stage), {}) for k, run in runs.items()
    }
    series = {label: columns for label, columns in series.items() if columns}
    if series and all({"t", "ess"} <= set(columns) for columns in series.values()):
        paths = {k: tuple(s[n] for n in ("t", "ess", "log_z") if n in s) for k, s in series.items()}
        figures.append(plots.along_time(paths))
    elif series:
        shared = set.intersection(*map(set, series.values()))
        names = axis_names([n for n in next(iter(series.values())) if n in shared][:3])
        panels = {y: {k: columns[n] for k, columns in series.items()} for n, y in names.items()}
        figures += [plots.curves(panels, xlabel="step", caption="Means over the chains.")]
    return [drawn(f, f"{vars(f)['pushforward_title']}, stage {stage}") for f in figures]


def _series(path: Path, stage: str) -> dict[str, np.ndarray]:
    """Return the recorded columns that change, each a mean over everything but the time."""
    found = {}
    for name, value in RunFolder.open(path).stage(stage).series().items():
        mean = np.asarray(value, dtype=float).reshape(len(value), -1).mean(1)
        if np.isfinite(mean).all() and np.ptp(mean) > 0 and not name.startswith("info."):
            found[name] = mean
    return found
