"""Which defect is squared: objectives of one sample; `fit` averages them over the batch."""

from .base import AbstractObjective as AbstractObjective
from .continuity import Continuity as Continuity
from .continuity import ContinuityVariance as ContinuityVariance
from .continuity import Exact as Exact
from .continuity import Hutchinson as Hutchinson
from .regression import AbstractWeighting as AbstractWeighting
from .regression import LikelihoodWeight as LikelihoodWeight
from .regression import Regression as Regression
from .regression import Unweighted as Unweighted
from .regression import VelocityWeight as VelocityWeight
