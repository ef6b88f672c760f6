"""Moves probability measures: learned transport with exact weights (see README)."""

__version__ = "0.1.0"
