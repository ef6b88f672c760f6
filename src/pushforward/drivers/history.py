"""`History`: what happened in a training."""

from typing import Any

import numpy as np
from jaxtyping import PyTree

from ..formats.model import load, save
from ..runs import Stage
from .plan import RESULT


class History:
    """What happened in a training.

    Attributes
    ----------
    metrics
        Arrays by name; `step` is the last step of each row's interval.
    evaluations
        Rows of `evaluate`, each a dict with `step`.
    model, raw
        The trained model, and the one without the average.
    seconds, compile_seconds, skipped
        Host time of the chunks, and of those that compiled; bad steps that were skipped.
    """

    def __init__(
        self,
        rows: list[dict[str, Any]],
        *,
        seconds: float,
        compile_seconds: float,
        skipped: int,
        model: PyTree = None,
        raw: PyTree = None,
    ):
        self.evaluations = [row for row in rows if "evaluation" in row]
        rows = [row for row in rows if "evaluation" not in row]
        names = list(dict.fromkeys(name for row in rows for name in row))
        self.metrics = {n: np.array([row.get(n, np.nan) for row in rows]) for n in names}
        self.seconds, self.compile_seconds, self.skipped = seconds, compile_seconds, skipped
        self.model, self.raw = model, raw

    @classmethod
    def load(cls, stage: Stage, like: PyTree = None) -> "History":
        """Read the history of a finished stage; nothing is compiled.

        `like` is a model of the same structure, whose numbers are replaced; without one, `model`
        and `raw` are None.
        """
        done = stage.done() or {}
        names = ("seconds", "compile_seconds", "skipped")
        models = {} if like is None else load(stage.path / RESULT, {"model": like, "raw": like})
        return cls(stage.metrics(), **{name: done[name] for name in names}, **models)

    def save(self, stage: Stage) -> None:
        """Write what `load` reads, beside the metrics that the stage holds."""
        save(stage.path / RESULT, {"model": self.model, "raw": self.raw})

    def __repr__(self) -> str:
        loss = self.metrics.get("loss", np.array([]))
        last = f", last loss {loss[-1]:.4g}" if loss.size else ""
        return f"History({loss.size} rows{last}, {self.seconds:.1f} s)"
