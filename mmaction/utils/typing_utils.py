"""Type aliases of the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from mmengine.config import ConfigDict

if TYPE_CHECKING:
    import torch

    from mmaction.structures import ActionDataSample

ConfigType: TypeAlias = ConfigDict | dict[str, Any]
OptConfigType: TypeAlias = ConfigType | None
SampleList: TypeAlias = 'list[ActionDataSample]'
OptSampleList: TypeAlias = 'SampleList | None'
ForwardResults: TypeAlias = (
    'dict[str, torch.Tensor] | list[ActionDataSample] | tuple[torch.Tensor, ...] | torch.Tensor'
)
