"""`History`: what happened in a training."""

import numpy as np
from jaxtyping import PyTree


class History:
    """What happened in a training.

    Attributes
    ----------
    metrics
        Arrays by name; `step` is the last step of each row's interval.
    evaluations
        Rows of `evaluate`, each a dict with `step`.
    raw
        The model without the average.
    seconds, compile_seconds
        Host time of the chunks, and of those that compiled.
    skipped
        Bad steps that were skipped.
    """

    def __init__(self, rows: list[dict], raw: PyTree, seconds: float, compile: float, skipped: int):
        self.evaluations = [row for row in rows if "evaluation" in row]
        rows = [row for row in rows if "evaluation" not in row]
        names = list(dict.fromkeys(name for row in rows for name in row))
        self.metrics = {n: np.array([row.get(n, np.nan) for row in rows]) for n in names}
        self.raw, self.seconds, self.compile_seconds, self.skipped = raw, seconds, compile, skipped

    def __repr__(self) -> str:
        loss = self.metrics.get("loss", np.array([]))
        last = f", last loss {loss[-1]:.4g}" if loss.size else ""
        return f"History({loss.size} rows{last}, {self.seconds:.1f} s)"
