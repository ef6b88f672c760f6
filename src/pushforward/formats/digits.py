"""1,797 handwritten digits of 8 x 8 pixels and 17 grey levels, in the package itself.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998 (the test half; licence CC BY 4.0), as scikit-learn distributes it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

LEVELS = 17
_FILE = Path(__file__).with_name("digits.npz")


class Digits(NamedTuple):
    """Images (n, 1, 8, 8) of uint8 in 0..16, channels first, and labels (n,) in 0..9."""

    images: np.ndarray
    labels: np.ndarray


def read_digits() -> Digits:
    """Return all 1,797 digits."""
    with np.load(_FILE, allow_pickle=False) as stored:
        return Digits(stored["images"][:, None], stored["labels"].astype(np.int32))


def split_digits(seed: int = 0) -> tuple[Digits, Digits]:
    """Return (train, test) of 1,438 and 359 digits with equal shares of every class.

    Sorted by class and shuffled within, every fifth digit is a test digit.
    """
    images, labels = read_digits()
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    test = np.zeros(len(labels), bool)
    test[order[4::5]] = True
    return Digits(images[~test], labels[~test]), Digits(images[test], labels[test])
