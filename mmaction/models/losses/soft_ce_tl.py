"""The loss of token labeling: cross entropy of a clip and of each of its tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmaction.registry import MODELS

from .base import BaseWeightedLoss

__all__ = ['SoftCE_TL']

_REST = {'published': 0.0, 'masked': float('-inf')}


@MODELS.register_module()
class SoftCE_TL(BaseWeightedLoss):
    """gamma * CE(clip, label) + (1 - gamma) * CE(tokens, soft labels of a teacher).

    The soft label of a token is the softmax of the teacher's logits, in which all
    but the k largest (and what ties with the k-th) are replaced: by 0 in the
    published training, which leaves those classes some probability; by -inf in the
    'masked' variant, which leaves them none.

    Source: Liang et al., DualFormer, arXiv:2112.04674.

    Args:
        k: How many of the teacher's logits count.
        gamma: Weight of the clip's loss, 0 to 1.
        soft_label: 'published' or 'masked'.
        loss_weight: Factor on the whole.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        k: int = 5,
        gamma: float = 0.5,
        soft_label: str = 'published',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if k < 1:
            raise ValueError(f'SoftCE_TL: k={k} must be at least 1')
        if soft_label not in _REST:
            raise ValueError(f'SoftCE_TL: soft_label={soft_label!r} is none of {tuple(_REST)}')
        self.k = k
        self.gamma = _weight(gamma)
        self.soft_label = soft_label

    def soft_labels(self, teacher_preds: Tensor) -> Tensor:
        """Teacher's logits (..., K) -> distributions (..., K), in fp32."""
        logits = teacher_preds.float()
        least = logits.topk(min(self.k, logits.shape[-1])).values[..., -1:]
        return logits.masked_fill(logits < least, _REST[self.soft_label]).softmax(-1)

    def parts(
        self, cls_score: Tensor, token_preds: Tensor, teacher_preds: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The two cross entropies, each a mean and without its weight; see `_forward`."""
        soft = self.soft_labels(teacher_preds)
        return (
            F.cross_entropy(cls_score.float(), target),
            F.cross_entropy(token_preds.float(), soft),
        )

    def _forward(
        self, cls_score: Tensor, *args: Tensor, gamma: float | None = None, **kwargs: Tensor
    ) -> Tensor:
        """The loss, in fp32.

        It takes the published call, `loss(cls_score, target, token_preds=..., teacher_preds=...,
        gamma=...)`, and the four tensors in the order `(cls_score, token_preds, teacher_preds,
        target)`.

        Args:
            cls_score: Logits of the clips (B, K).
            args: What is not given by name.
            gamma: Weight of the clip's loss in this call; that of the constructor if None.
            kwargs: `token_preds`, logits of the tokens (B * N, K); `teacher_preds`, the
                teacher's logits of the same tokens (B * N, K); `target`, classes of the clips (B,).

        Raises:
            TypeError: One of the four is missing or given twice.
            ValueError: `gamma` does not lie in 0 to 1.
        """
        if len(args) == 1 and 'target' not in kwargs:
            return self._forward(cls_score, gamma=gamma, target=args[0], **kwargs)
        of_clips, of_tokens = self.parts(cls_score, *args, **kwargs)
        share = self.gamma if gamma is None else _weight(gamma)
        return share * of_clips + (1 - share) * of_tokens


def _weight(gamma: float) -> float:
    if not 0 <= gamma <= 1:
        raise ValueError(f'SoftCE_TL: gamma={gamma} must lie in 0 to 1')
    return gamma
