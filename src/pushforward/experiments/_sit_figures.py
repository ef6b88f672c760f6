"""Pictures of `sit-digits`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf

from ..report.style import FULL, captioned, panels, styled


def draw(folder: Any) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    from ._load import config_of, find

    config = config_of(folder.path, find("sit-digits")).config
    done = {stage.name: stage for stage in folder.stages() if stage.finished}
    figures: dict[str, Any] = {}
    if "grids" in done:
        figures["grids"] = _grids(np.asarray(done["grids"].draws()["x"])[-1], config)
    if "ways" in done:
        figures["ways"] = _ways(np.asarray(done["ways"].draws()["x"]))
    rows = folder.stage("train").metrics() if "train" in {s.name for s in folder.stages()} else []
    if rows:
        figures["training"] = pf.report.training_curves(rows)
    return figures


def _mosaic(images: np.ndarray) -> np.ndarray:
    """Put (rows, columns, 8, 8) images side by side, a pixel between them."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    rows, columns, h, w = padded.shape
    return padded.transpose(0, 2, 1, 3).reshape(rows * h, columns * w)[:-1, :-1]


def _show(axis: Any, images: np.ndarray) -> None:
    axis.imshow(_mosaic(images), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)


@styled
def _grids(x: np.ndarray, config: Any) -> Any:
    """Draw ten digits of each class: training digits, then samples for every guidance scale."""
    train, _ = pf.formats.split_digits()
    real = np.stack([train.images[train.labels == c][:10, 0] for c in range(10)]) / 8.0 - 1
    scales = config.sampling.guidance[:2]
    titles = ["training digits"] + [f"samples, guidance {s:g}" for s in scales]
    grids = [real] + [x[k, :, 0].reshape(10, -1, 8, 8)[:, :10] for k in range(len(scales))]
    figure, axes = panels(1, len(grids), width=FULL, height=FULL / len(grids) + 0.35)
    for axis, title, grid in zip(axes[0], titles, grids, strict=True):
        _show(axis, grid)
        axis.set_title(title)
    text = "One row a class. Every guidance scale starts from the same noise."
    return captioned(figure, "Digits", text)


@styled
def _ways(x: np.ndarray) -> Any:
    """Draw x (times, noises, 2, 1, 8, 8): a row for each noise, time along it, for two labels."""
    from .sit_digits import EPSILONS

    figure, axes = panels(1, 2, width=FULL, height=3.6)
    side = 9
    for k, (axis, label) in enumerate(zip(axes[0], (3, 8), strict=True)):
        _show(axis, x[:, :, k, 0].swapaxes(0, 1))
        axis.set_xticks(
            [side * i + 3.5 for i in range(len(x))],
            [f"{t:g}" for t in np.linspace(0, 1, len(x)).round(2)],
        )
        axis.set_yticks(
            [side * i + 3.5 for i in range(len(EPSILONS))],
            [r"ODE" if e == 0 else rf"$\varepsilon = {e:g}\,\alpha$" for e in EPSILONS],
        )
        axis.set(title=f"the same noise, label {label}", xlabel="$t$")
        axis.tick_params(length=0)
    text = "From noise to digit along the ODE and along SDEs with more noise, guidance 2."
    return captioned(figure, "Ways", text)
