"""From a name, a file or a run folder to the experiment behind it.

An experiment is a module with `Config`, `PRESETS` and `run(config, lab)`; `recipe(config, key)`,
`expected(config, preset)` and `figures(config, done)` as far as it has them. What the verbs need
besides is derived: the model and the sampler from the recipe, the references from the classes it is
made of, the key that `resume --steps` sets from the config. A registered experiment is found in the
registry that is handed in. A file of your own is executed because you typed its path, and only
then: nothing that a run folder says is ever imported from it.
"""

import ast
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import __version__
from .._cite import BIBTEX
from .._errors import ConfigError, NotARun, PushforwardError
from .config import Config, Fit, fields
from .expected import Expected, collected
from .files import FORMAT, read_file
from .lazy import jax
from .resolve import Resolved, resolve

NEEDED = ("Config", "PRESETS", "run")


@dataclass(frozen=True)
class Experiment:
    """A module that can be run, and where it came from (`file` is None for our own)."""

    name: str
    module: ModuleType
    file: Path | None = None
    sha256: str = ""

    def resolve(self, **layers: Any) -> Resolved[Config]:
        """Return the complete config; `layers` are those of `config.resolve`."""
        return resolve(self.module.Config, self.name, self.module.PRESETS, **layers)

    def expected(self, resolved: Resolved[Config]) -> dict[str, Expected]:
        """Return what a run of this config and preset is judged by, by name."""
        rows = getattr(self.module, "expected", lambda config, preset: {})
        wanted = 'pairs ("name", within(4, value, exact("...")))'
        found = rows(resolved.config, resolved.preset)
        return collected(found, f"expected() of {self.name}", wanted)

    def header(self, preset: str) -> dict[str, Any]:
        """Return the `[pushforward]` table of `config.toml`."""
        entries: dict[str, Any] = {"version": __version__, "experiment": self.name}
        entries |= {"preset": preset, "format": FORMAT}
        if self.file is not None:
            entries |= {"file": str(self.file), "file_sha256": self.sha256}
        return entries

    def recipe(self, config: Config) -> Any:
        """Return the experiment's recipe for this config, with the keys a run would use."""
        if not hasattr(self.module, "recipe"):
            raise ConfigError(
                f"{self.name} defines no recipe(config, key), which this verb needs: return "
                f"pf.recipes.Recipe(model=..., kernel=...) in {self.file or self.module.__name__}"
            )
        return self.module.recipe(config, root_key(config.seed))

    def figures(self, config: Config, done: Any) -> dict[str, Any]:
        """Return `{name: figure}`; an exception stands in for what it broke."""
        figures: dict[str, Any] = {}
        try:
            import matplotlib as mpl

            mpl.use("Agg")
            for name, figure in getattr(self.module, "figures", lambda *_: ())(config, done):
                figures[name] = figure
        except Exception as error:  # a figure never ends a run
            figures["figures"] = error
        return figures

    def references(self, config: Config, recipe: Any = None) -> list[Any]:
        """Return what `cite` walks: papers named in the docstring, classes of the recipe."""
        doc = self.module.__doc__ or ""
        numbers = re.findall(r"\b\d{4}\.\d{4,5}\b", doc)
        papers = [key for key, text in BIBTEX.items() if any(n in text for n in numbers)]
        papers += [key for key in BIBTEX if f"[{key}]" in doc]
        if not hasattr(self.module, "recipe"):
            return [*papers]
        recipe = self.recipe(config) if recipe is None else recipe
        return [*papers, recipe, recipe.kernel(recipe.model)]


