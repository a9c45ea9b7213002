"""How much a share of few clips tells of the true one."""

from __future__ import annotations

import math

__all__ = ['wilson_interval']


def wilson_interval(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a share, which also holds for few clips and for 0 and 1.

    Args:
        right: Clips that are right.
        total: All clips.
        z: Quantile of the normal distribution; that of a 95 % interval.

    Returns:
        Lower and upper end, from 0 to 1; (0, 1) without clips.

    Source: Wilson, E. B. (1927), Probable inference, the law of succession, and statistical
    inference. https://doi.org/10.1080/01621459.1927.10502953
    """
    if not total:
        return 0.0, 1.0
    share, square = right / total, z * z
    center = (share + square / (2 * total)) / (1 + square / total)
    spread = share * (1 - share) / total + square / (4 * total * total)
    half = z / (1 + square / total) * math.sqrt(spread)
    return max(0.0, center - half), min(1.0, center + half)
