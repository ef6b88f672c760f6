"""Maps with a log-determinant: bijections, couplings, gauge layers, multiscale flows."""

from ..spaces import AbstractBijection as AbstractBijection
from .bijections import Chain as Chain
from .bijections import Invert as Invert
from .conditionals import CharacterConditional as CharacterConditional
from .conditionals import MatchedConditional as MatchedConditional
from .conditionals import matched_coupling as matched_coupling
from .exact_maps import GaussianFlowMap as GaussianFlowMap
from .exact_maps import ProductFlowMap as ProductFlowMap
from .exact_maps import QuantileFlowMap as QuantileFlowMap
from .flowjax import FromFlowjax as FromFlowjax
from .flowjax import spline_couplings as spline_couplings
from .gauge_layers import ResidualLayer as ResidualLayer
from .gauge_layers import residual_flow as residual_flow
from .inverse import AbstractInverse as AbstractInverse
from .inverse import FixedPoint as FixedPoint
from .inverse import Newton as Newton
from .inverse import Solution as Solution
from .inverse import inverse_with_log_det as inverse_with_log_det
from .inverse import with_log_det as with_log_det
from .map_bijection import MapBijection as MapBijection
from .multiscale import AbstractLinkConditional as AbstractLinkConditional
from .multiscale import DoublingLayer as DoublingLayer
from .multiscale import MultiscaleFlow as MultiscaleFlow
from .pushforward import AbstractFlow as AbstractFlow
from .pushforward import Pushforward as Pushforward
from .pushforward import sample_with_energy as sample_with_energy
