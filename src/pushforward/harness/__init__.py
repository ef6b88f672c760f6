"""What turns an experiment, one file, into a run: configuration, lab, verdicts, record.

The names here are those an experiment needs; they load neither JAX nor NumPy, so that a mistyped
key is answered at once. `harness.lab` holds what `run` and `figures` are handed, `harness.record`
executes and resumes.
"""

from .._estimate import Estimate as Estimate
from .config import Config as Config
from .config import Couplings as Couplings
from .config import Fit as Fit
from .config import Group as Group
from .config import key as key
from .expected import GOAL as GOAL
from .expected import Expected as Expected
from .expected import at_least as at_least
from .expected import at_most as at_most
from .expected import exact as exact
from .expected import measured as measured
from .expected import paper as paper
from .expected import relative as relative
from .expected import within as within
