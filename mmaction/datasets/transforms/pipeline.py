"""A pipeline of transforms, those of this package and of others."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.dataset import Compose

from mmaction.datasets.decoders.deferred import DeferredFrames, loaded
from mmaction.utils.cli import note_place

__all__ = ['Pipeline']


class Pipeline(Compose):
    """Transforms in turn.

    Those of other packages find the frames as mmaction2 has them, a list of arrays (H, W, 3): what
    they assign to its items would be cast to the type of a single array without a word.

    An error carries in which transform it was raised (`mmaction.utils.cli.raised_in`).

    Args:
        transforms: Functions of `results`, or their configs.
    """

    def __call__(self, data: Any) -> Any:
        """Run them; None as soon as one returns it."""
        for step in self.transforms:
            imgs = data.get('imgs') if isinstance(data, dict) else None
            if isinstance(imgs, np.ndarray | DeferredFrames) and _wants_list(step):
                data['imgs'] = list(loaded(imgs))
            try:
                data = step(data)
            except Exception as error:
                note_place(error, type(step).__name__)
                raise
            if data is None:
                return None
        return data


def _wants_list(step: object) -> bool:
    is_of_package = type(step).__module__.partition('.')[0] == __name__.partition('.')[0]
    return not is_of_package and not getattr(step, 'takes_deferred', False)
