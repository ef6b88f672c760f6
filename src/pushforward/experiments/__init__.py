"""Experiments: one file per result of a paper, run by name from the command line.

`REGISTRY` is a literal, so that `pushforward list` imports nothing. A module gives `Config`,
`PRESETS`, `EXPECTED`, `REFERENCES`, `run`, `figures`, `build`, `sampler` and `EXTENDS`; the
classes it needs (`Config`, `Group`, `Estimate`, `Expected`, ...) are names of this room. A file
of your own with `Config`, `PRESETS`, `EXPECTED` and `run` is an experiment too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .._estimate import Estimate as Estimate
    from ._config import Config as Config
    from ._config import Fit as Fit
    from ._config import Group as Group
    from ._expected import Exact as Exact
    from ._expected import Expected as Expected
    from ._expected import Goal as Goal
    from ._expected import Measured as Measured
    from ._expected import Paper as Paper
    from ._expected import at_least as at_least
    from ._expected import at_most as at_most
    from ._expected import judge as judge
    from ._expected import relative as relative
    from ._expected import within as within
    from ._load import Experiment as Experiment
    from ._load import find as find
    from ._load import load_run as load_run


class Entry(NamedTuple):
    """What `list` says of an experiment without importing it."""

    module: str
    summary: str
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    time: str = ""
    hidden: bool = False


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

_CONFIG = ("Config", "Fit", "Group")
_EXPECTED = ("Estimate", "Exact", "Expected", "Goal", "Measured", "Paper")
_COMPARE = ("at_least", "at_most", "judge", "relative", "within")
_LOAD = ("Experiment", "find", "load_run")
_HOMES = {
    **dict.fromkeys(_CONFIG, "_config"),
    **dict.fromkeys(_EXPECTED + _COMPARE, "_expected"),
    **dict.fromkeys(_LOAD, "_load"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pushforward.experiments' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(["Entry", "REGISTRY", *_HOMES])
