"""What a model says of a part of a video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Window']


@dataclass(frozen=True)
class Window:
    """What the model says of a part of a video.

    Attributes:
        start: First frame, from 0.
        stop: Frame after the last.
        scores: Of each class, (num_classes,).
    """

    start: int
    stop: int
    scores: np.ndarray

    @property
    def label(self) -> int:
        """The best class."""
        return int(self.scores.argmax())
