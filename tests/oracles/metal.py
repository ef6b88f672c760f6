"""The spin-fermion model without coupling (spectrum of K + v), and without electrons at u = 0."""

from typing import NamedTuple

import numpy as np

from pushforward.targets.metal.model import SpinFermion, static_boson_matrix


class FreeMetal(NamedTuple):
    """No coupling, per site: log det of all, electrons, ⟨H⟩, and ⟨−K_x⟩, ⟨−K_y⟩ of hopping."""

    log_det: float
    density: float
    energy: float
    kinetic: tuple[float, float]


def free_metal(model: SpinFermion) -> FreeMetal:
    """Return the exact answers of electrons in the model's potential, its coupling ignored."""
    beta = float(model.dtau) * model.num_slices
    hop, sites = _hopping_matrices(model), model.num_sites
    chemical = np.asarray(model.chemical_potential, np.float64)
    log_det = density = energy = 0.0
    kinetic = np.zeros(2)
    for band in range(2):
        static = np.asarray(model.potential, np.float64)[band].reshape(-1) - chemical[band]
        levels, states = np.linalg.eigh(hop[band].sum(0) + np.diag(static))
        filling = 0.5 * (1 - np.tanh(beta * levels / 2))
        occupied = (states * filling) @ states.T
        log_det += 2 * np.logaddexp(0, -beta * levels).sum()
        density += 2 * filling.sum() / sites
        energy += 2 * (filling * levels).sum() / sites
        kinetic += [-2 * np.sum(h * occupied) / sites for h in hop[band]]
    return FreeMetal(log_det, density, energy, (float(kinetic[0]), float(kinetic[1])))


def boson_modes(model: SpinFermion) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues e_a, ascending, and eigenvectors (columns) of r − κ∇².

    At u = 0 without electrons the static correlation of a component is (r − κ∇²)^{−1}.
    """
    return np.linalg.eigh(static_boson_matrix(model))


def _hopping_matrices(model: SpinFermion) -> np.ndarray:
    """Return −t(c†c + h.c.) of (band, direction) as matrices, built bond by bond."""
    t, index = np.asarray(model.hopping, np.float64), np.arange(model.num_sites)
    index = index.reshape(model.shape)
    hop = np.zeros((2, 2, model.num_sites, model.num_sites))
    for direction in range(2):
        there = np.roll(index, -1, direction)
        for band in range(2):
            matrix = hop[band, direction]
            np.add.at(matrix, (there.ravel(), index.ravel()), -t[band, direction])
            np.add.at(matrix, (index.ravel(), there.ravel()), -t[band, direction])
    return hop
