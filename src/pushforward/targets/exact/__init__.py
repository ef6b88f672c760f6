"""Exact answers: closed forms, quadrature and transfer matrices, in NumPy and float64.

What a sampler is judged by. Nothing here is fast or general; everything is right to the digits
printed. References that only the tests read are in `tests/oracles/`.
"""

from .enumeration import Enumeration as Enumeration
from .enumeration import enumerate_states as enumerate_states
from .gauge2d import Gauge2D as Gauge2D
from .gauge2d import gauge2d as gauge2d
from .kaufman import kaufman_energy as kaufman_energy
from .kaufman import kaufman_heat_capacity as kaufman_heat_capacity
from .kaufman import kaufman_log_z as kaufman_log_z
from .metal import OneSite as OneSite
from .metal import one_site_transfer as one_site_transfer
from .wells import well_log_z as well_log_z
from .wells import well_mean as well_mean
