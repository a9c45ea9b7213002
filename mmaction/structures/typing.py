"""Type aliases of lists of samples and of what a recognizer returns."""

from __future__ import annotations

from typing import TypeAlias

import torch

from .action_data_sample import ActionDataSample

__all__ = ['ForwardResults', 'OptSampleList', 'SampleList']

SampleList: TypeAlias = list[ActionDataSample]
OptSampleList: TypeAlias = SampleList | None
ForwardResults: TypeAlias = (
    dict[str, torch.Tensor] | list[ActionDataSample] | tuple[torch.Tensor, ...] | torch.Tensor
)
