"""Numbers from a run, with their errors: weights of walkers, autocorrelation of chains.

Weights and resampling run inside chunks and are JAX functions of one population; the analysis of
chains runs on the host, in NumPy float64, on arrays of shape (draws, chains), as `record` has
them. A collapsed weight, a frozen series or a chain that is too short raises or warns with the
number that shows it; `chain_findings` and `weight_findings` return the same as sentences.
"""

from .._estimate import Estimate as Estimate
from .adaptive_times import AdaptiveTimes as AdaptiveTimes
from .adaptive_times import conditional_ess as conditional_ess
from .adaptive_times import next_time as next_time
from .autocorrelation import ChainMean as ChainMean
from .autocorrelation import Events as Events
from .autocorrelation import autocovariance as autocovariance
from .autocorrelation import count_events as count_events
from .autocorrelation import derived as derived
from .autocorrelation import gamma_method as gamma_method
from .diagnostics import ess_bulk as ess_bulk
from .diagnostics import ess_mean as ess_mean
from .diagnostics import ess_tail as ess_tail
from .diagnostics import mcse as mcse
from .diagnostics import rhat as rhat
from .diagnostics import rhat_split as rhat_split
from .exchange import SwapRates as SwapRates
from .exchange import acceptance_prediction as acceptance_prediction
from .exchange import bar as bar
from .exchange import jarzynski as jarzynski
from .exchange import swap_rates as swap_rates
from .findings import Finding as Finding
from .findings import chain_findings as chain_findings
from .findings import pareto_k as pareto_k
from .findings import weight_findings as weight_findings
from .forecasts import biased_crps as biased_crps
from .forecasts import counts_kl as counts_kl
from .forecasts import fair_crps as fair_crps
from .forecasts import fair_energy_score as fair_energy_score
from .forecasts import sector as sector
from .forecasts import sector_counts as sector_counts
from .forecasts import sector_masses as sector_masses
from .gauge import mean_plaquette as mean_plaquette
from .gauge import topological_charge as topological_charge
from .jackknife import Resampled as Resampled
from .jackknife import jackknife as jackknife
from .jackknife import stationary_bootstrap as stationary_bootstrap
from .modes import coverage as coverage
from .modes import mode_weights as mode_weights
from .modes import multinomial_floor as multinomial_floor
from .modes import total_variation as total_variation
from .moments import Moments as Moments
from .quenched import QuenchedEstimate as QuenchedEstimate
from .quenched import quenched as quenched
from .resampling import AbstractResampling as AbstractResampling
from .resampling import Multinomial as Multinomial
from .resampling import Never as Never
from .resampling import Stratified as Stratified
from .resampling import Systematic as Systematic
from .resampling import reset as reset
from .wasserstein import sliced_w2 as sliced_w2
from .wasserstein import w2 as w2
from .wasserstein import w2_line as w2_line
from .weights import elbo as elbo
from .weights import ess as ess
from .weights import eubo as eubo
from .weights import largest_weight as largest_weight
from .weights import log_z as log_z
from .weights import log_z_error as log_z_error
from .weights import log_z_populations as log_z_populations
from .weights import mean as mean
from .weights import normalised_weights as normalised_weights
from .weights import path_kl as path_kl
from .weights import require_walkers as require_walkers
from .weights import signed_log_z as signed_log_z
from .weights import signed_mean as signed_mean
