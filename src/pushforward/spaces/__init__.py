"""Where a sample lives: reference measures, and on manifolds noise, exponential map, divergence."""

from .base import AbstractManifold as AbstractManifold
from .base import AbstractSpace as AbstractSpace
from .base import as_manifold as as_manifold
from .base import extents as extents
from .bijection import AbstractBijection as AbstractBijection
from .euclidean import Euclidean as Euclidean
from .finite import AbstractFiniteSpace as AbstractFiniteSpace
from .finite import Spins as Spins
from .finite import all_states as all_states
from .finite import count_states as count_states
from .groups import U1 as U1
from .groups import AbstractGroup as AbstractGroup
from .groups import wrap as wrap
from .lattice import Lattice as Lattice
from .lattice import LinkSpace as LinkSpace
from .power import Power as Power
from .unitary import SU2 as SU2
from .unitary import SUN as SUN
from .unitary import AbstractMatrixGroup as AbstractMatrixGroup
from .unitary import gell_mann as gell_mann
