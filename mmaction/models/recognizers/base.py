"""What every recognizer shares: building its parts and the three modes of forward."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import Tensor

from mmaction.models.lora import attach_lora, has_lora
from mmaction.models.utils.fast_layers import use_fast_layers
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.utils import ConfigType, ForwardResults, OptConfigType, OptSampleList, SampleList
from mmaction.utils.checkpoint_reading import register_safe_loaders

__all__ = ['BaseRecognizer']


class BaseRecognizer(BaseModel):
    """Backbone, neck (optional) and head.

    Args:
        backbone: Config of the backbone. Two keys are the recognizer's: `lora`, arguments of
            `mmaction.models.lora.attach_lora`, trains low-rank updates of its linear layers alone;
            `frozen=True` trains nothing of it and keeps it in evaluation mode.
        cls_head: Config of the head; without one, only features can be had.
        neck: Config of a module between the two.
        train_cfg: No key of it is read; accepted empty.
        test_cfg: `average_clips` (as in the head), `max_testing_views` (most views
            that go through the backbone at once, of however many videos) and
            `fcn_test` (forwarded to the head).
        data_preprocessor: Config of the preprocessor; by default views are only stacked.

    Raises:
        ValueError: A key of `train_cfg` or `test_cfg` that nothing reads, or no number of views.
    """

    test_keys: tuple[str, ...] = ('average_clips', 'max_testing_views', 'fcn_test')

    def __init__(
        self,
        backbone: ConfigType,
        cls_head: OptConfigType = None,
        neck: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
    ) -> None:
        if data_preprocessor is None:
            data_preprocessor = dict(type='ActionDataPreprocessor')
        if isinstance(data_preprocessor, dict):
            # Built here, its type resolves in this package whatever the default scope is.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor)
        # `pretrained` and `init_cfg` of any part go through mmengine's loaders.
        register_safe_loaders()
        if train_cfg:
            raise ValueError(f'train_cfg={dict(train_cfg)}: a recognizer reads no key of train_cfg')
        unknown = sorted(set(test_cfg or {}) - set(self.test_keys))
        if unknown:
            raise ValueError(f'test_cfg has unknown keys {unknown}; it takes {self.test_keys}')
        self.train_cfg = train_cfg
        self.test_cfg = dict(test_cfg or {})
        at_once = self.test_cfg.get('max_testing_views')
        if at_once is not None and not (isinstance(at_once, int) and at_once >= 0):
            raise ValueError(
                f'test_cfg.max_testing_views={at_once!r}: expected a positive integer, or None for '
                'all at once'
            )
        backbone = dict(backbone)
        lora = backbone.pop('lora', None)
        self.frozen = bool(backbone.pop('frozen', False))
        self.backbone = MODELS.build(backbone)
        if lora is not None:
            attach_lora(self, **lora)
        if self.frozen:
            self.backbone.requires_grad_(False)
        if neck is not None:
            self.neck = MODELS.build(neck)
        if cls_head is not None:
            self.cls_head = MODELS.build(self._with_average_clips(cls_head))
        use_fast_layers(self)

    def _with_average_clips(self, cls_head: ConfigType) -> ConfigType:
        """Published configs give `average_clips` to the recognizer, later ones to the head."""
        ours, heads = self.test_cfg.get('average_clips'), cls_head.get('average_clips')
        if ours is not None and heads is not None and ours != heads:
            raise ValueError(
                f'test_cfg says average_clips={ours!r}, but cls_head says {heads!r}: set one'
            )
        return cls_head if ours is None else {**cls_head, 'average_clips': ours}

    @property
    def with_neck(self) -> bool:
        """Whether there is a neck."""
        return getattr(self, 'neck', None) is not None

    @property
    def with_cls_head(self) -> bool:
        """Whether there is a head."""
        return getattr(self, 'cls_head', None) is not None

    def init_weights(self) -> None:
        """Initialize each part, loading the backbone's pretrained weights if it names some."""
        _forget_closed_logs()
        for part in self.children():
            if part is self.backbone and has_lora(self):
                continue  # LoRA has loaded what it adapts
            initialize: Callable[[], None] | None = getattr(part, 'init_weights', None)
            if initialize is not None:
                initialize()

    def train(self, mode: bool = True) -> BaseRecognizer:
        """Switch the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def run_backbone(self, views: Tensor, at_once: int | None = None) -> Any:
        """The backbone on all views (N * views, ...), at most `at_once` at a time."""
        if not views.is_floating_point():
            return self._run_on_integers(views, at_once)
        if self.frozen and not views.requires_grad:  # Grad-CAM asks for gradients of the views
            with torch.no_grad():
                return self._run_backbone(views, at_once)
        return self._run_backbone(views, at_once)

    def _run_on_integers(self, views: Tensor, at_once: int | None) -> Any:
        """A backbone of the user's may take bytes; others end in an error about data types."""
        try:
            return self._run_backbone(views, at_once)
        except RuntimeError as error:
            raise ValueError(
                f'the backbone takes normalized clips of floats, not {views.dtype}: '
                '`model.data_preprocessor(dict(inputs=clips))["inputs"]` normalizes them, as '
                '`model.test_step` does by itself'
            ) from error

    def _run_backbone(self, views: Tensor, at_once: int | None) -> Any:
        if not at_once or at_once >= len(views):
            return self.backbone(views)
        return _concatenate([self.backbone(part) for part in views.split(at_once)])

    def extract_feat(
        self,
        inputs: Tensor,
        stage: str = 'neck',
        data_samples: OptSampleList = None,
        test_mode: bool = False,
    ) -> tuple[Any, dict[str, Any]]:
        """Features of every view, or with a 2-D backbone of every frame.

        Args:
            inputs: (N, views, ...), as the subclass has them.
            stage: Where to stop: 'backbone', 'neck' or 'head'.
            data_samples: N samples, for a neck with a loss of its own.
            test_mode: Whether to honor `max_testing_views` and `fcn_test`.

        Returns:
            Features of the N * views views (for 'head', their logits), and the
            arguments that the head takes beside them.

        Raises:
            ValueError: An unknown stage, or `max_testing_views` that parts a video's frames.
        """
        if stage not in ('backbone', 'neck', 'head'):
            raise ValueError(f'stage={stage!r} is none of "backbone", "neck" and "head"')
        x, head_kwargs = self.run_views(inputs, self.test_cfg if test_mode else {})
        if stage != 'backbone':
            x = self.run_neck(x, data_samples, head_kwargs)
        if stage == 'head' and self.with_cls_head:
            x = self.cls_head(x, **{k: v for k, v in head_kwargs.items() if k != 'loss_aux'})
        return x, head_kwargs

    def run_views(self, inputs: Tensor, test_cfg: ConfigType) -> tuple[Any, dict[str, Any]]:
        """Output of the backbone for (N, views, ...) inputs, and further arguments for the head."""
        raise NotImplementedError(
            f'{type(self).__name__} defines neither run_views nor extract_feat'
        )

    def run_neck(self, x: Any, data_samples: OptSampleList, head_kwargs: dict[str, Any]) -> Any:
        """Output of the neck, if there is one; its loss goes into `head_kwargs`."""
        if self.with_neck:
            out = self.neck(x, data_samples=data_samples)
            # A neck of the user's may have no loss, and give features alone.
            x, head_kwargs['loss_aux'] = out if isinstance(out, tuple) else (out, {})
        return x

    def forward(  # type: ignore[override]  # mmengine's types know no other results
        self,
        inputs: Tensor,
        data_samples: OptSampleList = None,
        mode: str = 'tensor',
        **kwargs: Any,
    ) -> ForwardResults:
        """Features, losses or predictions of preprocessed clips.

        Args:
            inputs: Clips (N, views, ...).
            data_samples: N samples; needed for 'loss', made for 'predict' if not given.
            mode: 'tensor' gives the features after `stage` ('backbone', 'neck' or
                'head', an argument of its own), 'loss' a dict of losses, 'predict'
                the samples with their predictions.

        Raises:
            RuntimeError: Any other mode.
            ValueError: 'loss' without data_samples, or 'loss' or 'predict' without a head.
        """
        if mode == 'tensor':
            kwargs.setdefault('stage', 'backbone')
            feats: ForwardResults = self.extract_feat(inputs, **kwargs)[0]
            return feats
        if mode == 'loss':
            if data_samples is None:
                raise ValueError("mode='loss' needs data_samples, whose gt_label are the labels")
            return self.loss(inputs, data_samples, **kwargs)
        if mode == 'predict':
            return self.predict(inputs, data_samples, **kwargs)
        raise RuntimeError(f'mode={mode!r} is none of "tensor", "loss" and "predict"')

    def _need_head(self) -> None:
        if not self.with_cls_head:
            raise ValueError(
                'model.cls_head is None: without a head there are features '
                '(mode="tensor"), but no losses and no predictions'
            )

    def loss(self, inputs: Tensor, data_samples: OptSampleList, **kwargs: Any) -> dict[str, Tensor]:
        """Losses of one batch; see `forward`."""
        self._need_head()
        feats, head_kwargs = self.extract_feat(inputs, data_samples=data_samples, stage='neck')
        losses = dict(head_kwargs.pop('loss_aux', {}))
        losses.update(self.cls_head.loss(feats, data_samples, **head_kwargs))
        return losses

    def predict(self, inputs: Tensor, data_samples: OptSampleList, **kwargs: Any) -> SampleList:
        """Predictions of one batch; see `forward`."""
        self._need_head()
        # without the samples, a neck has no labels and computes no loss
        feats, head_kwargs = self.extract_feat(inputs, stage='neck', test_mode=True)
        head_kwargs.pop('loss_aux', None)
        if data_samples is None:
            data_samples = [ActionDataSample() for _ in range(len(inputs))]
        samples: SampleList = self.cls_head.predict(feats, data_samples, **head_kwargs)
        return samples


def _concatenate(parts: Sequence[Any]) -> Any:
    """Tensors, or tuples and lists of them, one behind the other along the views."""
    if isinstance(parts[0], Tensor):
        return torch.cat(tuple(parts))
    return type(parts[0])(_concatenate(same) for same in zip(*parts, strict=True))


def _forget_closed_logs() -> None:
    """Take closed log files of an earlier run off the logger, to which mmengine would write."""
    logger = MMLogger.get_current_instance()
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and handler.stream is None:
            logger.removeHandler(handler)
