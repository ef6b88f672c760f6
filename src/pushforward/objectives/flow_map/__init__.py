"""Objectives of two-time flow maps, one file a family; `dynamics.map_defects` has the defects."""

from .base import AbstractMapObjective as AbstractMapObjective
from .base import AbstractStop as AbstractStop
from .base import StopNothing as StopNothing
from .base import StopTarget as StopTarget
from .diagonal import AbstractCombination as AbstractCombination
from .diagonal import CountWeights as CountWeights
from .diagonal import Diagonal as Diagonal
from .diagonal import EqualWeights as EqualWeights
from .diagonal import WithDiagonal as WithDiagonal
from .direct import FMM as FMM
from .lagrangian import LMD as LMD
from .lagrangian import LSD as LSD
from .semigroup import PSD as PSD
from .semigroup import AbstractFraction as AbstractFraction
from .semigroup import Half as Half
from .semigroup import UniformFraction as UniformFraction
