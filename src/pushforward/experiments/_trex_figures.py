"""Pictures of `trex-u1-2d`, drawn from its folder."""

from typing import Any

import numpy as np

import pushforward as pf


def draw(folder: Any) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    from ._load import config_of, find
    from ._u1_sums import sums
    from .trex_u1_2d import pair_names

    config = config_of(folder.path, find("trex-u1-2d")).config
    stages = {s.name: s for s in folder.stages()}
    runs = {n: stages[n].series() for n in ("plain", "flow") if n in stages and stages[n].finished}
    report, pairs, figures = pf.report, pair_names(config), {}
    if runs:
        rates = {name: _rates(record) for name, record in runs.items()}
        figures["swap-rates"] = report.swap_rates(
            {name: (rate, error) for name, (rate, error, _) in rates.items()},
            {name: predicted for name, (_, _, predicted) in rates.items()},
            pairs,
        )
        last = config.beta[-1]
        figures["histories"] = report.chain_histories(
            {
                f"{name}, β = {beta:g}": np.rint(record["charge"][..., r])
                for name, record in runs.items()
                for r, beta in enumerate(config.beta)
                if beta in (config.beta[0], last)
            },
            caption="The topological charge on the first and the last rung of one ladder.",
        )
    if (path := folder.path / "works.npz").exists():
        works = np.load(path)
        first, second, *_ = sums(config)
        free = first.log_z - second.log_z
        figures["works"] = report.work_histograms(
            {name: tuple(works[f"{name} {way}"][:, 0] for way in ("forward", "backward"))
             for name in ("plain", "flow")},
            free,
        )  # fmt: skip
    if "train" in stages and (metrics := stages["train"].metrics()):
        figures["training"] = report.training_curves(
            metrics, caption="Mean work of a swap, both directions: the symmetric KL divergence."
        )
    return figures


def _rates(record: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    acceptance, work = record["info.swaps.acceptance"], record["info.swaps.work"]
    found = [pf.estimators.gamma_method(column) for column in acceptance.T]
    mean, error = np.array([(f.mean, f.error) for f in found]).T
    return mean, error, pf.estimators.acceptance_prediction(work.mean(0))
