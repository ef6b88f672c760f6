"""Function approximators: `net(t, x, ...)` of one sample, zero at the start of training.

Drifts of samplers get one more positional argument, the gradient ∇U_t(x) that the process has
anyway; those that ignore it drop it.
"""

from .flow_map import AbstractFlowMap as AbstractFlowMap
from .flow_map import FlowMap as FlowMap
from .flow_map import TiedFlowMap as TiedFlowMap
from .flow_map import TwoTimeMLP as TwoTimeMLP
from .guidance import Guided as Guided
from .guidance import LabelDropout as LabelDropout
from .locally_equivariant import LocallyEquivariantConv as LocallyEquivariantConv
from .mlp import DriftAndFreeEnergy as DriftAndFreeEnergy
from .mlp import DriftMLP as DriftMLP
from .mlp import FreeEnergy as FreeEnergy
from .mlp import PointMLP as PointMLP
from .mlp import RandomFourier as RandomFourier
from .mlp import Zero as Zero
from .mlp import is_zero as is_zero
from .precondition import ScoreCut as ScoreCut
from .precondition import ScoreSkip as ScoreSkip
from .sit import SIT_SIZES as SIT_SIZES
from .sit import SiT as SiT
from .sit import Size as Size
