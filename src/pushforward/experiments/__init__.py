"""Experiments: one file per result of a paper, run by name from the command line.

`REGISTRY` is a literal, so that `pushforward list` imports nothing. What a module defines is said
in `pushforward.harness`; your own file with `Config`, `PRESETS` and `run` is an experiment too.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """What `list` says of an experiment without importing it."""

    module: str
    summary: str
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    time: str = ""
    hidden: bool = False

    def load(self) -> ModuleType:
        """Import the module."""
        return import_module(f".{self.module}", __name__)


REGISTRY: dict[str, Entry] = {
    "flowmap-gaussian": Entry(
        "flowmap_gaussian",
        "Flow maps of one to eight steps between Gaussians, against the exact map",
        tags=("flow maps", "generation"),
        time="smoke 30 s, laptop 3 min",
    ),
    "adaptive-doublewell": Entry(
        "adaptive_doublewell",
        "Chains feed a map, the map feeds the chains: a wrong start repaired",
        tags=("adaptive", "sampling"),
        needs=("flowjax",),
        time="smoke 30 s, laptop 5 min",
    ),
    "forecast-jump": Entry(
        "forecast_jump",
        "Ensemble forecasts of a diffusion that jumps, against its exact law",
        tags=("forecasting",),
        time="smoke 30 s, laptop 5 min",
    ),
    "gauge-u1-2d": Entry(
        "gauge_u1_2d",
        "U(1) gauge theory in two dimensions by HMC against its exact sums",
        tags=("lattice", "sampling"),
        time="smoke 15 s, laptop 10 min",
    ),
    "trex-u1-2d": Entry(
        "trex_u1_2d",
        "Replica exchange through learned flows beside plain swaps, 2-D U(1)",
        tags=("lattice", "replica exchange"),
        time="smoke 30 s, laptop 3 min",
    ),
    "interpolant-gmm": Entry(
        "interpolant_gmm",
        "ODE, SDEs with any noise and densities of one learned velocity",
        tags=("interpolants", "generation"),
        time="smoke 30 s, laptop 5 min",
    ),
    "sit-digits": Entry(
        "sit_digits",
        "A transformer that draws handwritten digits, guided by their labels",
        tags=("sit", "generation", "images"),
        time="smoke 30 s, laptop 10 min",
    ),
    "metal-disorder": Entry(
        "metal_disorder",
        "A metal whose electrons scatter off a field with random couplings",
        tags=("metals", "disorder"),
        time="smoke 30 s, laptop 15 min",
    ),
    "multiscale-u1": Entry(
        "multiscale_u1",
        "Gauge fields from one site to a lattice: exact weights, no frozen charge",
        tags=("multiscale", "gauge"),
        time="smoke 40 s, laptop 5 min",
    ),
    "nets-gmm40": Entry(
        "nets_gmm40",
        "A neural sampler for an energy with forty modes, with exact weights",
        tags=("nets", "sampling"),
        time="smoke 1 min, laptop 5 min",
    ),
    "leaps-ising": Entry(
        "leaps_ising",
        "Learned jump rates on the critical Ising torus, against Kaufman's log Z",
        tags=("leaps", "sampling", "lattice"),
        time="smoke 40 s, laptop 10 min",
    ),
    "selftest": Entry(
        "selftest",
        "Two small jobs on which the promises about bits are tested",
        tags=("test",),
        time="smoke 20 s",
        hidden=True,
    ),
}


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
        The recipe's model with the numbers of `model.safetensors` (the average, if there is one).

    Raises
    ------
    NotARun
        The folder holds no run, or no trained model yet.
    InputError
        The run computed in float64 and JAX does not, or the leaves do not fit.
    """
    from ..harness.experiment import of_run
    from ..harness.lab import load_model

    path = Path(path)
    experiment, resolved = of_run(path, REGISTRY, None if file is None else Path(file))
    return load_model(path, experiment, resolved.config)
