"""The temporal adaptive module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import split_segments

__all__ = ['TAM']


class TAM(nn.Module):
    """Filters each channel along time, with a kernel and a gate that depend on the video.

    Args:
        in_channels: Channels C.
        num_segments: Frames T.
        alpha: Width of the hidden layer that makes kernels, over T.
        adaptive_kernel_size: Length K of these kernels.
        beta: C over the width of the layer that makes gates.
        conv1d_kernel_size: Length of its convolution.
        adaptive_convolution_stride: Stride along time.
        adaptive_convolution_padding: Padding along time.
        init_std: No effect; accepted since published configs may have it.

    Source: arXiv:2005.06803.
    """

    def __init__(
        self,
        in_channels: int,
        num_segments: int,
        alpha: int = 2,
        adaptive_kernel_size: int = 3,
        beta: int = 4,
        conv1d_kernel_size: int = 3,
        adaptive_convolution_stride: int = 1,
        adaptive_convolution_padding: int = 1,
        init_std: float = 0.001,
    ) -> None:
        super().__init__()
        self.num_segments = num_segments
        self.stride = adaptive_convolution_stride
        self.padding = adaptive_convolution_padding
        self.G = nn.Sequential(
            nn.Linear(num_segments, num_segments * alpha, bias=False),
            nn.BatchNorm1d(num_segments * alpha),
            nn.ReLU(inplace=True),
            nn.Linear(num_segments * alpha, adaptive_kernel_size, bias=False),
            nn.Softmax(-1),
        )
        half = conv1d_kernel_size // 2
        self.L = nn.Sequential(
            nn.Conv1d(in_channels, in_channels // beta, conv1d_kernel_size, 1, half, bias=False),
            nn.BatchNorm1d(in_channels // beta),
            nn.ReLU(inplace=True),
            nn.Conv1d(in_channels // beta, in_channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N*T, C, H, W) -> the same."""
        video = split_segments(x, self.num_segments).transpose(1, 2)  # (N, C, T, H, W)
        pooled = video.mean((3, 4))  # (N, C, T)
        kernels = self.G(pooled.flatten(0, 1)).unflatten(0, (-1, pooled.shape[1]))  # (N, C, K)
        gated = video * self.L(pooled)[..., None, None]
        gated = F.pad(gated, (0, 0) * 2 + (self.padding,) * 2)
        # Every channel of every video has a kernel of its own. A convolution of so many groups
        # could not be exported for any number of videos.
        windows = gated.unfold(2, kernels.shape[2], self.stride)  # (N, C, T, H, W, K)
        out = torch.einsum('ncthwk,nck->ncthw', windows, kernels)
        return out.transpose(1, 2).flatten(0, 1)
