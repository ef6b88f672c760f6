"""Things with a stationary law: kernels that leave e^{−U} invariant and carry no weight."""

from .adapt import DualAveraging as DualAveraging
from .adapt import DualAveragingState as DualAveragingState
from .bridges import AbstractBridge as AbstractBridge
from .bridges import Crossing as Crossing
from .bridges import FlowBridge as FlowBridge
from .bridges import IdentityBridge as IdentityBridge
from .bridges import PathBridge as PathBridge
from .bridges import Proposal as Proposal
from .bridges import backward_works as backward_works
from .bridges import forward_works as forward_works
from .bridges import propose_swap as propose_swap
from .exchange import ReplicaExchange as ReplicaExchange
from .hmc import HMC as HMC
from .hmc import Leapfrog as Leapfrog
from .hmc import Omelyan2 as Omelyan2
from .hmc import Splitting as Splitting
from .mass import AbstractMass as AbstractMass
from .mass import FourierMass as FourierMass
from .mass import IdentityMass as IdentityMass
from .metropolis import IndependenceMetropolis as IndependenceMetropolis
from .metropolis import accept_or_stay as accept_or_stay
from .refreshed import Refreshed as Refreshed
