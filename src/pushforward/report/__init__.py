"""Figures and the page of a run.

A run is worth what it can show: `write_report` turns the files of a run folder into one
self-contained page (verdict, numbers beside their expectations, figures, cost, how to repeat
it), `LiveReport` keeps that page up to date while the run goes on, and the drawing functions
turn arrays into figures fit for a paper. matplotlib is imported when something is drawn.
"""

from . import plots as plots
from .chains import against_exact as against_exact
from .chains import autocorrelation_functions as autocorrelation_functions
from .chains import chain_histories as chain_histories
from .chains import charge_histogram as charge_histogram
from .clouds import density_with_samples as density_with_samples
from .clouds import particles_at_times as particles_at_times
from .compare import compare as compare
from .compare import write_comparison as write_comparison
from .exchange import swap_rates as swap_rates
from .exchange import work_histograms as work_histograms
from .figures import along_time as along_time
from .figures import ess_against as ess_against
from .figures import evaluation_curves as evaluation_curves
from .figures import marginals as marginals
from .figures import mode_histogram as mode_histogram
from .figures import training_curves as training_curves
from .figures import weights_histogram as weights_histogram
from .lattices import configurations as configurations
from .lattices import observables_along as observables_along
from .live import LiveReport as LiveReport
from .notation import format_count as format_count
from .notation import format_seconds as format_seconds
from .notation import format_value as format_value
from .page import write_report as write_report
from .style import captioned as captioned
