"""Things with a stationary law: kernels that leave e^{−U} invariant and carry no weight."""

from .hmc import HMC as HMC
from .hmc import Leapfrog as Leapfrog
from .hmc import Omelyan2 as Omelyan2
from .hmc import Splitting as Splitting
from .mass import AbstractMass as AbstractMass
from .mass import FourierMass as FourierMass
from .mass import IdentityMass as IdentityMass
from .metropolis import IndependenceMetropolis as IndependenceMetropolis
