"""The exceptions of the house, one tree; each knows the exit status of the command line.

```text
PushforwardError
├── ConfigError (2)      a key, value or file of a configuration
├── InputError (2)       an argument of a library call
│   └── StageMismatch        a stage on disk was begun with something else
├── MissingExtra (3)     an optional package is absent
├── MissingData (3)      a data file is absent
├── NumericalError (4)
│   ├── NonFinite            a NaN or infinity, with its place
│   ├── ChainTooShort        too few draws for an honest error bar
│   ├── FrozenObservable     a series that never changed
│   └── WeightCollapse       one particle carries the weight
├── StorageError (6)
│   ├── CheckpointDamaged    bytes differ from what was written
│   └── DiskFull             nothing was overwritten
├── RunLocked (7)        another process writes this folder
├── NotARun (7)          the folder holds no run
└── Stopped (75)         stopped on request, everything saved
```

A message says what was got, what was expected and the line to write instead.
"""


class PushforwardError(Exception):
    """Base of everything this library raises on purpose."""

    exit_code = 1


class ConfigError(PushforwardError):
    """A configuration key, value or file is wrong."""

    exit_code = 2


class InputError(PushforwardError, ValueError):
    """An argument of a library call is wrong."""

    exit_code = 2


class StageMismatch(InputError):
    """A stage on disk was begun with something else.

    `differs` lists what: paths of leaves such as `kernel.step_size`.
    """

    differs: list[str]


class MissingExtra(PushforwardError, ImportError):
    """An optional package is needed; the message names the extra to install."""

    exit_code = 3


class MissingData(PushforwardError, FileNotFoundError):
    """A data file is needed; the message says which and where it is looked for."""

    exit_code = 3


class NumericalError(PushforwardError, ArithmeticError):
    """The numbers went wrong: see the subclasses."""

    exit_code = 4


class NonFinite(NumericalError):
    """A NaN or infinity appeared; the message names step, place and last good checkpoint."""


class ChainTooShort(NumericalError):
    """Fewer than ten autocorrelation times: no error bar would be honest."""


class FrozenObservable(NumericalError):
    """A series never changed, so its error bar would be a false zero."""


class WeightCollapse(NumericalError):
    """So few particles carry the weight that a mean would mislead."""


class StorageError(PushforwardError, OSError):
    """Reading or writing a run failed."""

    exit_code = 6


class CheckpointDamaged(StorageError):
    """A stored file differs from what was written."""


class DiskFull(StorageError):
    """No space left; earlier files are intact."""


class RunLocked(PushforwardError):
    """Another process writes this run folder."""

    exit_code = 7


class NotARun(PushforwardError):
    """The folder holds no run of this library."""

    exit_code = 7


class Stopped(PushforwardError):
    """Stopped on request (signal or time limit); everything is saved, run me again.

    `signal` is the number of the signal, SIGTERM for a time limit.
    """

    exit_code = 75
    signal: int | None = None


def missing_extra(feature: str, package: str, extra: str) -> MissingExtra:
    """Build the error that names the extra which brings `package`, and the line to type."""
    return MissingExtra(f"{feature} needs {package}: {install_line(extra)}")


def install_line(extra: str) -> str:
    """Return the command that adds an extra to this installation: a clone, a file, an index."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlparse

    try:
        where = json.loads(distribution("pushforward").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:  # run from a source tree
        where = {}
    source = unquote(urlparse(where.get("url", "")).path) or "pushforward"
    editable = "-e " if where.get("dir_info", {}).get("editable") else ""
    return f"pip install {editable}'{source}[{extra}]'"
