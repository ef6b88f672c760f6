"""What the three U(1) experiments share: couplings, exact sums at them, and names of rows."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

import pushforward as pf


def _distinct(beta: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(map(label, beta))) < len(beta):
        raise ValueError(f"couplings must be distinct, for rows are named after them: {list(beta)}")
    return beta


Couplings = Annotated[tuple[Annotated[float, Field(gt=0, le=1e4)], ...], AfterValidator(_distinct)]


def sums(config: Any) -> list[Any]:
    """Return the exact answers at every coupling of a config with `beta` and `side`."""
    return [pf.targets.exact.gauge2d(pf.spaces.U1(), b, config.side**2) for b in config.beta]


def label(beta: float) -> str:
    """Return β = 2."""
    return f"β = {beta:g}"


def place(config: Any, beta: float) -> str:
    """Return (β = 2, L = 16)."""
    return f"({label(beta)}, L = {config.side})"
