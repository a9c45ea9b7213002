"""ResNet whose frames exchange channels (TSM), or move them by learned offsets (TIN).

Shapes: N videos of T segments, one frame each; frames (N*T, C, H, W).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmaction.models.common.layers import split_segments, to_clips, to_frames
from mmaction.models.common.non_local import NonLocal3d
from mmaction.registry import MODELS
from mmaction.utils import OptConfigType

from .resnet import ResNet, per_block

__all__ = [
    'NonLocalWrapper',
    'ResNetTIN',
    'ResNetTSM',
    'TemporalInterlace',
    'TemporalPool',
    'TemporalShift',
    'shift_groups',
    'temporal_shift',
]


def temporal_shift(x: Tensor, segments: int, shift_div: int = 8) -> Tensor:
    """Move a share of the channels one frame back and as many one frame on; zeros follow.

    Args:
        x: (N*T, C, H, W).
        segments: T.
        shift_div: C over the channels that move each way.

    Source: arXiv:1811.08383.
    """
    video = split_segments(x, segments)
    fold = video.shape[2] // shift_div
    space = (0, 0) * 3
    back = F.pad(video[:, 1:, :fold], (*space, 0, 1))
    on = F.pad(video[:, :-1, fold : 2 * fold], (*space, 1, 0))
    return torch.cat([back, on, video[:, :, 2 * fold :]], 2).flatten(0, 1)


class TemporalShift(nn.Module):
    """A module on shifted frames."""

    def __init__(self, net: nn.Module, num_segments: int = 3, shift_div: int = 8) -> None:
        super().__init__()
        self.net = net
        self.num_segments = num_segments
        self.shift_div = shift_div

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> what the module gives."""
        y: Tensor = self.net(temporal_shift(x, self.num_segments, self.shift_div))
        return y


class TemporalPool(nn.Module):
    """A module on half as many frames, the maxima of their neighborhoods."""

    def __init__(self, net: nn.Module, num_segments: int) -> None:
        super().__init__()
        self.net = net
        self.num_segments = num_segments
        self.pool = nn.MaxPool3d((3, 1, 1), (2, 1, 1), (1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> what the module gives for (N*T/2, C, H, W)."""
        y: Tensor = self.net(to_frames(self.pool(to_clips(x, self.num_segments))))
        return y


class NonLocalWrapper(nn.Module):
    """A residual block and a non-local block over all frames of a video after it."""

    def __init__(
        self, block: nn.Module, channels: int, num_segments: int, non_local_cfg: dict[str, Any]
    ) -> None:
        super().__init__()
        self.block = block
        self.non_local_block = NonLocal3d(channels, **non_local_cfg)
        self.num_segments = num_segments

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> (N*T, C', H', W')."""
        return to_frames(self.non_local_block(to_clips(self.block(x), self.num_segments)))


@MODELS.register_module()
class ResNetTSM(ResNet):
    """ResNet with a temporal shift before convolutions.

    Args:
        num_segments: Frames T of a video.
        is_shift: Whether to shift at all.
        non_local: For each stage, for each block, whether a non-local block follows.
        non_local_cfg: Arguments of `NonLocal3d`; without any, there is none.
        shift_div: Channels over those that move each way.
        shift_place: 'blockres': shift before a block's first convolution, past which
            the shortcut carries the unshifted frames (in the deepest networks, of
            every second block); 'block': before the block.
        temporal_pool: Halve the frames before the second stage.
        pretrained2d: Whether `pretrained` is of an image model in torchvision's names.
        kwargs: Arguments of `ResNet`.

    Raises:
        ValueError: Another `shift_place`, or too few segments.
    """

    def __init__(
        self,
        depth: int,
        num_segments: int = 8,
        is_shift: bool = True,
        non_local: Sequence[int | Sequence[int]] = (0, 0, 0, 0),
        non_local_cfg: OptConfigType = None,
        shift_div: int = 8,
        shift_place: str = 'blockres',
        temporal_pool: bool = False,
        pretrained2d: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(depth, **kwargs)
        if 'block' not in shift_place or num_segments // (2 if temporal_pool else 1) < 1:
            raise ValueError(
                f"shift_place={shift_place!r} must be 'blockres' or 'block', "
                f'num_segments={num_segments} at least 1 (2 with temporal_pool)'
            )
        self.pretrained2d = pretrained2d
        self.num_segments = num_segments
        self.shift_div = shift_div
        self.shift_place = shift_place
        self.temporal_pool = temporal_pool
        stages = self.stages()
        flags = per_block('non_local', non_local if non_local_cfg else 0, [*map(len, stages)])
        for stage, blocks in enumerate(stages):
            segments = num_segments // (2 if temporal_pool and stage else 1)
            for i, block in enumerate(blocks):
                channels = block.out_channels
                if is_shift:
                    blocks[i] = self.shifted(block, i, segments)
                if non_local_cfg and flags[stage][i]:
                    blocks[i] = NonLocalWrapper(blocks[i], channels, segments, non_local_cfg)
        if temporal_pool:
            self.layer2: nn.Module = TemporalPool(self.layer2, num_segments)

    def shifted(self, block: Any, index: int, segments: int) -> Any:
        """A block of a stage with a shift before it or before its first convolution."""
        if self.shift_place == 'block':
            return TemporalShift(block, segments, self.shift_div)
        every = 2 if self.num_stages > 2 and len(self.stages()[2]) >= 23 else 1
        if index % every == 0:
            block.conv1.conv = TemporalShift(block.conv1.conv, segments, self.shift_div)
        return block


# TIN moves the first F = C / shift_div channels of a frame in groups; each of these goes forth
# and back, so there are 2 * GROUPS
GROUPS = 2


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
        is_tin: Whether to interlace at all.
        kwargs: Arguments of `ResNetTSM`.

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
