"""The names of the first edition, until the experiments draw with `plots`."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from .plots.style import BLACK as BLACK
from .plots.style import BLUE as BLUE
from .plots.style import DASHES as DASHES
from .plots.style import FULL as FULL
from .plots.style import GREEN as GREEN
from .plots.style import GREY as GREY
from .plots.style import HALF as HALF
from .plots.style import MARKERS as MARKERS
from .plots.style import ORANGE as ORANGE
from .plots.style import PURPLE as PURPLE
from .plots.style import RED as RED
from .plots.style import captioned as captioned
from .plots.style import line_styles as line_styles
from .plots.style import look as look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")


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


def markers(styles: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return a marker per label, so that points of one colour can be told apart."""
    return {label: MARKERS[i % len(MARKERS)] for i, label in enumerate(styles)}