def root_key(seed: int) -> Any:
    """Return the key from which every random number of a run is derived."""
    # key(seed) alone aliases seeds modulo 2^32 without x64, and differs with it
    return jax.random.fold_in(jax.random.key(seed % 2**32), seed // 2**32)


def find(name: str, registry: Mapping[str, Any]) -> Experiment:
    """Return the experiment called `name`, or the one in the file `name` (`*.py`).

    Raises
    ------
    ConfigError
        For a name that is not registered (the nearest is named), and for a file that is absent,
        raises when executed, or lacks one of `Config`, `PRESETS`, `run`.
    """
    if name.endswith(".py") or "/" in name:
        return _from_file(Path(name))
    if name not in registry:
        near = get_close_matches(name, registry, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no experiment is called {name!r}.{hint} `pushforward list` shows all.")
    return Experiment(name, registry[name].load())


def of_run(
    path: Path,
    registry: Mapping[str, Any],
    file: Path | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Experiment, Resolved[Config]]:
    """Return the experiment a run folder was made by, and its config, `overrides` on top.

    Raises
    ------
    NotARun
        The folder holds no run of an experiment.
    ConfigError
        The run came from a file and `file` is missing or has changed since.
    """
    from ..runs import RunFolder

    config, text = path / "config.toml", RunFolder.open(path).config()
    header = read_file(config, text=text)[2]
    if "experiment" not in header:
        raise NotARun(f"{path} was not made by `pushforward run`: it has no experiment")
    name, sha = str(header["experiment"]), str(header.get("file_sha256", ""))
    experiment = _of_file(path, header, sha, file) if sha else find(name, registry)
    experiment = replace(experiment, name=name)
    return experiment, experiment.resolve(file=config, text=text, overrides=overrides)


def extended(experiment: Experiment, resolved: Resolved[Config], steps: int) -> Resolved[Config]:
    """Return the config with `steps` steps in all, its schedule unchanged.

    The key is `steps` of the first `Fit`, else the first key called `steps`: that of the chain.
    """
    config = resolved.config
    name = steps_key(type(config))
    if name is None:
        raise ConfigError(f"{experiment.name} has no key called steps: it cannot be extended")
    *groups, last = name.split(".")
    tree = config.model_dump()
    place = tree
    for group in groups:
        place = place[group]
    have = place[last]
    if steps < have:
        raise ConfigError(
            f"--steps {steps}: the run has {name} = {have}; "
            f"it is extended TO a number of steps in all, so at least {have}"
        )
    place[last] = steps
    if "schedule_steps" in place and steps > have:
        place["schedule_steps"] = place["schedule_steps"] or have
    return replace(resolved, config=type(config).model_validate(tree))


def steps_key(model: type[Config]) -> str | None:
    """Return the dotted key of the steps that `resume --steps` sets."""
    fits = [name for name, field in model.model_fields.items() if isinstance(field.default, Fit)]
    names = [f"{name}.steps" for name in fits]
    names += [name for name, _ in fields(model) if name.split(".")[-1] == "steps"]
    return next(iter(names), None)


def _of_file(path: Path, header: dict[str, Any], sha: str, file: Path | None) -> Experiment:
    was = header.get("file", "a file")
    if file is None:
        raise ConfigError(
            f"{path} was made by {was}, which is not executed unless you say so: add --file {was}"
        )
    experiment = _from_file(file)
    if experiment.sha256 != sha:
        raise ConfigError(
            f"{file} and the files it imports are not what made {path} (sha256 "
            f"{experiment.sha256[:12]}, then {sha[:12]}): restore them, or start a new run"
        )
    return experiment


def _from_file(path: Path) -> Experiment:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    sha = _fingerprint(path, data)
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
        raise ConfigError(f"{blame(error, path)}: {type(error).__name__}: {error}") from error
    experiment = Experiment(path.stem, module, path.resolve(), sha)
    _check(experiment)
    return experiment


def blame(error: BaseException, path: Path) -> str:
    """Return `FILE.py, line 7`: the last line of a user's file that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    return f"{path}, line {line}" if line else str(path)


def _fingerprint(path: Path, data: bytes) -> str:
    """Return the sha256 of a file and of the files it imports from its own folder."""
    files, waiting = {path.name: data}, [data]
    while waiting:
        for name in sorted(_imported(waiting.pop())):
            neighbour = path.resolve().parent / f"{name}.py"
            if neighbour.name not in files and neighbour.is_file():
                files[neighbour.name] = neighbour.read_bytes()
                waiting.append(files[neighbour.name])
    if len(files) == 1:
        return hashlib.sha256(data).hexdigest()
    digests = [f"{name} {hashlib.sha256(files[name]).hexdigest()}" for name in sorted(files)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _imported(source: bytes) -> set[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return set()
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names} - {""}


def _check(experiment: Experiment) -> None:
    module, where = experiment.module, experiment.file or experiment.module.__name__
    absent = [name for name in NEEDED if not hasattr(module, name)]
    if absent:
        raise ConfigError(
            f"{where} lacks {', '.join(absent)}: an experiment defines {', '.join(NEEDED)}"
        )
    if not (isinstance(module.Config, type) and issubclass(module.Config, Config)):
        raise ConfigError(
            f"{where}: Config must be a subclass of pushforward.harness.Config: "
            "write class Config(pf.harness.Config)"
        )
