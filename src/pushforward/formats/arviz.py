"""Chains for ArviZ: its plots and tables of what `simulate(steps=...)` recorded."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import InputError, missing_extra


def to_arviz(record: Mapping[str, Any]) -> Any:
    """Return the series of chains as ArviZ holds them.

    ```python
    chains = pf.simulate(kernel, 8, steps=1000, observe=lambda x: {"x": x}, key=key)
    arviz.summary(pf.formats.to_arviz(chains.record))
    ```

    Parameters
    ----------
    record
        `Samples.record` or `Stage.series()`: (draws, chains, ...) by name. Names that begin with
        `info.` go to the group `sample_stats` without it, the others to `posterior`.

    Returns
    -------
    DataTree
        With ArviZ 1.x; with 0.x (Python 3.11) an `InferenceData`.

    Raises
    ------
    InputError
        The record is that of a march along times, which has no chains.
    MissingExtra
        ArviZ is not installed.
    """
    if "t" in record:
        raise InputError(
            "this record belongs to a march along times, which has no chains: ArviZ reads chains; "
            "samples.resample(key=key) gives equally weighted samples"
        )
    groups: dict[str, dict[str, np.ndarray]] = {"posterior": {}, "sample_stats": {}}
    for name in record:
        series = np.asarray(record[name])
        if series.ndim >= 2:
            group = "sample_stats" if name.startswith("info.") else "posterior"
            groups[group][name.removeprefix("info.")] = series.swapaxes(0, 1)
    groups = {name: group for name, group in groups.items() if group}
    try:
        import arviz
    except ImportError:
        raise missing_extra("the export to ArviZ", "arviz", "arviz") from None
    make: Any = arviz.from_dict
    return make(groups) if int(arviz.__version__.split(".")[0]) >= 1 else make(**groups)
