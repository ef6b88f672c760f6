"""One look for every figure: the style file, a fixed colour for each role, captions.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; lines that
share a role differ by their dashes as well. Exact values are black, a paper's values dashed grey.
matplotlib is imported when something is drawn, and only through its object interface: no global
state is touched.
"""

import functools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")

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

    with warnings.catch_warnings(), matplotlib.rc_context(fname=_STYLE):
        warnings.simplefilter("ignore")  # a missing glyph or a tight layout ends no run
        yield


_STYLE = Path(__file__).with_name("pushforward.mplstyle")


def styled(draw: "Callable[P, Figure]") -> "Callable[P, Figure]":
    """Make a drawing function use the style file."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> "Figure":
        with look():
            return draw(*args, **kwargs)

    return drawn


def panels(
    rows: int = 1, columns: int = 1, *, width: float, height: float, **options: Any
) -> "tuple[Figure, Any]":
    """Return a new figure and its axes, a NumPy array of shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


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


def markers(styles: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return a marker per label, so that points of one colour can be told apart."""
    return {label: MARKERS[i % len(MARKERS)] for i, label in enumerate(styles)}


def _role(label: str) -> str | None:
    return next((colour for role, colour in ROLES if re.search(rf"\b{role}", label.lower())), None)
