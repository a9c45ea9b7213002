"""The I3D head, and the two that token labeling makes of it.

Shapes: N clips, C channels and (T, H, W) grid of the feature map, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType, SampleList

from .base import BaseHead

__all__ = ['I3DHead', 'I3DHead_TL', 'I3DHead_Teacher', 'match_grid']


@MODELS.register_module()
class I3DHead(BaseHead):
    """Classifier on the pooled feature map: average over the grid, dropout, one linear layer.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature map.
        loss_cls: Config of the loss.
        spatial_type: 'avg' pools the map; with anything else it comes pooled.
        dropout_ratio: Dropout before the classifier.
        init_std: Standard deviation of the classifier's first weights.
        kwargs: Further arguments of `BaseHead`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='CrossEntropyLoss'),  # noqa: B006 (built, never written to)
        spatial_type: str | None = 'avg',
        dropout_ratio: float = 0.5,
        init_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, **kwargs)
        self.spatial_type = spatial_type
        self.dropout_ratio = dropout_ratio
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else None
        self.fc_cls = nn.Linear(in_channels, num_classes)
        self.avg_pool = nn.AdaptiveAvgPool3d(1) if spatial_type == 'avg' else None

    def init_weights(self) -> None:
        """Normal weights, zero bias."""
        nn.init.normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W) -> logits (N, K)."""
        if self.avg_pool is not None:
            x = self.avg_pool(x)
        if self.dropout is not None:
            x = self.dropout(x)
        scores: Tensor = self.fc_cls(x.flatten(1))
        return scores


@MODELS.register_module()
class I3DHead_Teacher(I3DHead):
    """The classifier of `I3DHead` on each token of the feature map, without pooling.

    It has the parameters of `I3DHead` and takes the same arguments. It annotates:
    the labels of a teacher are what it says of its tokens in eval mode.
    """

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """(N, C, T, H, W) -> logits (N, T, H, W, K)."""
        tokens = x.movedim(1, -1)
        if self.dropout is not None:
            tokens = self.dropout(tokens)
        scores: Tensor = self.fc_cls(tokens)
        return scores


@MODELS.register_module()
class I3DHead_TL(I3DHead):
    """`I3DHead` with a branch that learns a teacher's label of each token.

    Only the pooled branch counts in testing.

    Args:
        num_classes: Number of classes K.
        in_channels: Channels C of the feature map.
        loss_cls: Config of a loss that takes what `SoftCE_TL` takes.
        dropout_ratio: Dropout before the classifier and within the token branch.
        kwargs: Further arguments of `I3DHead`.

    Raises:
        ValueError: Several labels of a clip or smoothed ones are asked for, which
            this loss has not.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        loss_cls: ConfigType = dict(type='SoftCE_TL'),  # noqa: B006 (built, never written to)
        dropout_ratio: float = 0.5,
        **kwargs: Any,
    ) -> None:
        for name in ('multi_class', 'label_smooth_eps'):
            if kwargs.get(name):
                raise ValueError(f'I3DHead_TL takes no {name}: token labels need one hard label')
        super().__init__(num_classes, in_channels, loss_cls, dropout_ratio=dropout_ratio, **kwargs)
        self.token_linear = nn.Sequential(
            nn.Linear(in_channels, in_channels * 2),
            nn.Dropout(dropout_ratio),
            nn.ReLU(),
            nn.Linear(in_channels * 2, in_channels * 4),
            nn.Dropout(dropout_ratio),
            nn.ReLU(),
            nn.Linear(in_channels * 4, num_classes),
        )

    def token_preds(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> logits (N, T, H, W, K) of the token branch."""
        scores: Tensor = self.token_linear(x.movedim(1, -1))
        return scores

    def loss(
        self,
        feats: Tensor,
        data_samples: SampleList,
        teacher_preds: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Loss of clips and tokens, and accuracies.

        Args:
            feats: Feature map (N, C, T, H, W).
            data_samples: N samples with `gt_label`, one class each.
            teacher_preds: The teacher's logits (N, T', H', W', K).
            kwargs: Arguments of `forward`.

        Returns:
            `loss_cls`, `top{k}_acc`, and `token_acc`: the share of the tokens whose
            best class is that of the teacher.

        Raises:
            ValueError: No teacher, mixed labels, or a teacher of other classes.
        """
        if teacher_preds is None:
            raise ValueError(
                'I3DHead_TL learns from a teacher: train it in a Recognizer3D_TL, or use I3DHead'
            )
        if teacher_preds.shape[-1] != self.num_classes:
            raise ValueError(
                f'the teacher has {teacher_preds.shape[-1]} classes, the student '
                f'num_classes={self.num_classes}: they must be the same'
            )
        cls_scores = self(feats, **kwargs)
        labels = _hard_labels(data_samples, cls_scores)
        token_map = self.token_preds(feats)
        teacher = match_grid(teacher_preds, token_map.shape[1:4]).flatten(0, 3)
        tokens = token_map.flatten(0, 3)
        results = {
            f'top{k}_acc': _share_in_best(cls_scores, labels, min(k, self.num_classes))
            for k in self.topk
        }
        results['token_acc'] = _share_in_best(tokens, teacher.argmax(1), 1)
        results['loss_cls'] = self.loss_cls(
            cls_scores, labels, token_preds=tokens, teacher_preds=teacher
        )
        return results


def match_grid(preds: Tensor, grid: Sequence[int]) -> Tensor:
    """Bring a teacher's map to the student's grid by averaging its logits.

    Where the teacher has a multiple of the student's frames, frame t becomes the
    mean of frames t, t + T, t + 2 T, ... of the teacher, as published. Along other
    axes, and where it has no multiple, each token becomes the mean of the
    teacher's tokens that it overlaps.

    Args:
        preds: (N, T', H', W', K).
        grid: (T, H, W).

    Returns:
        (N, T, H, W, K).
    """
    frames, height, width = grid
    if preds.shape[1] > frames and preds.shape[1] % frames == 0:
        preds = preds.unflatten(1, (-1, frames)).mean(1)
    if preds.shape[1:4] == tuple(grid):
        return preds
    return F.adaptive_avg_pool3d(preds.movedim(-1, 1), (frames, height, width)).movedim(1, -1)


def _hard_labels(data_samples: SampleList, cls_scores: Tensor) -> Tensor:
    """The class of each clip (N,)."""
    labels = torch.stack([sample.gt_label for sample in data_samples]).to(cls_scores.device)
    if labels.is_floating_point() or labels.shape[1:] != (1,):
        raise ValueError(
            'token labels need one hard label for each clip, but the labels are '
            f'{tuple(labels.shape)} {labels.dtype}: mixup and cutmix, which make soft ones, do '
            'not go with token labeling, since the teacher would have to label mixed clips'
        )
    if len(labels) != len(cls_scores):
        raise ValueError(
            f'{len(cls_scores)} predictions for {len(labels)} labels: training takes one view '
            'of each clip (num_clips=1 and one crop in the train pipeline)'
        )
    return labels.squeeze(1)


def _share_in_best(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Share of the rows whose label is among the k best; it stays on the device."""
    return (scores.detach().topk(k).indices == labels[:, None]).any(1).float().mean()
