"""Fields of a Module that refuse a number outside their range, when the Module is made.

```python
class HMC(eqx.Module):
    step_size: Scalar = positive(of_time=True, example=0.1)
    num_copies: int = integer(least=1)
```

`HMC(step_size=-1.0)` raises `InputError`: "step_size is -1.0, expected a positive number: write
step_size=0.1". Numbers become strong arrays (`scalar`); of an array, every entry must lie in the
range, and NaN never does. A traced value has no number yet and passes. `None` passes where it is
the default; a function of time passes where `of_time=True`. `hint` replaces the words after the
colon, `converter` turns the value into the array that is checked (name it, `scalar` or another,
and type checkers know that numbers may be given); all other arguments go to `equinox.field`.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._errors import InputError
from ._tree import concrete, scalar


class Range(NamedTuple):
    """What a field accepts: a test of an array's entries, its words, and a value that passes."""

    holds: Callable[[np.ndarray], Any]
    expected: str
    example: Any


def checked(
    *,
    holds: Callable[[np.ndarray], Any],
    expected: str,
    example: Any,
    hint: str | None = None,
    of_time: bool = False,
    converter: Callable[[Any], Any] = scalar,
    **options: Any,
) -> Any:
    """Make a field whose entries satisfy `holds`; `expected` says so in words."""

    def convert(value: Any) -> Any:
        optional = value is None and options.get("default", 0) is None
        if optional or (of_time and callable(value)):
            return value
        array = converter(value)
        known = concrete(array)
        if known is not None and (bad := known[~np.asarray(holds(known))]).size:
            advice = hint or f"write {made.name}={example}"
            raise InputError(f"{made.name} is {bad.flat[0]}, expected {expected}: {advice}")
        return array

    metadata = {"range": Range(holds, expected, example)}
    made = eqx.field(converter=convert, metadata=metadata, **options)
    return made


def positive(*, example: Any = 1.0, **options: Any) -> Any:
    """Make a field of numbers > 0."""
    words = "a positive number"
    return checked(holds=lambda x: x > 0, expected=words, example=example, **options)


def non_negative(*, example: Any = 1.0, **options: Any) -> Any:
    """Make a field of numbers >= 0."""
    words = "a number >= 0"
    return checked(holds=lambda x: x >= 0, expected=words, example=example, **options)


def finite(*, example: Any = 1.0, **options: Any) -> Any:
    """Make a field of finite numbers."""
    words = "a finite number"
    return checked(holds=np.isfinite, expected=words, example=example, **options)


def in_unit_interval(*, example: Any = 0.5, **options: Any) -> Any:
    """Make a field of numbers in [0, 1]."""
    words = "a number in [0, 1]"
    return checked(holds=lambda x: (0 <= x) & (x <= 1), expected=words, example=example, **options)


def integer(*, least: int, **options: Any) -> Any:
    """Make a static field of one integer >= `least`, part of the program."""
    options = {"example": least, "converter": _index, "static": True} | options
    return checked(holds=_at_least(least), expected=f"an integer >= {least}", **options)


def count(*, least: int, **options: Any) -> Any:
    """Make a field of integers >= `least` as int32 arrays: a new value compiles nothing."""
    options = {"example": least, "converter": int32} | options
    return checked(holds=_at_least(least), expected=f"an integer >= {least}", **options)


def int32(n: Any) -> Any:
    """Return integers as an int32 array, anything else as it is: `count` refuses it."""
    whole = jnp.issubdtype(jnp.result_type(n), jnp.integer)
    return jnp.asarray(n, jnp.int32) if whole else n


def _index(n: Any) -> Any:
    return operator.index(n) if isinstance(n, SupportsIndex) else n


def _at_least(least: int) -> Callable[[np.ndarray], Any]:
    return lambda n: np.issubdtype(n.dtype, np.integer) and n >= least
