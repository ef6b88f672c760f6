"""Systems to forecast, as kernels: one step is one lag, and the exact law of it is known."""

from .jump_diffusion import JumpDiffusion as JumpDiffusion
from .ornstein_uhlenbeck import OrnsteinUhlenbeck as OrnsteinUhlenbeck
