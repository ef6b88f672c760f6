"""Where a sample lives: reference measures, and on manifolds noise, exponential map, divergence."""

from .base import AbstractManifold as AbstractManifold
from .base import AbstractSpace as AbstractSpace
from .euclidean import Euclidean as Euclidean
