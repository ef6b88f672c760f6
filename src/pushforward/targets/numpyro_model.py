"""Posteriors of NumPyro models as energies on R^n (extra `numpyro`, imported where it is used).

NumPyro writes the joint density of a model in free coordinates, Jacobians included, so log Z of the
energy is the model's log evidence.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from pushforward._errors import InputError, missing_extra
from pushforward._typing import Array, Float, Scalar
from pushforward.spaces import Euclidean

from .base import AbstractEnergy
from .functions import check_energy


class NumPyroEnergy(AbstractEnergy):
    """U(x) = −log p(data, f(x)) − log|det ∂f/∂x| of a NumPyro model; made by `from_numpyro`.

    `fn` is the energy of one vector of free coordinates, `sites` maps it to the named sites.
    """

    fn: Callable[[Array], Scalar]
    sites: Callable[[Array], dict[str, Any]]
    space: Euclidean

    def __call__(self, x: Float[Array, " n"]) -> Scalar:
        return self.fn(x)

    def constrain(self, x: Float[Array, " n"]) -> dict[str, Any]:
        """Return the named sites of ONE sample, deterministic ones included."""
        return self.sites(x)


def from_numpyro(model: Callable, *args: Any, **kwargs: Any) -> NumPyroEnergy:
    """Make the energy of a NumPyro model, called as `model(*args, **kwargs)` with its data.

    Latent sites must be continuous; the coordinates are those sites in NumPyro's free
    coordinates, ravelled in the order of their names. The energy is checked at eight points.
    """
    try:
        from numpyro.handlers import seed, trace
        from numpyro.infer.util import initialize_model
    except ImportError as error:
        raise missing_extra("from_numpyro", "numpyro", "numpyro") from error
    key = jax.random.key(0)
    sites = trace(seed(model, key)).get_trace(*args, **kwargs).values()
    latent = [s for s in sites if s["type"] == "sample" and not s["is_observed"]]
    discrete = [s["name"] for s in latent if s["fn"].support.is_discrete]
    if discrete or not latent:
        what = f"the discrete sites {discrete}" if discrete else "no latent site"
        raise InputError(
            f"the model has {what}: expected continuous latent sites only (sum discrete ones out, "
            "and give the data as obs=)"
        )
    info = initialize_model(key, model, model_args=args, model_kwargs=kwargs, validate_grad=False)
    flat, unravel = ravel_pytree(info.param_info.z)
    energy = NumPyroEnergy(
        fn=lambda x: info.potential_fn(unravel(x)),
        sites=lambda x: info.postprocess_fn(unravel(x)),
        space=Euclidean(flat.size),
    )
    check_energy(energy)
    return energy
