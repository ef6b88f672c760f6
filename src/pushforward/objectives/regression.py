r"""Regression of a drift along an interpolant: E |model(t, I_t) − target|².

The minimiser over all functions of (t, I_t) is E[target | I_t]: the velocity of the path, or by
another prediction its noise, score or data. The source draws `Pair(t, x0, x1, context)`, the
objective only z and the dropped labels. Where the drift of a path depends on more than
(t, x), as from a point mass, `path.known(x0)` is what else the model is given.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._typing import PRNGKey, Scalar, Time
from ..networks.guidance import LabelDropout
from ..paths.affine import AbstractAffine
from ..paths.base import AbstractInterpolant
from ..paths.decoding import AbstractPrediction, Velocity
from .base import AbstractObjective


class AbstractWeighting(eqx.Module):
    """A weight W(t) of the squared residual."""

    @abstractmethod
    def __call__(self, path: Any, t: Time) -> Scalar:
        """Return W(t)."""


class Unweighted(AbstractWeighting):
    """W = 1."""

    def __call__(self, path: Any, t: Time) -> Scalar:
        return jnp.ones_like(t)


class VelocityWeight(AbstractWeighting):
    """W = (Δ/β)²: with it the noise and score losses ARE the velocity loss (SiT's "velocity")."""

    def __call__(self, path: Any, t: Time) -> Scalar:
        return 1 / path.inverse_coefficients(t).beta_over_delta ** 2


class LikelihoodWeight(AbstractWeighting):
    """W = Δ/(αβ): the bound on the log likelihood of the score SDE (SiT's "likelihood")."""

    def __call__(self, path: Any, t: Time) -> Scalar:
        return 1 / (path.alpha(t) * path.inverse_coefficients(t).beta_over_delta)


class Regression(AbstractObjective):
    r"""W(t) · mean over components of |residual|², the residual that of the prediction.

    Parameters
    ----------
    path
        The interpolant; the model is called `model(t, x, *path.known(x0), context=, key=)`.
    prediction
        What the output means; `Velocity()` (default) serves any interpolant, `Noise()`,
        `Score()` and `Data()` affine ones.
    weighting
        `Unweighted()`, or `VelocityWeight()`, `LikelihoodWeight()` for noise and scores.
    dropout
        `LabelDropout(null, .1)` for models that will be guided, or None.

    References
    ----------
    Albergo, Boffi and Vanden-Eijnden 2023 (arXiv 2303.08797), section 2; Ma et al. 2024
    (arXiv 2401.08740), eqs. 6-10.
    """

    references: ClassVar[tuple[str, ...]] = ("interpolants2023", "sit")
    path: AbstractInterpolant
    prediction: AbstractPrediction = Velocity()
    weighting: AbstractWeighting = Unweighted()
    dropout: LabelDropout | None = None

    def __check_init__(self):
        plain = isinstance(self.prediction, Velocity) and isinstance(self.weighting, Unweighted)
        if not plain and not isinstance(self.path, AbstractAffine):
            raise InputError(
                f"{type(self.prediction).__name__} with {type(self.weighting).__name__} along "
                f"{type(self.path).__name__}: only affine paths have noise, score and weights; "
                "write Regression(path)"
            )

    def __call__(self, model: PyTree, sample: PyTree, *, key: PRNGKey):
        t, x0, x1, context = sample.t, sample.x0, sample.x1, sample.context
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        z = jax.random.normal(keys[0], x1.shape, x1.dtype)
        if self.dropout is not None:
            context = self.dropout(context, key=keys[1])
        x = self.path.state(t, x0, x1, z)
        raw = model(t, x, *self.path.known(x0), context=context, key=keys[2])
        if raw.shape != x.shape:
            raise InputError(
                f"the model returned {raw.shape} for a sample of shape {x.shape}: expected the "
                "same shape, one sample in and one out"
            )
        residual = self.prediction.residual(self.path, t, x0, x1, z, raw)
        square = jnp.mean(residual**2)
        return self.weighting(self.path, t) * square, {"square": square}
