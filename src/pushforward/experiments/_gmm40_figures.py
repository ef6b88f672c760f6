"""Pictures of `nets-gmm40`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf

LIMIT = 55.0
GRID = 160


def draw(folder) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    report = pf.report
    done = {
        stage.name.removeprefix("sample-").replace("-", " "): stage
        for stage in folder.stages()
        if stage.finished and stage.name.startswith("sample-")
    }
    runs = {label: _Run(stage) for label, stage in done.items()}
    density = _log_density(_grid(LIMIT, GRID))
    figures: dict[str, Any] = {}
    if runs:
        samples = {label: run.equal_weights() for label, run in runs.items()}
        extent = (-LIMIT, LIMIT, -LIMIT, LIMIT)
        figures["samples"] = report.density_with_samples(
            density, extent, samples,
            caption="Samples, drawn in proportion to their exact weights, over the exact density.",
        )  # fmt: skip
        figures |= _particles(folder, runs)
        figures["along-path"] = report.along_time(
            {label: (run.series["t"], run.series["ess"], run.series["log_z"])
             for label, run in runs.items()}
        )  # fmt: skip
        modes = {label: run.mode_weights() for label, run in runs.items()}
        counts = {label: run.effective() for label, run in runs.items()}
        figures["modes"] = report.mode_histogram(modes, 1 / 40, count=counts)
        plain = {k: r.log_weight for k, r in runs.items() if not r.series["resampled"].any()}
        figures["weights"] = report.weights_histogram(plain)
    return figures | _evaluations(folder)


class _Run:
    """What a sampling stage left: record, kept particles, last weights."""

    def __init__(self, stage):
        self.series, draws = stage.series(), stage.draws()
        self.x, self.log_weight = draws["x"], draws["log_weight"][-1]

    def equal_weights(self) -> np.ndarray:
        weights = np.exp(self.log_weight - self.log_weight.max())
        rng = np.random.default_rng(0)
        return self.x[-1][rng.choice(len(weights), len(weights), p=weights / weights.sum())]

    def mode_weights(self) -> np.ndarray:
        import jax

        target = pf.targets.gmm40()
        weights = np.exp(self.log_weight - self.log_weight.max())
        share = np.asarray(jax.jit(jax.vmap(target.responsibilities))(self.x[-1]))
        return (weights / weights.sum()) @ share

    def effective(self) -> float:
        weights = np.exp(self.log_weight - self.log_weight.max())
        return float(weights.sum() ** 2 / (weights**2).sum())


def _particles(folder, runs: dict[str, _Run]) -> dict[str, Any]:
    import jax

    from ._load import config_of, find
    from .nets_gmm40 import annealing

    config = config_of(folder.path, find("nets-gmm40")).config
    rows, boxes, grids = {}, {}, {}
    for label in ("geometric", "mixture"):
        if label not in runs:
            continue
        x, path = runs[label].x, annealing(config, label)
        times = runs[label].series["t"][:: (len(runs[label].series["t"]) - 1) // (len(x) - 1)]
        pick = np.linspace(0, len(x) - 1, 5).round().astype(int)
        rows[label] = [(float(times[k]), x[k]) for k in pick]
        limits = [LIMIT if k == pick[-1] else 2.6 * float(np.std(x[k])) for k in pick]
        boxes[label] = [(-limit, limit) for limit in limits]
        energy = jax.jit(jax.vmap(jax.vmap(path.energy, (None, 0)), (None, 0)))
        grids[label] = [
            -np.asarray(energy(np.float32(times[k]), _grid(limit, GRID).astype(np.float32)))
            for k, limit in zip(pick, limits, strict=True)
        ]
    return {"particles": pf.report.particles_at_times(rows, boxes, grids)} if rows else {}


def _evaluations(folder) -> dict[str, Any]:
    curves = {}
    for stage in folder.stages():
        rows = [row for row in stage.metrics() if row.get("evaluation")]
        if stage.name.startswith("train-") and rows:
            columns = {k: np.array([r[k] for r in rows]) for k in ("ess", "log_z", "log_z_error")}
            steps = np.array([row["step"] for row in rows])
            curves[stage.name.removeprefix("train-")] = columns | {"steps": steps}
    if not curves:
        return {}
    first = next(iter(curves.values()))["steps"]
    return {"evaluations": pf.report.evaluation_curves(first, curves)}


def _grid(limit: float, size: int) -> np.ndarray:
    axis = np.linspace(-limit, limit, size)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _log_density(grid: np.ndarray) -> np.ndarray:
    import jax

    flat = grid.reshape(-1, 2).astype(np.float32)
    return -np.asarray(jax.jit(jax.vmap(pf.targets.gmm40()))(flat)).reshape(grid.shape[:2])
