"""The non-local block: every position of a clip sees every other."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from mmengine.model import constant_init, normal_init
from torch import Tensor, nn

from mmaction.utils import OptConfigType

from .layers import ConvModule

__all__ = ['NonLocal3d']

MODES = ('gaussian', 'embedded_gaussian', 'dot_product', 'concatenation')


class NonLocal3d(nn.Module):
    """Weighted sum over all positions, added to the input.

    Args:
        in_channels: Channels C.
        reduction: C over the channels D within.
        use_scale: With 'embedded_gaussian', divide by the square root of D.
        norm_cfg: Config of the norm after the last convolution.
        mode: How alike two positions are: one of `MODES`.
        sub_sample: Sum over a grid of half the height and width.
        zeros_init: Start as the identity.

    Raises:
        ValueError: Another mode.

    Source: arXiv:1711.07971.
    """

    def __init__(
        self,
        in_channels: int,
        reduction: int = 2,
        use_scale: bool = True,
        norm_cfg: OptConfigType = None,
        mode: str = 'embedded_gaussian',
        sub_sample: bool = False,
        zeros_init: bool = True,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f'non-local mode={mode!r} is none of {MODES}')
        self.mode = mode
        self.use_scale = use_scale
        within = max(in_channels // reduction, 1)
        conv = partial(ConvModule, kernel_size=1, conv_cfg=dict(type='Conv3d'), act_cfg=None)
        self.g: nn.Module = conv(in_channels, within)
        self.conv_out = conv(within, in_channels, norm_cfg=norm_cfg)
        self.theta: nn.Module = nn.Identity()
        self.phi: nn.Module = nn.Identity()
        if mode != 'gaussian':
            self.theta, self.phi = conv(in_channels, within), conv(in_channels, within)
        if mode == 'concatenation':
            self.concat_project = ConvModule(within * 2, 1, 1, bias=False)
        for part in (self.g, self.theta, self.phi):
            normal_init(getattr(part, 'conv', part), std=0.01)
        last = self.conv_out.conv if norm_cfg is None else self.conv_out.norm
        if zeros_init:
            constant_init(last, 0)
        else:
            normal_init(last, std=0.01)
        if sub_sample:
            self.g = nn.Sequential(self.g, nn.MaxPool3d((1, 2, 2)))
            self.phi = nn.Sequential(self.phi, nn.MaxPool3d((1, 2, 2)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> the same."""
        g = self.g(x).flatten(2).mT  # (N, S', D): S positions T*H*W, S' of them looked at
        theta = self.theta(x).flatten(2).mT  # (N, S, D or C)
        phi = self.phi(x).flatten(2).mT  # (N, S', D or C)
        if 'gaussian' in self.mode:
            scaled = self.use_scale and self.mode == 'embedded_gaussian'
            scale = theta.shape[-1] ** -0.5 if scaled else 1.0
            y = F.scaled_dot_product_attention(theta, phi, g, scale=scale)
        elif self.mode == 'dot_product':
            y = theta @ phi.mT @ g / phi.shape[1]
        else:
            # a linear map of a pair (theta, phi) side by side, without a tensor of all pairs
            of_theta, of_phi = self.concat_project.conv.weight.flatten().chunk(2)
            pairs = (theta @ of_theta)[..., None] + (phi @ of_phi)[:, None]  # (N, S, S')
            y = pairs.relu() @ g / phi.shape[1]
        out: Tensor = x + self.conv_out(y.mT.unflatten(2, x.shape[2:]))
        return out
