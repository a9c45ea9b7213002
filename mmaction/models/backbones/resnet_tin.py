"""ResNet whose channels move along time by learned offsets (TIN).

Shapes: N videos of T segments, one frame each; frames (N*T, C, H, W); the
first F = C / shift_div channels move, in four groups.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from mmaction.registry import MODELS

from .resnet_tsm import ResNetTSM, split_segments

__all__ = ['ResNetTIN', 'TemporalInterlace', 'shift_groups']

GROUPS = 2  # each goes forth and back, so the channels move in 2 * GROUPS groups


def shift_groups(video: Tensor, offsets: Tensor) -> Tensor:
    """Move groups of channels along time by fractions of a frame; zeros follow.

    Args:
        video: (N, T, F, H, W).
        offsets: (N, G) frames that each of G groups of channels moves on.

    Returns:
        (N, T, F, H, W), a linear blend of the two nearest whole shifts.
    """
    frames = video.shape[1]
    groups = video.unflatten(2, (offsets.shape[1], -1))  # (N, T, G, F/G, H, W)
    whole = offsets.detach().floor()
    part = offsets - whole
    moved = torch.zeros_like(groups)
    times = torch.arange(frames, device=video.device)
    for shift, weight in ((whole, 1 - part), (whole + 1, part)):
        source = times[:, None] - shift.long()[:, None]  # (N, T, G): the frame that arrives
        inside = (source >= 0) & (source < frames)
        index = source.clamp(0, frames - 1)[..., None, None, None].expand_as(groups)
        share = (weight[:, None] * inside).to(video.dtype)  # (N, T, G)
        moved = moved + groups.gather(1, index) * share[..., None, None, None]
    return moved.flatten(2, 3)


class TemporalInterlace(nn.Module):
    """Moves and weights the first channels by what these say themselves."""

    def __init__(self, in_channels: int, num_segments: int = 3, shift_div: int = 1) -> None:
        super().__init__()
        self.num_segments = num_segments
        self.fold = in_channels // shift_div
        offset_net = OrderedDict[str, nn.Module](
            conv=nn.Conv1d(self.fold, 1, 3, padding=1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(num_segments, num_segments),
            relu=nn.ReLU(),
            fc2=nn.Linear(num_segments, GROUPS),
        )
        self.offset_net = nn.Sequential(offset_net)
        conv = nn.Conv1d(self.fold, GROUPS, 3, padding=1)
        self.weight_net = nn.Sequential(OrderedDict(conv=conv))
        # offsets of about 0.5, weights of about 1
        nn.init.constant_(self.offset_net.get_parameter('fc2.bias'), 0.5108)
        nn.init.zeros_(self.weight_net.get_parameter('conv.bias'))

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> the same."""
        video = split_segments(x, self.num_segments)[:, :, : self.fold]
        pooled = video.mean((3, 4)).mT  # (N, F, T)
        # two frames either way, and weights between 0 and 2
        offset = 4 * (self.offset_net(pooled).sigmoid() - 0.5)  # (N, GROUPS)
        weight = 2 * self.weight_net(pooled).mT.sigmoid()  # (N, T, GROUPS)
        moved = shift_groups(video, torch.cat([offset, -offset], 1))
        weight = weight.repeat(1, 1, 2).repeat_interleave(self.fold // (2 * GROUPS), 2)  # (N, T, F)
        moved = (moved * weight[..., None, None]).flatten(0, 1)
        return torch.cat([moved, x[:, self.fold :]], 1)


@MODELS.register_module()
class ResNetTIN(ResNetTSM):
    """ResNet with temporal interlacing before the first convolution of each block.

    Args:
        depth: As in `ResNet`.
        is_tin: Whether to interlace at all.
        kwargs: Further arguments of `ResNetTSM`.

    Source: arXiv:2001.06499.
    """

    def __init__(self, depth: int, is_tin: bool = True, **kwargs: Any) -> None:
        super().__init__(depth, is_shift=is_tin, **kwargs)

    def shifted(self, block: Any, index: int, segments: int) -> Any:
        """A block with an interlacing before its first convolution."""
        conv = block.conv1.conv
        interlace = TemporalInterlace(conv.in_channels, self.num_segments, self.shift_div)
        block.conv1.conv = nn.Sequential(OrderedDict(net1=interlace, net2=conv))
        return block
