"""What runs on the engines. It imports neither VisTrails nor anything of the cluster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def resampled_means(values: Sequence[float], count: int, seed: int) -> list[float]:
    """Return the means of samples that are drawn from values with replacement, each as large as the values' number.

    :param count: how many samples
    :param seed: the same seed gives the same samples
    """
    random = np.random.default_rng(seed)
    array = np.asarray(values, dtype=float)
    return [float(random.choice(array, array.size).mean()) for _ in range(count)]
