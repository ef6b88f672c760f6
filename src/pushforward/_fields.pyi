# A type checker knows a field of a Module only by equinox's own function.
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from equinox import field

class Range(NamedTuple):
    holds: Callable[[np.ndarray], Any]
    expected: str
    example: Any

checked = field
positive = field
non_negative = field
finite = field
in_unit_interval = field
integer = field
count = field

def int32(n: Any) -> Any: ...
