"""One look for every figure: the style file, a fixed colour for each role, panels, captions.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; lines that
share a role differ by their dashes as well. Exact values are black, a paper's values dashed grey.
matplotlib is imported when something is drawn, and only through its object interface: no global
state is touched.
"""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("pushforward.mplstyle")

BLUE, GREEN, ORANGE = "#0072B2", "#009E73", "#E69F00"
RED, PURPLE, SKY = "#D55E00", "#CC79A7", "#56B4E9"
BLACK, GREY = "#1a1d21", "#7a828e"

# The first role found in a label decides; what has no role takes the colours left over.
ROLES = (
    ("exact", BLACK),
    ("paper", GREY),
    ("smc", ORANGE),
    ("ais", RED),
    ("untrained", RED),
    ("geometric", BLUE),
    ("mixture", GREEN),
)
DASHES = ("-", (0, (5, 1.8)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)))
MARKERS = ("o", "s", "^", "D")

HALF, FULL = 4.95, 10.3  # inches: one of two columns of the page, or both


@contextmanager
def look() -> Iterator[None]:
    """Draw and save in the house's style, whatever the caller's settings are."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context(fname=STYLE):
        warnings.simplefilter("ignore")  # a missing glyph or a tight layout ends no run
        yield


@contextmanager
def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    title: str,
    caption: str,
    width: float | None = None,
    height: float = 3.4,
    **options: Any,
) -> "Iterator[tuple[Figure, Any]]":
    """Give a figure in the house's style and its axes, an array of shape (rows, columns).

    Parameters
    ----------
    rows, columns
        Number of panels.
    title, caption
        What the page prints above and below the figure.
    width, height
        In inches. Default width: half the page for one column of panels, else the whole page.
    options
        For matplotlib's `Figure.subplots`: `sharex`, `sharey`, `width_ratios`, ...

    Examples
    --------
    `with plots.panels(1, 2, title="Works", caption="Work of a swap.") as (figure, axes):` and
    below it calls of matplotlib such as `axes[0, 0].plot(x, y)`; after it `yield "works", figure`.
    """
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(width or (HALF if columns == 1 else FULL), height))
        captioned(figure, title, caption)
        yield figure, figure.subplots(rows, columns, squeeze=False, **options)


@contextmanager
def tiles(
    count: int, *, side: float, extra: float = 0.3, **options: Any
) -> "Iterator[tuple[Figure, list[Any]]]":
    """Give a figure and `count` axes, at most three beside each other; `side`: height of one."""
    columns = max(min(count, 3), 1)
    rows = max(-(-count // columns), 1)
    with panels(rows, columns, height=extra + side * rows, **options) as (figure, axes):
        for axis in axes.flat[count:]:
            axis.remove()
        yield figure, list(axes.flat[:count])


def captioned(figure: "Figure", title: str, caption: str) -> "Figure":
    """Attach what the page prints above and below a figure."""
    vars(figure).update(pushforward_title=title, pushforward_caption=caption)
    return figure


def line_styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return `{label: {"color": ..., "linestyle": ...}}`: colour by role, dashes within a role."""
    labels = list(labels)
    found = {label: _role(label) for label in labels}
    free = [c for c in (BLUE, GREEN, ORANGE, RED, PURPLE, SKY) if c not in found.values()]
    others = [label for label in labels if found[label] is None]
    for i, label in enumerate(others):
        found[label] = (free or [PURPLE, SKY])[i % len(free or [PURPLE, SKY])]
    styles: dict[str, dict[str, Any]] = {}
    for label in labels:
        earlier = sum(style["color"] == found[label] for style in styles.values())
        dashes = DASHES[1] if found[label] == GREY else DASHES[earlier % len(DASHES)]
        styles[label] = {"color": found[label], "linestyle": dashes}
    return styles


def by_panel(data: Any) -> dict[str, Any]:
    """Return `{panel: {label: entry}}`; a plain `{label: entry}` is one panel without a name."""
    nested = bool(data) and all(hasattr(entry, "items") for entry in data.values())
    return dict(data) if nested else {"": dict(data)}


def labels_of(panelled: dict[str, Any]) -> list[str]:
    """Return the labels of all panels, each once: a label has one colour in a figure."""
    return list(dict.fromkeys(label for entries in panelled.values() for label in entries))


def weights_of(log_weight: Any) -> np.ndarray:
    """Return weights that sum to 1."""
    a = np.asarray(log_weight, dtype=float)
    weights = np.exp(a - a.max())
    return weights / weights.sum()


def drawn(x: Any, log_weight: Any, num: int) -> np.ndarray:
    """Return `num` samples drawn in proportion to their weights, the same ones every time."""
    weights = weights_of(log_weight)
    chosen = np.random.default_rng(0).choice(len(weights), num, p=weights)
    return np.asarray(x)[chosen]


def _role(label: str) -> str | None:
    return next((colour for role, colour in ROLES if re.search(rf"\b{role}", label.lower())), None)
