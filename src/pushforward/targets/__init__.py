"""What we want: energies U = −log density + const, with exact answers where they exist."""

from .base import AbstractDistribution as AbstractDistribution
from .base import AbstractEnergy as AbstractEnergy
from .base import AbstractLocalEnergy as AbstractLocalEnergy
from .base import Energy as Energy
from .base import check_energy as check_energy
from .base import energy_and_gradient as energy_and_gradient
from .base import energy_difference as energy_difference
from .base import energy_terms as energy_terms
from .base import from_log_density as from_log_density
from .base import mix as mix
from .funnel import Funnel as Funnel
from .gaussian import Normal as Normal
from .gaussian import StudentT as StudentT
from .manywell import DoubleWell as DoubleWell
from .manywell import ManyWell as ManyWell
from .mixtures import Mixture as Mixture
from .mixtures import gaussian_mixture as gaussian_mixture
from .mixtures import gmm40 as gmm40
from .mixtures import mt_uniform as mt_uniform
from .mixtures import student_mixture as student_mixture
from .phi4 import FreeField as FreeField
from .phi4 import Phi4 as Phi4
from .phi4 import lattice_laplacian as lattice_laplacian
