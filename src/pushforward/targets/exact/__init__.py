"""Exact answers: closed forms, quadrature and transfer matrices, in NumPy and float64.

What a sampler is tested against. Nothing here is fast or general; everything is right to the
digits printed.
"""

from .drift_1d import drift_1d as drift_1d
from .enumeration import Enumeration as Enumeration
from .enumeration import enumerate_states as enumerate_states
from .gauge2d import Gauge2D as Gauge2D
from .gauge2d import gauge2d as gauge2d
from .kaufman import kaufman_energy as kaufman_energy
from .kaufman import kaufman_heat_capacity as kaufman_heat_capacity
from .kaufman import kaufman_log_z as kaufman_log_z
from .metal import FreeMetal as FreeMetal
from .metal import OneSite as OneSite
from .metal import boson_modes as boson_modes
from .metal import free_metal as free_metal
from .metal import one_site_transfer as one_site_transfer
from .mixtures import mixture_mean as mixture_mean
from .mixtures import mixture_second_moment as mixture_second_moment
from .phi4 import free_field_log_z as free_field_log_z
from .phi4 import free_field_phi2 as free_field_phi2
from .phi4 import ring_log_z as ring_log_z
from .phi4 import ring_phi2 as ring_phi2
from .phi4 import torus_log_z as torus_log_z
from .phi4 import torus_phi2 as torus_phi2
from .wells import well_log_z as well_log_z
from .wells import well_mean as well_mean
