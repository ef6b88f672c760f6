"""Things with a time: kernels that move weighted particles along a path, exact at any step size."""

from .base import AbstractKernel as AbstractKernel
from .base import AbstractProcess as AbstractProcess
from .base import AbstractStationary as AbstractStationary
from .base import AbstractTransition as AbstractTransition
from .base import AbstractTwoKernel as AbstractTwoKernel
from .base import Cost as Cost
from .base import State as State
from .base import no_weight as no_weight
from .base import park as park
from .base import reduce_particles as reduce_particles
from .compose import Compose as Compose
from .compose import compose as compose
from .langevin import ContinuousTime as ContinuousTime
from .langevin import Langevin as Langevin
from .langevin import TwoKernel as TwoKernel
from .march import Trajectory as Trajectory
from .march import march as march
from .rate import path_drift as path_drift
from .rate import transport_rate as transport_rate
from .transport import RK4 as RK4
from .transport import Euler as Euler
from .transport import Heun as Heun
from .transport import InverseTransport as InverseTransport
from .transport import RungeKutta as RungeKutta
from .transport import Transport as Transport
