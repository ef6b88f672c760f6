"""What is taken out of a run: fresh draws from its model, and its numbers in other formats."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from pushforward._errors import ConfigError, InputError, NotARun, PushforwardError
from pushforward.experiments._load import config_of, load_run, of_run
from pushforward.experiments._options import Options, prepare_jax, root_key
from pushforward.experiments._record import draw_figures

DRAW_FORMATS = ("npz", "csv", "safetensors")
WHATS = ("draws", "metrics", "model")


def draw(
    path: Path,
    n: int,
    options: Options,
    *,
    overrides: Sequence[str] = (),
    to: Path | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """Draw `n` samples from a run's trained model with the experiment's sampler.

    Parameters
    ----------
    path
        The run folder.
    n
        How many particles.
    options
        Device, compile cache, progress.
    overrides
        `key=value` on top of the run's config; another `seed` gives other draws.
    to
        Where they are written; the suffix decides (npz, csv, safetensors). Default: the
        folder's `exports/sample.npz`. The log-weights go with them.
    file
        The file that made the run, if it was one of your own.

    Returns
    -------
    dict
        `path`, `n`, and `ess` and `log_z` with its error where the kernel carries a weight.
    """
    if n < 1:
        raise ConfigError(f"-n {n}: must be an integer >= 1")
    experiment = of_run(path, file)
    config = config_of(path, experiment, overrides).config
    sampler = experiment.optional("sampler")
    target = to or path / "exports" / "sample.npz"
    write = _writer(target)
    prepare_jax(config, options)
    import jax

    from pushforward.drivers import simulate

    model = load_run(path, file=file)
    kernel, times, initial = sampler(config, model)
    key = jax.random.fold_in(root_key(config.seed), crc32(b"sample"))
    along: Any = {"steps": times} if isinstance(times, int) else {"times": times}
    samples = simulate(kernel, n, initial=initial, watchers=options.watchers(), key=key, **along)
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, sample_arrays(samples))
    return {"path": str(target), "n": n, **_weights(samples)}


def page(path: Path, file: Path | None = None) -> Path:
    """Write a run's page, with fresh figures where its experiment is ours or `file` is given."""
    from pushforward.report import write_report
    from pushforward.runs import RunFolder

    try:
        figures = draw_figures(of_run(path, file), RunFolder.open(path))
    except PushforwardError:  # the figures saved beside the run still serve
        if file is not None:
            raise
        figures = {}
    return write_report(path, figures=figures)


def sample_arrays(samples: Any) -> dict[str, Any]:
    """Return `x` (one array per leaf) and `log_weight` of samples, by name."""
    from pushforward._tree import named_leaves

    leaves = named_leaves(samples.x)
    arrays = {f"x{name}": leaf for name, leaf in leaves}
    weight = samples.log_weight
    return arrays if weight is None else {**arrays, "log_weight": weight}


def export(path: Path, to: str, *, what: str | None = None, out: Path | None = None) -> list[Path]:
    """Write a run's draws, metrics or model as npz, csv or safetensors.

    Parameters
    ----------
    path
        The run folder, finished or not; no lock is taken.
    to
        `npz`, `csv` or `safetensors`.
    what
        `draws`, `metrics` or `model`; by default the model for safetensors, else the draws if
        there are any, else the metrics.
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
    if to not in DRAW_FORMATS:
        raise ConfigError(f"--to {to}: must be one of {', '.join(DRAW_FORMATS)}")
    if what is not None and what not in WHATS:
        raise ConfigError(f"--what {what}: must be one of {', '.join(WHATS)}")
    from pushforward import formats
    from pushforward.runs import RunFolder

    folder = RunFolder.open(path)
    stages = folder.stages()
    drawn = [stage for stage in stages if next(stage.iter_draws(), None)]
    what = what or ("model" if to == "safetensors" else "draws" if drawn else "metrics")
    out = out or path / "exports"
    out.mkdir(parents=True, exist_ok=True)
    if what == "model":
        return [_export_model(path, to, out)]
    written = []
    for stage in drawn if what == "draws" else stages:
        target = out / f"{stage.name}-{what}.{to}"
        if what == "draws" and to == "npz":
            formats.write_npz(target, stage.iter_draws)
        elif what == "draws":
            _writer(target)(target, stage.draws())
        elif not _export_metrics(target, stage.metrics()):
            continue
        written.append(target)
    if not written:
        names = ", ".join(stage.name for stage in stages) or "none"
        raise NotARun(f"{path} has no {what} (stages: {names})")
    return written


def _export_model(path: Path, to: str, out: Path) -> Path:
    source, target = path / "model.safetensors", out / f"model.{to}"
    if not source.is_file():
        raise NotARun(f"{path} holds no trained model yet: pushforward resume {path}")
    if to == "safetensors":
        shutil.copyfile(source, target)
        return target
    if to == "csv":
        raise ConfigError("--to csv cannot hold a model: write --to safetensors or --to npz")
    from pushforward.formats import read_safetensors, write_npz

    write_npz(target, read_safetensors(source))
    return target


def _export_metrics(target: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    from pushforward.formats import write_csv

    if not rows:
        return False
    if target.suffix == ".csv":
        write_csv(target, rows)
        return True
    import numpy as np

    names = list(dict.fromkeys(k for row in rows for k in row))
    numbers = {n: [row.get(n, np.nan) for row in rows] for n in names}
    arrays = {n: np.array(v) for n, v in numbers.items() if _is_numeric(v)}
    _writer(target)(target, arrays)
    return True


def _is_numeric(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _writer(target: Path) -> Callable[[Path, Mapping[str, Any]], None]:
    from pushforward import formats

    suffix = target.suffix.lstrip(".")
    if suffix not in DRAW_FORMATS:
        raise ConfigError(f"{target}: the name must end in {', .'.join(('', *DRAW_FORMATS))[2:]}")
    if suffix == "csv":
        return lambda path, arrays: formats.write_csv(path, _rows(arrays))
    return formats.write_npz if suffix == "npz" else formats.write_safetensors


def _rows(arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from pushforward import formats

    return formats.series_rows(arrays)


def _weights(samples: Any) -> dict[str, Any]:
    try:
        log_z = samples.log_z
        return {"ess": float(samples.ess), "log_z": log_z.value, "log_z_error": log_z.error}
    except InputError:  # a kernel that carries no weight has neither
        return {}
