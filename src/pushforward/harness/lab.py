"""What `run` and `figures` of an experiment are handed: a `Lab`, and what it has `Done`.

The lab owns folders, keys, saving, loading and the exported model, so that an experiment only says
what is computed. Every stage has a name, which enters its random keys. What a stage found is kept
under its name: `figures` gets the same objects that `run` saw.
"""

import fnmatch
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError, NotARun, StageMismatch
from ..drivers import EMA, History, Keep, OfState, Samples, fit, simulate
from ..dynamics import State
from ..formats.model import load, save
from ..runs import RunFolder
from .config import Config, Fit
from .experiment import Experiment, root_key
from .optimisers import optimiser

MODEL = "model.safetensors"


class Done(dict[str, Any]):
    """What the stages of a run found, by name: `Samples`, `History`, or a dict of arrays.

    On an unfinished run it holds the stages that ended. `key` is the root key of the run.
    """

    def __init__(self, key: Any, load_model: Callable[[], Any]):
        super().__init__()
        self.key, self._load_model = key, load_model

    @functools.cached_property
    def model(self) -> Any:
        """The trained model of the run."""
        return self._load_model()

    def matching(self, pattern: str) -> dict[str, Any]:
        """Return `{label: result}` of the stages that match `sample-*`, the label being the star.

        Dashes of a label are spaces: `sample-mixture-Langevin` is "mixture Langevin".
        """
        head = pattern.partition("*")[0]
        names = fnmatch.filter(self, pattern)
        return {name.removeprefix(head).replace("-", " "): self[name] for name in names}


