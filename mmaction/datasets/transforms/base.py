"""The base class of every transform."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from mmaction.datasets.decoders.deferred import DeferredFrames

__all__ = ['BaseTransform']


class BaseTransform(ABC):
    """One step of a pipeline: takes the `results` dict of a clip and returns it.

    `shown` names the attributes that `repr` prints, in order. A class that sets `takes_deferred`
    beside its own `transform` handles `DeferredFrames`; for others they are loaded before. One that
    leaves an array in their place sets `keeps_deferred = False`.
    """

    shown: tuple[str, ...] = ()
    takes_deferred = False
    keeps_deferred = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'transform' in vars(cls) and 'takes_deferred' not in vars(cls):
            cls.takes_deferred = False

    def __call__(self, results: dict[str, Any]) -> Any:
        """Do the step, as a pipeline calls it."""
        # What an inferencer's first transform takes is a path or an array.
        if not self.takes_deferred and isinstance(results, dict):
            imgs = results.get('imgs')
            if isinstance(imgs, DeferredFrames):
                results['imgs'] = imgs.load()
        return self.transform(results)

    @abstractmethod
    def transform(self, results: dict[str, Any]) -> Any:
        """Do the step. `results` may be changed in place."""

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={getattr(self, name)}' for name in self.shown)
        return f'{type(self).__name__}({arguments})'
