"""Pictures of `metal-disorder`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

from pushforward.report.style import BLUE, FULL, GREY, ORANGE, captioned, panels, styled


def draw(folder) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    from ._load import config_of, find
    from ._options import root_key
    from .metal_disorder import model, name

    config = config_of(folder.path, find("metal-disorder")).config
    done = {stage.name: stage for stage in folder.stages() if stage.finished}
    figures: dict[str, Any] = {}
    for side in config.model.sides:
        for beta in config.model.betas:
            label = name(side, beta)
            if label not in done:
                continue
            stack = model(config, side, beta, root_key(config.seed))
            runs = {"dense": _series(done[label], beta * side**2)}
            if f"{label}-pseudofermions" in done:
                other = done[f"{label}-pseudofermions"]
                runs["pseudofermions"] = _series(other, beta * side**2)
            title = f"L = {side}, β = {beta:g}"
            strength = np.mean(np.asarray(stack.coupling) ** 2, axis=(1, 2))
            figures[f"chi-{label}"] = susceptibilities(runs, strength, title)
            figures[f"histories-{label}"] = histories(runs["dense"], title)
            figures[f"order-{label}"] = order_parameter(runs["dense"], title)
    return figures


def _series(stage, volume: float) -> dict[str, np.ndarray]:
    """Return χ_0 and m as (samples, chains, trajectories, ...)."""
    series = {k: np.moveaxis(np.asarray(v), 0, 2) for k, v in stage.series().items() if k[0] == "m"}
    return {"chi": volume * series["m2"], "m": series["m"]}


@styled
def susceptibilities(runs: dict[str, dict], strength: np.ndarray, title: str):
    """Draw χ_0 of each sample, the quenched average, and χ_0 against the sample's coupling."""
    import jax

    from pushforward.estimators import quenched

    figure, axes = panels(1, 2, width=FULL, height=3.6, width_ratios=(1.5, 1))
    order = np.argsort(strength)
    for k, (label, run) in enumerate(runs.items()):
        colour, marker, shift = (BLUE, "o", -0.12) if k == 0 else (ORANGE, "s", 0.12)
        average = quenched(np.moveaxis(run["chi"], 2, 0), key=jax.random.key(0))
        value, error = average.per_sample, average.per_sample_error
        style = {"fmt": marker, "color": colour, "ms": 4, "lw": 1.2, "label": label}
        axes[0, 0].errorbar(np.arange(len(value)) + shift, value[order], error[order], **style)
        axes[0, 1].errorbar(strength, value, error, **style)
        if k == 0:
            band = (average.mean - average.error, average.mean + average.error)
            axes[0, 0].axhspan(*band, color=colour, alpha=0.15, lw=0)
            axes[0, 0].axhline(average.mean, color=colour, lw=1, label="average of the samples")
    axes[0, 0].set(xlabel="sample of disorder, weakest coupling first", ylabel=r"$\chi_0$")
    axes[0, 0].set_xticks(np.arange(len(strength)), [str(s) for s in order])
    axes[0, 1].set(xlabel=r"$\lambda_r^2$ averaged over the sites", ylabel=r"$\chi_0$")
    axes[0, 0].legend()
    text = (
        "Susceptibility of the order parameter of each sample with its thermal error. Band: the "
        "disorder average with its total error. Right: electrons soften the field where they "
        "couple strongly."
    )
    return captioned(figure, f"Susceptibility, {title}", text)


@styled
def histories(run: dict[str, np.ndarray], title: str):
    """Draw χ_0 along the chains of the first, middle and last sample by its mean."""
    chi = run["chi"]
    order = np.argsort(chi.mean((1, 2)))
    chosen = order[[0, len(order) // 2, -1]]
    figure, axes = panels(1, 3, width=FULL, height=2.7, sharey=True)
    for axis, sample in zip(axes[0], chosen, strict=True):
        for chain, colour in zip(chi[sample, :2], (BLUE, ORANGE), strict=True):
            axis.plot(chain, color=colour, lw=0.7, alpha=0.8)
        axis.axhline(chi[sample].mean(), color=GREY, lw=1)
        axis.set(xlabel="trajectory", title=f"sample {sample}")
    axes[0, 0].set(ylabel=r"$\beta V |m|^2$", ylim=(0, 1.05 * chi[chosen].max()))
    text = (
        "Two chains of the samples with the smallest, the middle and the largest susceptibility; "
        "grey: their mean. A chain that stays away from its partner has not forgotten its start."
    )
    return captioned(figure, f"Histories, {title}", text)


@styled
def order_parameter(run: dict[str, np.ndarray], title: str):
    """Draw the plane of m, and the histogram of |m| pooled and for each sample."""
    m = run["m"].reshape(len(run["m"]), -1, run["m"].shape[-1])
    length = np.sqrt((m**2).sum(-1))
    figure, axes = panels(1, 2, width=FULL, height=3.6, width_ratios=(1, 1.5))
    reach = 1.02 * length.max()
    edges = np.linspace(-reach, reach, 41)
    counts, _, _ = np.histogram2d(m[..., 0].ravel(), m[..., 1].ravel(), (edges, edges))
    axes[0, 0].pcolormesh(edges, edges, counts.T, cmap="Blues", rasterized=True)
    axes[0, 0].set(xlabel=r"$m_1$", ylabel=r"$m_2$", aspect="equal")
    bins = np.linspace(0, reach, 31)
    for k, each in enumerate(length):
        share = np.histogram(each, bins, density=True)[0]
        axes[0, 1].stairs(share, bins, color=GREY, lw=0.6, alpha=0.6, label="one sample" * (k == 0))
    pooled = np.histogram(length.ravel(), bins, density=True)[0]
    axes[0, 1].stairs(pooled, bins, color=BLUE, lw=1.8, label="all samples")
    axes[0, 1].set(xlabel=r"$|m|$", ylabel="density", xlim=(0, reach))
    axes[0, 1].legend()
    text = (
        "The order parameter m, the mean of φ over sites and slices: left in its plane (rotations "
        "are a symmetry of every sample, so the law is a ring or a disc), right its length."
    )
    return captioned(figure, f"Order parameter, {title}", text)
