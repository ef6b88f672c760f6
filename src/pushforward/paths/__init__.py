"""Which measures lie between base and target: annealings of energies, their schedules and grids."""

from .annealing import Annealing as Annealing
from .annealing import ParameterPath as ParameterPath
from .base import AbstractAnnealing as AbstractAnnealing
from .base import at_time as at_time
from .interpolants import AbstractInterpolant as AbstractInterpolant
from .mixture_path import MixturePath as MixturePath
from .mixture_path import MixtureVariance as MixtureVariance
from .times import AbstractSchedule as AbstractSchedule
from .times import ExponentialWarp as ExponentialWarp
from .times import Identity as Identity
from .times import Interpolated as Interpolated
from .times import LocalVariance as LocalVariance
from .times import check_times as check_times
from .times import power_times as power_times
from .times import uniform_times as uniform_times
