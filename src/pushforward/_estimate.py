"""`Estimate`: a number with its standard error, the same class in every room.

It is written without JAX and NumPy, so that an experiment can name it before they are loaded.
"""

import math
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; `value, error = estimate` unpacks both.

    Attributes
    ----------
    value
        A number (kept as a plain float), or arrays: the mean of a vector observable.
    error
        One standard error, of the shape of the value. None: no error can be given.
    unit
        Written behind the number.
    """

    value: Any
    error: Any = None
    unit: str = ""

    def __post_init__(self):
        object.__setattr__(self, "value", _plain(self.value))
        object.__setattr__(self, "error", _plain(self.error))

    def __iter__(self):
        return iter((self.value, self.error))

    def z(self, expected: Any) -> Any:
        """Return (value − expected)/error, or None without a finite, positive error."""
        if self.error is None or (isinstance(self.error, float) and not 0 < self.error < math.inf):
            return None
        return (self.value - expected) / self.error

    def __str__(self) -> str:
        return f"{_written(self.value, self.error)} {self.unit}".rstrip()


def _plain(value: Any) -> Any:
    """Return anything that is one real number as a float, arrays and trees as they are."""
    if value is None or getattr(value, "shape", ()) != ():
        return value
    try:
        return float(value)
    except TypeError:
        return value


def _written(value: Any, error: Any) -> str:
    """Write 1.2346 ± .0012: both to the place of the error's second digit."""
    if not isinstance(value, float):
        return f"{value}" + ("" if error is None else f" ± {error}")
    if error is None:
        return f"{value:.6g}"
    usual = math.isfinite(value) and 1e-7 < error < 1e7 and abs(value) < 1e12 * error
    if not usual:
        return f"{value:.6g} ± {error:.2g}"
    place = 1 - int(f"{error:.1e}".split("e")[1])
    digits = max(place, 0)
    text = f"{round(value, place):.{digits}f} ± {round(error, place):.{digits}f}"
    return re.sub(r"(?<!\d)0\.", ".", text)
