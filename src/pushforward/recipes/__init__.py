"""Assemblies: one file a system, where a newcomer reads it in sixty lines."""

from .adaptive_mc import adaptive_mc as adaptive_mc
from .adaptive_mc import adaptive_process as adaptive_process
from .adaptive_mc import importance as importance
from .base import Recipe as Recipe
from .interpolant import finite_times as finite_times
from .interpolant import flow_process as flow_process
from .interpolant import interpolant as interpolant
from .interpolant import sde_process as sde_process
from .leaps import jump_process as jump_process
from .leaps import leaps as leaps
from .likelihood import LogLikelihood as LogLikelihood
from .likelihood import log_likelihood as log_likelihood
from .metal import metal_hmc as metal_hmc
from .nets import LocalStep as LocalStep
from .nets import Scaled as Scaled
from .nets import langevin_process as langevin_process
from .nets import nets as nets
from .nets import smc as smc
from .nets import transport_process as transport_process
from .sit import guided_process as guided_process
from .sit import sit as sit
from .tuning import Scales as Scales
from .tuning import length_scales as length_scales
from .tuning import tune_epsilon as tune_epsilon
