"""Maps with a log-determinant: bijections, couplings, gauge layers, multiscale flows."""

from .base import AbstractBijection as AbstractBijection
