"""How a number is written: a value with its error in brackets, a duration, a count.

`0.52362(21)` is the physicist's form of 0.52362 ± 0.00021: the error is rounded to two digits
and the value to the same place. Nothing here raises: what is not a number is shown as it is,
because a report must be written even when its numbers went wrong.
"""

import math
import numbers
from decimal import Decimal
from typing import Any

DASH = "–"
FIXED = range(-4, 7)  # powers of ten written without an exponent


def number(value: Any) -> float | None:
    """Return `value` as a float ("nan" and "inf" included), or None if it is not a number."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def format_value(value: Any, error: Any = None) -> str:
    """Write a value with its standard error in brackets.

    Parameters
    ----------
    value
        A number, or a string that spells one. Anything else is returned as text.
    error
        Its standard error. None or 0 (an exact number) gives no bracket; an error that is
        itself not finite or negative is written `(nan)`, never hidden.

    Examples
    --------
    `format_value(0.523618, 0.00021)` is `0.52362(21)`, `format_value(1071.37, 2.1)` is
    `1071.4(2.1)`, `format_value(1071.37, 210)` is `1070(210)` and `format_value(-3.1e-7, 2e-9)`
    is `-3.100(20)e-7`.
    """
    v, e = number(value), number(error)
    if v is None or error is None or e == 0 or not math.isfinite(v):
        return format_number(value)
    if e is None or not math.isfinite(e) or e < 0:
        return f"{format_number(v)}({'inf' if e == math.inf else 'nan'})"
    if e < 1e-15 * abs(v):  # below the resolution of the value itself
        return _tidy(f"{v:.15g}")

    lead = _exponent(max(abs(v), e))
    shift = 0 if lead in FIXED else lead
    suffix = f"e{shift}" if shift else ""
    value_, error_ = (Decimal(repr(x)).scaleb(-shift) for x in (v, e))
    last = _exponent(e) - 1 - shift  # place of the error's second digit
    if last >= 0:
        rounded = [int(x.scaleb(-last).to_integral_value()) * 10**last for x in (value_, error_)]
        return f"{rounded[0]}({rounded[1]}){suffix}"
    value_, error_ = (x.quantize(Decimal(1).scaleb(last)) for x in (value_, error_))
    digits = error_ if error_ >= 1 else int(error_.scaleb(-last))
    return f"{abs(value_) if not value_ else value_:f}({digits}){suffix}"


def format_number(value: Any) -> str:
    """Write a number to six digits; integers in full, other things as text."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral) and abs(int(value)) < 10**15:
        return str(int(value))
    v = number(value)
    if v is None:
        return "a huge integer" if isinstance(value, int) else str(value)
    if isinstance(value, str) and math.isfinite(v):
        return value
    return _tidy(f"{v:.6g}")


def format_count(value: Any) -> str:
    """Write a count, from 10 000 on with narrow spaces between thousands: `300 000`."""
    v = number(value)
    if v is None or not math.isfinite(v) or v != int(v) or abs(v) >= 1e15:
        return format_number(value)
    if abs(v) < 10_000:
        return str(int(v))
    return f"{int(v):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def format_seconds(value: Any) -> str:
    """Write a duration: `0.84 s`, `12 s`, `2 min 50 s`, `3 h 12 min`, `2 d 4 h`."""
    v = number(value)
    if v is None or not math.isfinite(v) or v < 0:
        return format_number(value)
    if v < 10:
        return f"{v:.2g} s"
    seconds = round(v)
    for big, small, big_name, small_name in _DURATIONS:
        if seconds >= big:
            rest = seconds % big // small
            return f"{seconds // big} {big_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{seconds} s"


_DURATIONS = ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s"))


def _exponent(x: float) -> int:
    """Power of ten of `x` once rounded to two digits (9.96 counts as 10)."""
    return int(f"{x:.1e}".split("e")[1])


def _tidy(text: str) -> str:
    """Shorten the exponent: 1e-07 to 1e-7, 1e+06 to 1e6."""
    mantissa, e, exponent = text.partition("e")
    return mantissa + (f"e{int(exponent)}" if e else "")
