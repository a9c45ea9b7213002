"""Type aliases of the public API."""

from __future__ import annotations

from typing import Any, TypeAlias

from mmengine.config import ConfigDict

from mmaction.structures.typing import ForwardResults, OptSampleList, SampleList

__all__ = ['ConfigType', 'ForwardResults', 'OptConfigType', 'OptSampleList', 'SampleList']

ConfigType: TypeAlias = ConfigDict | dict[str, Any]
OptConfigType: TypeAlias = ConfigType | None
