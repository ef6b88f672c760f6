"""Fresh draws from the model of a run, and its page written again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import jax

from .. import report
from .._errors import InputError, PushforwardError
from .._tree import named_leaves
from ..drivers import Progress, Samples, simulate
from ..harness.config import Config
from ..harness.experiment import Experiment, of_run, root_key
from ..harness.lab import load_model
from ..harness.record import Options, draw_page, prepare_jax
from .export import writer


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
    write = writer(target)
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


def _weights(samples: Samples) -> dict[str, Any]:
    try:
        log_z = samples.log_z
        return {"ess": float(samples.ess), "log_z": log_z.value, "log_z_error": log_z.error}
    except InputError:  # a kernel that carries no weight has neither
        return {}
