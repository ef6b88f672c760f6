"""From a name, a file or a run folder to the experiment behind it.

A registered experiment is a module of this room. A file of your own is executed because you
typed its path, and only then: a run folder remembers the path and the sha256 of the file it came
from, and nothing that a folder says is ever imported from it.
"""

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pushforward._errors import ConfigError, InputError, NotARun, PushforwardError
from pushforward._estimate import Estimate
from pushforward.experiments import REGISTRY
from pushforward.experiments._config import Config
from pushforward.experiments._expected import Expected, check_expected
from pushforward.experiments._files import read_file
from pushforward.experiments._resolve import Resolved, resolve

NEEDED = ("Config", "PRESETS", "EXPECTED", "run")


@dataclass(frozen=True)
class Experiment:
    """A module that can be run, and where it came from (`file` is None for our own)."""

    name: str
    module: ModuleType
    file: Path | None = None
    sha256: str = ""

    def expected(self, resolved: Resolved[Config]) -> tuple[Expected, ...]:
        """Return what a run is judged by: the preset's rows, then those made from its config."""
        rows = [e for e in self.module.EXPECTED if e.applies(resolved.preset)]
        if hasattr(self.module, "expected"):
            rows += self.module.expected(resolved.config)
        check_expected(rows, [resolved.preset])
        return tuple(rows)

    def resolve(self, **layers: Any) -> Resolved[Config]:
        """Return the complete config; `layers` are those of `_resolve.resolve`."""
        return resolve(self.module.Config, self.name, self.module.PRESETS, **layers)

    def optional(self, name: str) -> Any:
        """Return a name of the module that this verb needs, or say that it is not there."""
        found = getattr(self.module, name, None)
        if found is None:
            raise ConfigError(
                f"{self.name} defines no {name}: this verb needs it; "
                f"define {_SIGNATURES.get(name, name)} in {self.file or self.module.__name__}"
            )
        return found


_SIGNATURES = {
    "build": "build(config) -> model",
    "sampler": "sampler(config, model) -> (kernel, times, initial)",
    "figures": "figures(folder) -> dict[str, Figure]",
    "EXTENDS": 'EXTENDS = "fit", the stage that more steps extend,',
}


def find(name: str) -> Experiment:
    """Return the experiment called `name`, or the one in the file `name` (`*.py`).

    Raises
    ------
    ConfigError
        For a name that is not registered (the nearest is named), and for a file that is absent,
        raises when executed, or lacks one of `Config`, `PRESETS`, `EXPECTED`, `run`.
    """
    if name.endswith(".py") or "/" in name:
        return _from_file(Path(name))
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no experiment is called {name!r}.{hint} `pushforward list` shows all.")
    module = import_module(f"pushforward.experiments.{REGISTRY[name].module}")
    return _checked(Experiment(name, module))


def of_run(path: Path, file: Path | None = None) -> Experiment:
    """Return the experiment a run folder was made by; `file` must be given again if it was one.

    Raises
    ------
    NotARun
        The folder holds no readable `config.toml` of ours.
    ConfigError
        The run came from a file and `file` is missing or has changed since.
    """
    header = header_of(path)
    name, sha = str(header.get("experiment", "")), str(header.get("file_sha256", ""))
    if not sha:
        return find(name)
    was = header.get("file", "a file")
    if file is None:
        raise ConfigError(
            f"{path} was made by {was}, which is not executed unless you say so: add --file {was}"
        )
    experiment = _from_file(file)
    if experiment.sha256 != sha:
        raise ConfigError(
            f"{file} is not the file that made {path} (sha256 {experiment.sha256[:12]}, then "
            f"{sha[:12]}): restore it, or start a new run"
        )
    return Experiment(name, experiment.module, experiment.file, experiment.sha256)


def header_of(path: Path) -> dict[str, Any]:
    """Return the `[pushforward]` table of a run's `config.toml`."""
    from pushforward.runs import RunFolder, is_run

    if is_run(path) and not (path / "config.toml").is_file():
        RunFolder.open(path, write=True).close()  # killed before it wrote the copy
    if not (path / "config.toml").is_file():
        raise NotARun(
            f"{path} holds no run (no config.toml in it): give a folder `pushforward run` made"
        )
    header = read_file(path / "config.toml")[2]
    if "experiment" not in header:
        raise NotARun(f"{path}/config.toml has no [pushforward] table: not a run of this library")
    return header


def config_of(path: Path, experiment: Experiment, overrides: Sequence[str] = ()) -> Resolved:
    """Return the config a run was made with, `overrides` on top."""
    return experiment.resolve(file=path / "config.toml", overrides=overrides)


def load_run(path: str | Path, *, file: str | Path | None = None) -> Any:
    """Return the trained model of a run.

    Parameters
    ----------
    path
        The run folder.
    file
        The file that made the run, if it was one of your own: it is executed.

    Returns
    -------
    model
        `build(config)` with the numbers of `model.safetensors` (the EMA, if there is one).

    Raises
    ------
    NotARun
        The folder holds no run, or no trained model yet.
    InputError
        The run computed in float64 and JAX does not, or the leaves do not fit.
    """
    import jax

    path = Path(path)
    experiment = of_run(path, None if file is None else Path(file))
    config = config_of(path, experiment).config
    if config.x64 and jax.numpy.result_type(float) != jax.numpy.float64:
        raise InputError(
            f"{path} was computed in float64 and JAX is in float32: write "
            'jax.config.update("jax_enable_x64", True) before any computation'
        )
    if not (path / "model.safetensors").is_file():
        raise NotARun(f"{path} holds no trained model yet: pushforward resume {path}")
    from pushforward.formats.model import load

    with jax.enable_x64(config.x64):  # built and read in the precision of the run
        return load(path / "model.safetensors", experiment.optional("build")(config))


def estimates(results: Any, name: str) -> dict[str, Estimate]:
    """Check what `run` returned; plain numbers become estimates without an error bar."""
    if not isinstance(results, dict):
        raise InputError(
            f"run() of {name} returned {type(results).__name__}; "
            'expected {"name": Estimate(value, error), ...}'
        )
    found = {str(k): v if isinstance(v, Estimate) else Estimate(v) for k, v in results.items()}
    for key, estimate in found.items():
        if not isinstance(estimate.value, float):
            raise InputError(
                f"run() of {name} returned {type(estimate.value).__name__} for {key!r}, expected "
                "one number or Estimate(value, error)"
            )
    return found


def _from_file(path: Path) -> Experiment:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    sha = hashlib.sha256(data).hexdigest()
    name = f"_pushforward_file_{sha[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file; an experiment is FILE.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks annotations up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # a file imports its neighbours, as with `python FILE.py`
    try:
        spec.loader.exec_module(module)
    except PushforwardError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        where = f", line {line}" if line else ""
        raise ConfigError(f"{path}{where}: {type(error).__name__}: {error}") from error
    return _checked(Experiment(path.stem, module, path.resolve(), sha))


def _checked(experiment: Experiment) -> Experiment:
    module, where = experiment.module, experiment.file or experiment.module.__name__
    absent = [name for name in NEEDED if not hasattr(module, name)]
    if absent:
        raise ConfigError(f"{where} lacks {', '.join(absent)}: an experiment defines {NEEDED}")
    if not (isinstance(module.Config, type) and issubclass(module.Config, Config)):
        raise ConfigError(
            f"{where}: Config must be a subclass of pushforward.experiments.Config: "
            "write class Config(pf.experiments.Config)"
        )
    check_expected(module.EXPECTED, [*module.PRESETS, ""])
    return experiment
