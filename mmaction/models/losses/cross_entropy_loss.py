"""Cross entropy, for one label, soft labels and many labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmaction.registry import MODELS

from .base import BaseWeightedLoss

__all__ = ['BCELossWithLogits', 'CBFocalLoss', 'CrossEntropyLoss', 'NLLLoss']


class _ClassWeightedLoss(BaseWeightedLoss):
    """A loss that takes a weight per class."""

    class_weight: Tensor | None

    def __init__(
        self, loss_weight: float = 1.0, class_weight: Sequence[float] | None = None
    ) -> None:
        super().__init__(loss_weight)
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', weight, persistent=False)


@MODELS.register_module()
class CrossEntropyLoss(_ClassWeightedLoss):
    """Softmax cross entropy, in fp32.

    Args:
        loss_weight: Factor on the loss.
        class_weight: Weight of each class, or None for 1.
    """

    def _forward(self, cls_score: Tensor, label: Tensor, **kwargs: Any) -> Tensor:
        """Loss of logits (N, K) against classes (N,) or distributions (N, K).

        With class weights, soft labels are averaged over the weights that they
        select, so that a one-hot label gives what its class would.

        Source: the semantics of `torch.nn.functional.cross_entropy`.
        """
        cls_score = cls_score.float()
        if cls_score.shape != label.shape:
            return F.cross_entropy(cls_score, label, self.class_weight, **kwargs)
        if kwargs:
            raise ValueError(f'soft labels take no further arguments, got {sorted(kwargs)}')
        log_prob = F.log_softmax(cls_score, dim=1)
        label = label.float()
        if self.class_weight is None:
            return -(label * log_prob).sum(1).mean()
        weighted = label * self.class_weight
        return -(weighted * log_prob).sum() / weighted.sum()


@MODELS.register_module()
class BCELossWithLogits(_ClassWeightedLoss):
    """Binary cross entropy of each class, in fp32, for clips with many labels.

    Args:
        loss_weight: Factor on the loss.
        class_weight: Weight of each class, or None for 1.
    """

    def _forward(self, cls_score: Tensor, label: Tensor, **kwargs: Any) -> Tensor:
        """Mean loss of logits (N, K) against zeros and ones (N, K)."""
        return F.binary_cross_entropy_with_logits(
            cls_score.float(), label.float(), self.class_weight, **kwargs
        )


@MODELS.register_module()
class NLLLoss(BaseWeightedLoss):
    """Negative log-likelihood of scores that are log-probabilities already, in fp32."""

    def _forward(self, cls_score: Tensor, label: Tensor, **kwargs: Any) -> Tensor:
        """Loss of log-probabilities (N, K) against classes (N,)."""
        return F.nll_loss(cls_score.float(), label, **kwargs)


@MODELS.register_module()
class CBFocalLoss(BaseWeightedLoss):
    """Class-balanced focal loss of a sigmoid per class, in fp32.

    A clip of class k is weighted by (1 - beta) / (1 - beta^n_k), scaled so that the weights
    of all classes have the mean 1; a term with probability p of its true outcome by
    (1 - p)^gamma. Source: Cui et al., Class-Balanced Loss, CVPR 2019.

    Args:
        loss_weight: Factor on the loss.
        samples_per_cls: n_k, training clips of each class.
        beta: 0 weights all classes alike, towards 1 by 1 / n_k.
        gamma: Exponent of the focal factor.

    Raises:
        ValueError: A class has no clips, or there are no classes.
    """

    weights: Tensor

    def __init__(
        self,
        loss_weight: float = 1.0,
        samples_per_cls: Sequence[int] = (),
        beta: float = 0.9999,
        gamma: float = 2.0,
    ) -> None:
        super().__init__(loss_weight)
        if not samples_per_cls or min(samples_per_cls) < 1:
            raise ValueError(
                f'CBFocalLoss: samples_per_cls={samples_per_cls} must have a positive number for '
                'each class'
            )
        counts = torch.tensor(samples_per_cls, dtype=torch.float64)
        weights = (1 - beta) / (1 - beta**counts)
        self.gamma, self.num_classes = gamma, len(counts)
        weights = (weights / weights.mean()).float()
        self.register_buffer('weights', weights, persistent=False)

    def _forward(self, cls_score: Tensor, label: Tensor, **kwargs: Any) -> Tensor:
        """Loss of logits (N, K) against classes (N,): summed over classes, mean over clips."""
        scores = cls_score.float()
        target = F.one_hot(label, self.num_classes).float()
        terms = F.binary_cross_entropy_with_logits(scores, target, reduction='none')
        # (1 - p)^gamma of the true outcome, in logs.
        focal = torch.exp(-self.gamma * (target * scores + F.softplus(-scores)))
        return (self.weights[label][:, None] * focal * terms).sum() / len(label)
