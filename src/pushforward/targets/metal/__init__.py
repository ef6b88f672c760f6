"""The strange metal: electrons in two bands, an order-parameter field, quenched disorder."""

from .boson import BosonAction as BosonAction
from .dense import DenseAction as DenseAction
from .dense import block_log_det as block_log_det
from .dense import green as green
from .dense import log_det as log_det
from .disorder import AbstractDisorder as AbstractDisorder
from .disorder import GaussianDisorder as GaussianDisorder
from .disorder import disorder_samples as disorder_samples
from .model import DisorderFields as DisorderFields
from .model import SpinFermion as SpinFermion
from .pseudofermion import GivenPseudofermions as GivenPseudofermions
from .pseudofermion import PseudofermionAction as PseudofermionAction
