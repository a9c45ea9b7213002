"""ResNet with the temporal adaptive module (TANet).

Shapes: N videos of T segments, one frame each; frames (N*T, C, H, W).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmaction.models.common.tam import TAM
from mmaction.registry import MODELS
from mmaction.utils import OptConfigType

from .resnet import Block, ResNet

__all__ = ['TABlock', 'TANet']


class TABlock(nn.Module):
    """A bottleneck with a TAM after its first convolution."""

    def __init__(self, block: Block, num_segments: int, tam_cfg: dict[str, Any]) -> None:
        super().__init__()
        self.block = block
        self.tam = TAM(block.conv1.conv.out_channels, num_segments, **tam_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> (N*T, C', H', W')."""
        y: Tensor = self.block(x, self.tam)
        return y


@MODELS.register_module()
class TANet(ResNet):
    """ResNet with a TAM in each bottleneck.

    Args:
        depth: 50, 101 or 152.
        num_segments: Frames T of a video, at least 3.
        tam_cfg: Further arguments of `TAM`.
        kwargs: Further arguments of `ResNet`.

    Raises:
        ValueError: Another depth, or fewer frames.
    """

    def __init__(
        self, depth: int, num_segments: int, tam_cfg: OptConfigType = None, **kwargs: Any
    ) -> None:
        super().__init__(depth, **kwargs)
        if num_segments < 3 or depth < 50:
            raise ValueError(
                f'TANet takes num_segments >= 3 and depth >= 50, not {num_segments} and {depth}'
            )
        self.num_segments = num_segments
        for blocks in self.stages():
            for i, block in enumerate(blocks):
                blocks[i] = TABlock(block, num_segments, tam_cfg or {})
