"""Moves probability measures: learned transport with exact weights (see README).

Give an energy or data; a transport from a simple measure is learned, particles are moved along
it, and weights, effective sample size and log Z say how good they are. Every public name is
imported when it is first used (PEP 562), so that `import pushforward` costs nothing and the
command line answers before JAX is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import _errors as errors  # noqa: F401
    from . import drivers as drivers
    from . import dynamics as dynamics
    from . import estimators as estimators
    from . import experiments as experiments
    from . import flows as flows
    from . import formats as formats
    from . import harness as harness
    from . import mcmc as mcmc
    from . import networks as networks
    from . import objectives as objectives
    from . import paths as paths
    from . import recipes as recipes
    from . import report as report
    from . import runs as runs
    from . import shell as shell
    from . import sources as sources
    from . import spaces as spaces
    from . import targets as targets
    from ._cite import cite as cite
    from .drivers import Samples as Samples
    from .drivers import fit as fit
    from .drivers import simulate as simulate
    from .experiments import load_run as load_run
    from .formats.model import load as load
    from .formats.model import save as save

__version__ = "0.1.0"

_ROOMS = (
    "spaces",
    "targets",
    "paths",
    "networks",
    "flows",
    "dynamics",
    "mcmc",
    "estimators",
    "sources",
    "objectives",
    "formats",
    "runs",
    "drivers",
    "recipes",
    "report",
    "harness",
    "experiments",
    "shell",
)

# public name -> (module, name in it, or None for the module itself)
_HOMES: dict[str, tuple[str, str | None]] = {
    **{room: (f".{room}", None) for room in _ROOMS},
    "fit": (".drivers", "fit"),
    "simulate": (".drivers", "simulate"),
    "Samples": (".drivers", "Samples"),
    "load": (".formats.model", "load"),
    "save": (".formats.model", "save"),
    "load_run": (".experiments", "load_run"),
    "cite": ("._cite", "cite"),
    "errors": ("._errors", None),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pushforward' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    home = import_module(module, __name__)
    value = home if attribute is None else getattr(home, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(["__version__", *_HOMES])
