"""The world's files: readers return plain arrays, writers take them.

Nothing read here is ever run or unpickled: a file is names and numbers, and what cannot be
checked is refused with the name of the file. Every write is whole or absent (`durable`).
"""

from .arrays import series_rows as series_rows
from .arrays import write_csv as write_csv
from .arrays import write_netcdf as write_netcdf
from .arrays import write_npz as write_npz
from .arviz import to_arviz as to_arviz
from .digits import Digits as Digits
from .digits import read_digits as read_digits
from .digits import split_digits as split_digits
from .model import load as load
from .model import read_metadata as read_metadata
from .model import save as save
from .safetensors import read_safetensors as read_safetensors
from .safetensors import write_safetensors as write_safetensors
from .sit import read_sit as read_sit
from .sit import sit_arrays as sit_arrays
from .sit import sit_from_arrays as sit_from_arrays
from .sit import write_sit as write_sit
