"""Reading what a run brought home: weights of walkers, autocorrelation of chains, honest errors.

Weights and resampling run inside chunks and are JAX functions of one population; the analysis of
chains runs on the host, in NumPy float64, on arrays of shape (chains, draws). All of them refuse
to lie: a collapsed weight, a frozen series or a chain that is too short raises or warns with the
number that shows it.
"""

from .adaptive_times import AdaptiveTimes as AdaptiveTimes
from .adaptive_times import conditional_ess as conditional_ess
from .adaptive_times import next_time as next_time
from .resampling import AbstractResampling as AbstractResampling
from .resampling import Multinomial as Multinomial
from .resampling import Never as Never
from .resampling import Stratified as Stratified
from .resampling import Systematic as Systematic
from .resampling import reset as reset
from .weights import elbo as elbo
from .weights import ess as ess
from .weights import eubo as eubo
from .weights import largest_weight as largest_weight
from .weights import log_z as log_z
from .weights import log_z_error as log_z_error
from .weights import log_z_populations as log_z_populations
from .weights import mean as mean
from .weights import path_kl as path_kl
from .weights import require_walkers as require_walkers
