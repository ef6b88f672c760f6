"""Pictures of `multiscale-u1`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf
from pushforward.report.style import FULL, captioned, line_styles, markers, panels, styled

from ._load import config_of, find


def draw(folder) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    config = config_of(folder.path, find("multiscale-u1")).config
    done = {stage.name: stage for stage in folder.stages() if stage.finished}
    figures: dict[str, Any] = {}
    if (levels := folder.summary().get("levels")) is not None:
        figures["levels"] = _levels(config, {k: np.array(v) for k, v in levels.items()})
    weights = {name: stage.draws()["log_weight"][-1] for name, stage in done.items()}
    if weights:
        last = {
            f"{name}, β = {config.beta[-1]:g}": w[-1] - w[-1].max()
            for name, w in weights.items()
            if name != "exact"
        }
        figures["weights"] = pf.report.weights_histogram(
            last, caption="Log weights less the largest one; those of the exact flow are constant."
        )
        figures["charge"] = _charges(config, done)
    return figures


@styled
def _levels(config, levels: dict[str, np.ndarray]):
    figure, axes = panels(width=FULL, height=3.4)
    curves = {"exact": levels["exact"][0]} if "exact" in levels else {}
    rows = zip(config.beta, levels["matched"], strict=True)
    curves |= {f"matched, β = {b:g}": row for b, row in rows}
    styles = line_styles(curves)
    for label, ess in curves.items():
        sites = config.side**2 / 2.0 ** np.arange(len(ess))
        axes[0, 0].plot(sites, ess, marker=markers(styles)[label], label=label, **styles[label])
    axes[0, 0].set_xscale("log", base=2)
    axes[0, 0].set(xlabel="sites of the level", ylabel="ESS / n", ylim=(0, 1.05))
    axes[0, 0].legend()
    text = (
        "ESS of the flow stopped at each level, against the theory coarse-grained exactly to it. "
        "The last doubling loses nothing, for its matched coupling is β: the middle ones do."
    )
    return captioned(figure, "Level by level", text)


@styled
def _charges(config, done):
    import jax

    space = pf.spaces.LinkSpace(pf.spaces.U1(), pf.spaces.Lattice((config.side,) * 2))
    charge = jax.jit(jax.vmap(lambda x: pf.estimators.topological_charge(space, x)))
    figure, axes = panels(1, len(config.beta), width=FULL, height=3.0, sharey=True)
    labels = ["exact conditional", "matched, weighted", "matched"]
    styles = line_styles(labels)
    for k, b in enumerate(config.beta):
        top = 1
        for name, weighted, label in (
            ("exact", False, labels[0]), ("matched", True, labels[1]), ("matched", False, labels[2])
        ):  # fmt: skip
            if name not in done:
                continue
            draws = done[name].draws()
            q = np.rint(np.asarray(charge(draws["x"][-1][k])))
            w = np.exp(draws["log_weight"][-1][k] - draws["log_weight"][-1][k].max())
            w = w / w.sum() if weighted else np.full(len(q), 1 / len(q))
            values = np.arange(q.min(), q.max() + 1)
            share = [w[q == v].sum() for v in values]
            axes[0, k].plot(values, share, marker="o", label=label, **styles[label])
            top = max(top, np.abs(values).max())
        axes[0, k].set(xlabel="Q", title=f"β = {b:g}", xlim=(-top - 0.5, top + 0.5))
    axes[0, 0].set_ylabel("probability")
    axes[0, 0].legend()
    text = "Topological charge: independent draws, so every sector is there at every β."
    return captioned(figure, "Topological charge", text)
