"""What the three U(1) experiments share: exact sums at their couplings, and names of rows."""

from typing import Any

import pushforward as pf


def sums(config: Any) -> list[Any]:
    """Return the exact answers at every coupling of a config with `beta` and `side`."""
    return [pf.targets.exact.gauge2d(pf.spaces.U1(), b, config.side**2) for b in config.beta]


def label(beta: float) -> str:
    """Return β = 2."""
    return f"β = {beta:g}"


def place(config: Any, beta: float) -> str:
    """Return (β = 2, L = 16)."""
    return f"({label(beta)}, L = {config.side})"
