"""What is taken out of a run: fresh draws from its model, and its numbers in other formats."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import jax
import numpy as np

from .. import formats, report
from .._errors import ConfigError, InputError, NotARun, PushforwardError
from .._tree import named_leaves
from ..drivers import Progress, Samples, simulate
from ..harness.config import Config
from ..harness.experiment import Experiment, of_run, root_key
from ..harness.lab import MODEL, load_model
from ..harness.record import Options, draw_page, prepare_jax
from ..runs import RunFolder


def _write_arviz(path: Path, arrays: Mapping[str, Any]) -> None:
    formats.to_arviz(arrays).to_netcdf(str(path))


def _write_pictures(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a grid of the first 64 samples."""
    pictures = np.squeeze(np.asarray(arrays["x"]))[:64]
    if pictures.ndim != 3:
        raise ConfigError(f"{path}: samples of shape {pictures.shape[1:]} are no grey pictures")
    figure = report.plots.images({"": pictures}, title="", caption="")
    figure.savefig(path, format="png", dpi=200)


WRITERS: dict[str, Callable[[Path, Mapping[str, Any]], None]] = {
    "npz": formats.write_npz,
    "csv": lambda path, arrays: formats.write_csv(path, formats.series_rows(arrays)),
    "nc": formats.write_netcdf,
    "safetensors": formats.write_safetensors,
    "arviz": _write_arviz,
}
WHATS = ("draws", "series", "metrics", "model")


def draw(
    experiment: Experiment,
    config: Config,
    path: Path,
    n: int,
    options: Options,
    *,
    to: Path | None = None,
) -> dict[str, Any]:
    """Draw `n` samples from a run's trained model with the experiment's sampler.

    Parameters
    ----------
    experiment, config
        Of the run; another `seed` gives other draws.
    path
        The run folder.
    n
        How many particles.
    options
        Device, compile cache, progress.
    to
        Where they are written; the suffix decides. Default: the folder's `exports/sample.npz`.
        The log-weights go with them.

    Returns
    -------
    dict
        `path`, `n`, and `ess` and `log_z` with its error where the kernel carries a weight.
    """
    target = to or path / "exports" / "sample.npz"
    write = _writer(target)
    prepare_jax(config, options)
    recipe, model = experiment.recipe(config), load_model(path, experiment, config)
    key = jax.random.fold_in(root_key(config.seed), crc32(b"sample"))
    times: Any = recipe.times
    along: Any = {"steps": times} if isinstance(times, int) else {"times": times}
    watchers = (Progress(quiet=options.quiet),)
    kernel = recipe.kernel(model)
    samples = simulate(kernel, n, initial=recipe.initial, watchers=watchers, key=key, **along)
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, sample_arrays(samples, kernel))
    return {"path": str(target), "n": n, **_weights(samples)}


def page(path: Path, registry: Mapping[str, Any], file: Path | None = None) -> Path:
    """Write a run's page, with fresh figures where its experiment is ours or `file` is given."""
    try:
        experiment, resolved = of_run(path, registry, file)
    except PushforwardError:  # the figures saved beside the run still serve
        if file is not None:
            raise
        return report.write_report(path)
    return draw_page(experiment, resolved.config, path)


def sample_arrays(samples: Samples, kernel: Any = None) -> dict[str, Any]:
    """Return samples by name and their `log_weight`.

    An energy with constraints gives its parameters under their names, constraints applied; without
    names a sample is `x`, one array per leaf.
    """
    path = getattr(kernel, "path", None)
    constrain = getattr(getattr(path, "target", path), "constrain", None)
    x: Any = samples.x if constrain is None else jax.vmap(constrain)(samples.x)
    named = isinstance(x, dict)
    arrays = dict(x) if named else {f"x{name}": leaf for name, leaf in named_leaves(x)}
    return arrays | {"log_weight": samples.log_weight}


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


def _writer(target: Path) -> Callable[[Path, Mapping[str, Any]], None]:
    writers = {k: w for k, w in WRITERS.items() if k != "arviz"} | {"png": _write_pictures}
    suffix = target.suffix.lstrip(".")
    if suffix not in writers:
        raise ConfigError(f"{target}: the name must end in {', '.join('.' + s for s in writers)}")
    return writers[suffix]


def _weights(samples: Samples) -> dict[str, Any]:
    try:
        log_z = samples.log_z
        return {"ess": float(samples.ess), "log_z": log_z.value, "log_z_error": log_z.error}
    except InputError:  # a kernel that carries no weight has neither
        return {}