class Lab:
    """Carries out the stages of one run.

    Parameters
    ----------
    experiment, config
        What is run.
    folder
        The run's folder, open for writing.
    say
        Called with each sentence that a person should see at once.

    Attributes
    ----------
    key
        The root key; a stage folds its name in.
    done
        What the stages found so far.
    summary
        What the page shows beside the numbers: `notes`, `cost`, `diagnostics`, `findings`.
    """

    def __init__(
        self,
        experiment: Experiment,
        config: Config,
        folder: RunFolder,
        *,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.config, self.folder = config, folder
        self.key = root_key(config.seed)
        self.done = Done(self.key, self._model)
        self.summary: dict[str, Any] = {"notes": [], "findings": [], "diagnostics": {}, "cost": []}
        self.seconds: dict[str, float] = {}
        self._experiment, self._say = experiment, say
        self._exported: Any = None

    @functools.cached_property
    def recipe(self) -> Any:
        """The experiment's recipe for this config."""
        return self._experiment.recipe(self.config)

    def train(self, name: str, recipe: Any, how: Fit, **options: Any) -> Any:
        """Return the trained model of a recipe: `pf.fit` as the `Fit` of a config says.

        Parameters
        ----------
        name
            The stage.
        recipe
            Its `model`, `objective` and `source` are used.
        how
            Steps, batch, optimiser, schedule and average.
        options
            Further arguments of `pf.fit`.
        """
        if how.ema is not None:
            options.setdefault("ema", EMA(jnp.asarray(how.ema), ramp=True))

        def train(stage: Any) -> Any:
            return fit(
                recipe.model,
                recipe.objective,
                recipe.source,
                steps=how.steps,
                schedule_steps=how.schedule_steps,
                optimiser=optimiser(how),
                batch=how.batch,
                folder=stage,
                **({"key": self.key} | options),
            )

        model, self.done[name] = self._stage(name, train)
        if self._exported is None:
            self.export(model)
        return model

    def simulate(
        self,
        name: str,
        kernel: Any,
        x0: Any,
        *,
        keep: int | Keep | None = None,
        members: list[str] | None = None,
        baseline: bool = False,
        **options: Any,
    ) -> Samples:
        """Return `pf.simulate(kernel, x0, **options)`, and say what cannot be trusted in it.

        Parameters
        ----------
        name
            The stage.
        kernel, x0, options
            As in `pf.simulate`.
        keep
            How many snapshots to store, evenly spaced: of samples and log-weights along `times`,
            of samples for chains. Or a `Keep`.
        members
            Names of the members of a stacked kernel, for sentences about one of them.
        baseline
            Whether the run only stands beside the one that counts: what is found in it is amber at
            worst, so that `--check` does not fail because of it.
        """
        if isinstance(keep, int):
            along = options.get("times")
            steps = options.get("steps") if along is None else len(along) - 1
            every = max(1, int(steps or 1) // keep)
            keep = Keep(every, OfState(_weighted)) if along is not None else Keep(every)
        options = {"key": self.key} | options
        samples = self._stage(
            name, lambda stage: simulate(kernel, x0, keep=keep, folder=stage, **options)
        )
        self.done[name] = samples
        for finding in samples.findings(members):
            self._tell(name, finding._replace(severity="amber") if baseline else finding)
        return samples

    def compute(self, name: str, function: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the arrays of `function()`, computed once and loaded afterwards."""

        def compute(stage: Any) -> dict[str, Any]:
            if not stage.finished:
                arrays = {k: np.asarray(v)[None] for k, v in function().items()}
                stage.append_draws(arrays, 0)
                stage.finish({"arrays": True})
            return {k: v[0] for k, v in stage.draws().items()}

        if self.folder.extending and self.folder.stage(name).finished:
            self.folder.discard_stage(name)  # it was computed from the shorter run
        self.done[name] = self._stage(name, compute)
        return self.done[name]

    def export(self, model: Any) -> None:
        """Make `model` the model of the run: what `sample`, `export` and `pf.load_run` take."""
        save(self.folder.path / MODEL, model, metadata={"experiment": self._experiment.name})
        self._exported = self.done.model = model

    def note(self, text: str) -> None:
        """Show a sentence under the results."""
        self.summary["notes"].append(text)

    def cost(self, rows: list[dict[str, Any]]) -> None:
        """Show a table of what was spent, one row a method."""
        self.summary["cost"] = list(rows)

    def finish(self) -> None:
        """Export the recipe's own model where none was trained: chains have one too."""
        if self._exported is None and hasattr(self._experiment.module, "recipe"):
            self.export(self.recipe.model)

    def _stage(self, name: str, function: Callable[[Any], Any]) -> Any:
        start = time.perf_counter()
        try:
            found = function(self.folder.stage(name))
        except StageMismatch as error:
            if not self.folder.extending:
                raise
            # in a longer run, what was made of an earlier stage is made again
            self.folder.log(f"stage {name} is made again: {', '.join(error.differs)} changed")
            self.folder.discard_stage(name)
            found = function(self.folder.stage(name))
        self.seconds[name] = time.perf_counter() - start
        return found

    def _tell(self, stage: str, finding: Any) -> None:
        entry = {"severity": finding.severity, "subject": finding.subject, "text": finding.text}
        self.summary["findings"].append(entry | {"stage": stage})
        line = f"{finding.severity}: {stage}: {finding.text}"
        self.folder.log(line)
        self._say(line)

    def _model(self) -> Any:
        return load_model(self.folder.path, self._experiment, self.config)


def load_model(path: Path, experiment: Experiment, config: Config) -> Any:
    """Return the recipe's model with the numbers of `model.safetensors`."""
    if not (path / MODEL).is_file():
        raise NotARun(f"{path} holds no trained model yet: pushforward resume {path}")
    if config.x64 and jax.numpy.result_type(float) != np.float64:
        raise InputError(
            f"{path} was computed in float64 and JAX is in float32: write "
            'jax.config.update("jax_enable_x64", True) before any computation'
        )
    with jax.enable_x64(config.x64):  # built and read in the precision of the run
        return load(path / MODEL, experiment.recipe(config).model)


def done_of(path: Path, experiment: Experiment, config: Config) -> Done:
    """Read what the ended stages of a run found, for its figures; no lock is taken."""
    done = Done(root_key(config.seed), lambda: load_model(path, experiment, config))
    kinds = {"fit": History, "simulate": Samples}
    for stage in RunFolder.open(path).stages():
        end = stage.done()
        if end is None:
            continue
        if end.get("verb") in kinds:
            done[stage.name] = kinds[end["verb"]].load(stage)
        else:
            first = end.get("arrays", False)
            done[stage.name] = {k: v[0] if first else v for k, v in stage.draws().items()}
    return done


def _weighted(state: State) -> dict[str, Any]:
    return {"x": state.x, "log_weight": state.log_weight.value}
