"""What every classification head shares: loss, accuracy, averaging over views."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, normal_init
from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptConfigType, SampleList

__all__ = ['AvgConsensus', 'BaseHead', 'ClassifierHead']

AVERAGE_CLIPS = ('score', 'prob', None)


class BaseHead(BaseModule, metaclass=ABCMeta):
    """Classification head.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels of the feature map.
        loss_cls: Config of the loss.
        multi_class: Whether a clip may have several labels, each of which the model
            says yes or no to: `loss_cls` then is `BCELossWithLogits` or `HVULoss`.
        label_smooth_eps: Share of a label that is spread over all classes.
        topk: The k of the training accuracies that are logged.
        average_clips: How the views of a video become one score: 'prob' (softmax,
            with `multi_class` sigmoid, then mean), 'score' (mean of the logits) or
            None (all views are kept).
        init_cfg: Initialization, as in mmengine.

    Raises:
        ValueError: `average_clips` or `topk` is none of these.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss', loss_weight=1.0),  # noqa: B006 (built, never written to)
        multi_class: bool = False,
        label_smooth_eps: float = 0.0,
        topk: int | tuple[int, ...] = (1, 5),
        average_clips: str | None = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if average_clips not in AVERAGE_CLIPS:
            raise ValueError(f'average_clips={average_clips!r} is none of {AVERAGE_CLIPS}')
        topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if any(k < 1 for k in topk):
            raise ValueError(f'topk={topk}: every k must be at least 1')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.loss_cls = MODELS.build(loss_cls)
        self.multi_class = multi_class
        self.label_smooth_eps = label_smooth_eps
        self.topk = topk
        self.average_clips = average_clips

    @abstractmethod
    def forward(self, x: Any, **kwargs: Any) -> Any:
        """Features -> logits (N, K)."""

    def loss(self, feats: Any, data_samples: SampleList, **kwargs: Any) -> dict[str, Tensor]:
        """Loss and training accuracy of features against the samples' labels."""
        return self.loss_by_feat(self(feats, **kwargs), data_samples)

    def loss_by_feat(self, cls_scores: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Loss and accuracy of logits.

        Args:
            cls_scores: Logits (N, K).
            data_samples: N samples with `gt_label`, one class or K soft labels.

        Returns:
            `loss_cls` (or the loss's own dict), and `top{k}_acc` where labels are hard.
        """
        labels = self._labels(cls_scores, data_samples)
        results = {}
        if labels.ndim == 1:
            results = {f'top{k}_acc': _top_k(cls_scores, labels, k) for k in self.topk}
        if self.label_smooth_eps:
            if labels.ndim == 1:
                labels = F.one_hot(labels, self.num_classes)
            eps = self.label_smooth_eps
            labels = (1 - eps) * labels + eps / self.num_classes
        loss = self.loss_cls(cls_scores, labels, **self._further_labels(data_samples))
        return {**results, **(loss if isinstance(loss, dict) else {'loss_cls': loss})}

    def _labels(self, cls_scores: Tensor, data_samples: SampleList) -> Tensor:
        """Labels (N,), or (N, K) where they are soft."""
        if len(cls_scores) != len(data_samples):
            raise ValueError(
                f'{len(cls_scores)} predictions for {len(data_samples)} labels: training takes '
                'one view of each clip (num_clips=1 and one crop in the train pipeline).'
            )
        labels = torch.stack([sample.gt_label for sample in data_samples]).to(cls_scores.device)
        if labels.shape[1:] == (1,) and not labels.is_floating_point():
            return labels.squeeze(1)
        if labels.shape[1:] != (self.num_classes,):
            raise ValueError(
                f'soft labels {tuple(labels.shape)} do not go with num_classes={self.num_classes} '
                'of the head: num_classes of the dataset, or of the blending in data_preprocessor, '
                'must be the same'
            )
        return labels

    def _further_labels(self, data_samples: SampleList) -> dict[str, Tensor]:
        """What the loss asks for beside the labels (N, ...), by its `sample_keys`."""
        found = {}
        for key in getattr(self.loss_cls, 'sample_keys', ()):
            if any(key not in sample for sample in data_samples):
                raise ValueError(
                    f'{type(self.loss_cls).__name__} needs {key!r} of each clip: add it to '
                    'algorithm_keys of PackActionInputs in the train pipeline'
                )
            found[key] = torch.stack([sample.get(key) for sample in data_samples])
        return found

    def predict(self, feats: Any, data_samples: SampleList, **kwargs: Any) -> SampleList:
        """Write `pred_score` and `pred_label` into the samples."""
        return self.predict_by_feat(self(feats, **kwargs), data_samples)

    def predict_by_feat(self, cls_scores: Tensor, data_samples: SampleList) -> SampleList:
        """Write `pred_score` and `pred_label` of N samples, from logits (N * views, K)."""
        num_segs = len(cls_scores) // len(data_samples)
        scores = self.average_clip(cls_scores, num_segs)
        labels = scores.argmax(-1, keepdim=True)
        for sample, score, label in zip(data_samples, scores, labels, strict=True):
            sample.set_pred_score(score)
            sample.set_pred_label(label)
        return data_samples

    def average_clip(self, cls_scores: Tensor, num_segs: int = 1) -> Tensor:
        """Bring the views of each video together, in fp32.

        Args:
            cls_scores: Logits (N * num_segs, K, ...).
            num_segs: Views per video.

        Returns:
            (N, K, ...), or (N, num_segs, K, ...) if `average_clips` is None.
        """
        views: Tensor = cls_scores.float().unflatten(0, (-1, num_segs))
        if self.average_clips == 'prob':
            return (views.sigmoid() if self.multi_class else views.softmax(2)).mean(1)
        return views.mean(1) if self.average_clips == 'score' else views


class ClassifierHead(BaseHead):
    """Dropout and one linear layer, to which subclasses bring their vectors.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the vectors.
        loss_cls: Config of the loss.
        dropout_ratio: Dropout before the linear layer.
        init_std: Standard deviation of its first weights.
        kwargs: Further arguments of `BaseHead`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
        dropout_ratio: float = 0.0,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, **kwargs)
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else None
        self.fc_cls = nn.Linear(in_channels, num_classes)

    def init_weights(self) -> None:
        """Normal weights, zero bias."""
        normal_init(self.fc_cls, std=self.init_std)

    def classify(self, x: Tensor) -> Tensor:
        """(..., C) -> logits (..., K)."""
        scores: Tensor = self.fc_cls(x if self.dropout is None else self.dropout(x))
        return scores


@MODELS.register_module()
class AvgConsensus(nn.Module):
    """The mean along an axis, which stays with length 1."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, ...) -> (N, 1, ...)."""
        return x.mean(self.dim, keepdim=True)


def _top_k(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Share of the rows whose label is among the k best; it stays on the device."""
    best = scores.detach().topk(min(k, scores.shape[1])).indices
    return (best == labels[:, None]).any(1).float().mean()
