"""Figures and the page of a run.

A run is worth what it can show: `write_report` turns a run folder into one self-contained page
(verdict, numbers beside their expectations, figures, cost, how to repeat it), `LiveReport` keeps
that page up to date while the run goes on, `compare` puts runs side by side, and the verbs of
`plots` turn arrays into figures fit for a paper. matplotlib is imported when something is drawn.
"""

from . import plots as plots
from .compare import compare as compare
from .compare import write_comparison as write_comparison
from .live import LiveReport as LiveReport
from .notation import format_count as format_count
from .notation import format_seconds as format_seconds
from .notation import format_value as format_value
from .page import write_report as write_report
