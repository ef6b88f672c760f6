"""The numbers of a run in other formats."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import formats
from .._errors import ConfigError, NotARun
from ..runs import RunFolder

MODEL = "model.safetensors"


def _write_arviz(path: Path, arrays: Mapping[str, Any]) -> None:
    formats.to_arviz(arrays).to_netcdf(str(path))


def _write_pictures(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a grid of the first 64 samples."""
    pictures = np.squeeze(np.asarray(arrays["x"]))[:64]
    if pictures.ndim != 3:
        raise ConfigError(f"{path}: samples of shape {pictures.shape[1:]} are no grey pictures")
    from ..report import plots

    figure = plots.images({"": pictures}, title="", caption="")
    figure.savefig(path, format="png", dpi=200)


WRITERS: dict[str, Callable[[Path, Mapping[str, Any]], None]] = {
    "npz": formats.write_npz,
    "csv": lambda path, arrays: formats.write_csv(path, formats.series_rows(arrays)),
    "nc": formats.write_netcdf,
    "safetensors": formats.write_safetensors,
    "arviz": _write_arviz,
}
WHATS = ("draws", "series", "metrics", "model")


def export(path: Path, to: str, *, what: str | None = None, out: Path | None = None) -> list[Path]:
    """Write a run's draws, series, metrics or model for other tools.

    Parameters
    ----------
    path
        The run folder, finished or not; no lock is taken.
    to
        The format, a key of `WRITERS`.
    what
        `draws`, `series` (every recorded column), `metrics` or `model`; by default the model for
        safetensors, else the draws if there are any, else the metrics.
    out
        A folder; default the run's `exports/`.

    Returns
    -------
    list of Path
        The files written: `STAGE-draws.npz`, `STAGE-metrics.csv`, `model.safetensors`, ...

    Raises
    ------
    ConfigError
        An unknown format, or one that cannot hold what is asked.
    NotARun
        There is nothing of the kind in the folder.
    """
    if to not in WRITERS:
        raise ConfigError(f"--to {to}: must be one of {', '.join(WRITERS)}")
    if what is not None and what not in WHATS:
        raise ConfigError(f"--what {what}: must be one of {', '.join(WHATS)}")
    stages = RunFolder.open(path).stages()
    drawn = [stage for stage in stages if next(stage.iter_draws(), None)]
    usual = {"safetensors": "model", "arviz": "series"}
    what = what or usual.get(to, "draws" if drawn else "metrics")
    out = out or path / "exports"
    out.mkdir(parents=True, exist_ok=True)
    if what == "model":
        return [_export_model(path, to, out)]
    written = []
    for stage in stages:
        target = out / f"{stage.name}-{'arviz.nc' if to == 'arviz' else f'{what}.{to}'}"
        rows: Any = stage.metrics() if what == "metrics" else getattr(stage, what)()
        if not rows:
            continue
        if what == "metrics" and to == "csv":
            formats.write_csv(target, rows)
        else:
            WRITERS[to](target, _columns(rows) if what == "metrics" else rows)
        written.append(target)
    if not written:
        names = ", ".join(stage.name for stage in stages) or "none"
        raise NotARun(f"{path} has no {what} (stages: {names})")
    return written


def _export_model(path: Path, to: str, out: Path) -> Path:
    source, target = path / MODEL, out / f"model.{to}"
    if not source.is_file():
        raise NotARun(f"{path} holds no trained model yet: pushforward resume {path}")
    if to == "safetensors":
        shutil.copyfile(source, target)
    elif to == "npz":
        formats.write_npz(target, formats.read_safetensors(source))
    else:
        raise ConfigError(f"--to {to} cannot hold a model: write --to safetensors or --to npz")
    return target


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(k for row in rows for k in row)
    columns = {name: [row.get(name, np.nan) for row in rows] for name in names}
    return {
        name: np.array(column)
        for name, column in columns.items()
        if all(isinstance(value, int | float) for value in column)
    }


def writer(target: Path) -> Callable[[Path, Mapping[str, Any]], None]:
    """Return what writes a file of this name."""
    writers = {k: w for k, w in WRITERS.items() if k != "arviz"} | {"png": _write_pictures}
    suffix = target.suffix.lstrip(".")
    if suffix not in writers:
        raise ConfigError(f"{target}: the name must end in {', '.join('.' + s for s in writers)}")
    return writers[suffix]
