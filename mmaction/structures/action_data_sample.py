"""The label, the prediction and the facts of one clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData

__all__ = ['ActionDataSample', 'format_label', 'format_score']

LabelType = torch.Tensor | np.ndarray | Sequence[Any] | int


def format_label(value: LabelType) -> torch.Tensor:
    """Labels as a `LongTensor` of shape (n,); a tensor of such a shape is kept as it is.

    Floats in an array or a sequence are truncated, so soft labels have to come
    as a tensor.

    Raises:
        TypeError: `value` is neither a tensor, array, sequence nor integer.
    """
    if isinstance(value, torch.Tensor):
        return value if value.ndim else value.reshape(1).long()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.atleast_1d(value)).long()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return torch.tensor(value).long()
    if isinstance(value, (int, np.integer)):
        return torch.tensor([int(value)], dtype=torch.long)
    raise TypeError(
        f'a label must be an int, sequence, array or tensor, not {type(value).__name__}'
    )


def format_score(value: object) -> torch.Tensor | dict[str, Any]:
    """Scores as a float tensor of shape (num_classes,); a tensor or dict is kept.

    Raises:
        TypeError: `value` is neither a tensor, array, sequence nor dict.
    """
    if isinstance(value, (torch.Tensor, dict)):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.atleast_1d(value)).float()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return torch.tensor(value).float()
    raise TypeError(f'scores must be a sequence, array, tensor or dict, not {type(value).__name__}')


def _instances(name: str, doc: str) -> property:
    """An attribute that keeps `InstanceData` in the data field `name`."""
    return property(
        lambda sample: getattr(sample, name),
        lambda sample, value: sample.set_field(value, name, dtype=InstanceData),
        lambda sample: delattr(sample, name),
        doc,
    )


class ActionDataSample(BaseDataElement):
    """What is known of one clip: ground truth, prediction and meta data.

    Data fields are `gt_label`, `pred_label` (LongTensor) and `pred_score`
    (float tensor of shape (num_classes,)); the rest (`img_shape`, `filename`,
    ...) is meta data. The setters return the sample itself.

    Source: the structure of this name in mmaction2 1.x.
    """

    # For type checkers: `set_field` creates what is known of a sample, and no more.
    gt_label: torch.Tensor
    pred_label: torch.Tensor
    pred_score: torch.Tensor
    num_classes: int
    error: str

    def set_gt_label(self, value: LabelType) -> ActionDataSample:
        """Set the ground-truth label."""
        self.set_field(format_label(value), 'gt_label', dtype=torch.Tensor)
        return self

    def set_pred_label(self, value: LabelType) -> ActionDataSample:
        """Set the predicted label."""
        self.set_field(format_label(value), 'pred_label', dtype=torch.Tensor)
        return self

    def set_pred_score(self, value: object) -> ActionDataSample:
        """Set the score of each class.

        Raises:
            AssertionError: The sample holds another number of classes already.
        """
        score = format_score(value)
        self.set_field(score, 'pred_score', dtype=(torch.Tensor, dict))
        if isinstance(score, torch.Tensor):
            if 'num_classes' in self:
                assert len(score) == self.num_classes, (
                    f'{len(score)} scores were given for a sample of {self.num_classes} classes'
                )
            else:
                self.set_field(len(score), 'num_classes', field_type='metainfo')
        return self

    proposals = _instances('_proposals', 'Proposals of localization and detection tasks.')
    gt_instances = _instances(
        '_gt_instances', 'Ground-truth instances of localization and detection tasks.'
    )
    features = _instances('_features', 'Features that a model was asked to keep.')
