"""The two verbs, `fit` and `simulate`: the only loops over steps, particles, chains and rungs."""

from .advance import compilations as compilations
from .ema import EMA as EMA
from .fit import fit as fit
from .guard import SkipNonFinite as SkipNonFinite
from .guard import StopAtNonFinite as StopAtNonFinite
from .history import History as History
from .records import Keep as Keep
from .records import OfState as OfState
from .samples import Samples as Samples
from .simulate import simulate as simulate
from .watchers import AbstractWatcher as AbstractWatcher
from .watchers import Jsonl as Jsonl
from .watchers import Progress as Progress
from .watchers import RunStatus as RunStatus
