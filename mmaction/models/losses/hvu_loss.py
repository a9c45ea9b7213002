"""The loss of HVU: binary cross entropy of labels that belong to categories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmaction.registry import MODELS

from .base import BaseWeightedLoss

__all__ = ['HVULoss']


@MODELS.register_module()
class HVULoss(BaseWeightedLoss):
    """Binary cross entropy over all labels, or over each category and then the mean of these.

    Clips are labeled in some of the categories only. With `with_mask` the
    others say nothing; without it they count as if none of their labels held.
    Logits and labels stand in the order of the categories.

    Args:
        categories: Names of the categories.
        category_nums: Number of labels of each.
        category_loss_weights: Weight of each category with 'individual'; they are
            scaled so that those of the categories that are labeled sum to 1.
        loss_type: 'all' (every label weighs the same) or 'individual' (every
            category does; its own loss is logged as `{category}_LOSS`).
        with_mask: Leave out what is not labeled.
        reduction: 'mean' or 'sum' over the labels of a clip.
        loss_weight: Factor on the whole.

    Raises:
        ValueError: An argument is none of these.

    Source: the loss of this name in mmaction2 1.2, arXiv:1904.11451.
    """

    category_loss_weights: Tensor

    def __init__(
        self,
        categories: Sequence[str] = ('action', 'attribute', 'concept', 'event', 'object', 'scene'),
        category_nums: Sequence[int] = (739, 117, 291, 69, 1678, 248),
        category_loss_weights: Sequence[float] = (1, 1, 1, 1, 1, 1),
        loss_type: str = 'all',
        with_mask: bool = False,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if not len(categories) == len(category_nums) == len(category_loss_weights):
            raise ValueError(
                f'HVULoss: {len(categories)} categories, {len(category_nums)} category_nums and '
                f'{len(category_loss_weights)} category_loss_weights: give one of each'
            )
        if min(category_loss_weights) < 0 or not sum(category_loss_weights):
            raise ValueError(
                f'HVULoss: category_loss_weights={tuple(category_loss_weights)} must not be '
                'negative, and not all 0'
            )
        if loss_type not in ('all', 'individual'):
            raise ValueError(f"HVULoss: loss_type={loss_type!r} is neither 'all' nor 'individual'")
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"HVULoss: reduction={reduction!r} is neither 'mean' nor 'sum'")
        self.categories = tuple(categories)
        self.category_nums = tuple(category_nums)
        self.loss_type = loss_type
        self.with_mask = with_mask
        self.reduction = reduction
        self.sample_keys = ('category_mask',) if with_mask else ()
        weights = torch.tensor(category_loss_weights, dtype=torch.float32)
        self.register_buffer('category_loss_weights', weights, persistent=False)

    def _forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        mask: Tensor | None = None,
        category_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss, in fp32.

        Args:
            cls_score: Logits (N, K) of the labels of all categories.
            label: Zeros and ones (N, K).
            mask: (N, K), a 0 where a label's category is not labeled; made of
                `category_mask` if it is not given.
            category_mask: (N, C), a 0 where a category is not labeled.

        Returns:
            `loss_cls`, with 'individual' also `{category}_LOSS` of each category.

        Raises:
            ValueError: `with_mask`, but there is no mask, or shapes do not fit.
        """
        if cls_score.shape != label.shape or cls_score.shape[1] != sum(self.category_nums):
            raise ValueError(
                f'HVULoss: scores {tuple(cls_score.shape)} and labels {tuple(label.shape)} must '
                f'both be (clips, {sum(self.category_nums)}), the sum of category_nums: set '
                'model.cls_head.num_classes to it'
            )
        if self.with_mask and category_mask is None and (mask is None or self.loss_type != 'all'):
            raise ValueError('HVULoss: with_mask=True needs the category_mask of each clip')
        losses = F.binary_cross_entropy_with_logits(
            cls_score.float(), label.float(), reduction='none'
        )
        if self.loss_type == 'individual':
            return self._of_categories(losses, category_mask)
        if not self.with_mask:
            return {'loss_cls': self._reduce(losses).mean()}
        if mask is None:
            assert category_mask is not None
            repeats = torch.tensor(self.category_nums, device=losses.device)
            mask = category_mask.to(losses).repeat_interleave(repeats, dim=1)
        mask = mask.to(losses)
        of_clips = (losses * mask).sum(1)
        if self.reduction == 'mean':
            # A clip without any label gives 0.
            of_clips = of_clips / mask.sum(1).clamp(min=1)
        return {'loss_cls': of_clips.mean()}

    def _reduce(self, losses: Tensor) -> Tensor:
        """(N, k) -> (N,)."""
        return losses.mean(1) if self.reduction == 'mean' else losses.sum(1)

    def _of_categories(self, losses: Tensor, category_mask: Tensor | None) -> dict[str, Tensor]:
        """The mean of the losses of the categories, and each of them."""
        of_clips = torch.stack([self._reduce(p) for p in losses.split(self.category_nums, 1)], 1)
        counted = torch.ones_like(of_clips)
        if self.with_mask:
            assert category_mask is not None
            counted = category_mask.to(of_clips)
        clips = counted.sum(0)
        # A category that no clip of the batch is labeled in has loss 0 and weight 0.
        each = (of_clips * counted).sum(0) / clips.clamp(min=1)
        weights = self.category_loss_weights * (clips > 0)
        total = (each * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        named = {f'{name}_LOSS': loss for name, loss in zip(self.categories, each, strict=True)}
        return {**named, 'loss_cls': total}
