"""Function approximators: `net(t, x, ...)` of one sample, zero at the start of training.

Drifts of samplers get one more positional argument, the gradient ∇U_t(x) that the process has
anyway; those that ignore it drop it.
"""

from .guidance import Guided as Guided
from .guidance import LabelDropout as LabelDropout
from .mlp import DriftMLP as DriftMLP
from .mlp import FreeEnergy as FreeEnergy
from .mlp import RandomFourier as RandomFourier
from .precondition import ScoreCut as ScoreCut
from .precondition import ScoreSkip as ScoreSkip
from .sampler import Sampler as Sampler
from .zero import Zero as Zero
