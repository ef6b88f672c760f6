"""Where training samples come from: sources live inside the chunk, feeds on the host."""

from .base import AbstractFeed as AbstractFeed
from .base import AbstractFreshSource as AbstractFreshSource
from .base import AbstractSource as AbstractSource
from .base import ArrayFeed as ArrayFeed
from .base import Arrays as Arrays
from .base import NoData as NoData
from .base import NoInfo as NoInfo
from .base import Pair as Pair
from .chain import RunningChains as RunningChains
from .pairs import Bundle as Bundle
from .pairs import Bundles as Bundles
from .pairs import Dequantise as Dequantise
from .pairs import IndependentPairs as IndependentPairs
from .pairs import MapPair as MapPair
from .pairs import MapPairs as MapPairs
from .pairs import PairSimulator as PairSimulator
from .rollout import Horizon as Horizon
from .rollout import Rollout as Rollout
from .rollout import WeightedPoint as WeightedPoint
