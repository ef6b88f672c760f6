"""Small laws with a density and samples, on which transports are judged."""

import numpy as np

from pushforward._tree import scalar

from .conditionals import Gaussians


def asymmetric_mixture() -> Gaussians:
    """Return three Gaussians in the plane without any symmetry.

    Weights (.2, .3, .5), means (−2, 0), (1.5, 1.5), (.5, −2), covariances [[.3, .1], [.1, .1]],
    .05·1, [[.4, −.15], [−.15, .2]]. Exact: mean (.3, −.55), covariance [[1.785, .285], [.285,
    2.5075]], E[−log p] = 1.8629379501 (quadrature).
    """
    weights = np.array([0.2, 0.3, 0.5])
    means = np.array([[-2.0, 0.0], [1.5, 1.5], [0.5, -2.0]])
    covariances = np.array(
        [[[0.3, 0.1], [0.1, 0.1]], [[0.05, 0.0], [0.0, 0.05]], [[0.4, -0.15], [-0.15, 0.2]]]
    )
    variances, axes = np.linalg.eigh(covariances)
    return Gaussians(scalar(np.log(weights)), scalar(means), scalar(variances), scalar(axes))
