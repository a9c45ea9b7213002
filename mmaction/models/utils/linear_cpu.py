"""Linear layers in fp32 on AMD processors with AVX-512.

PyTorch multiplies fp32 matrices with MKL, which leaves AVX-512 to Intel's processors: on an AMD
Zen 5 it reaches half of what oneDNN does, with which PyTorch convolves (docs/performance.md). A
linear layer is a convolution of 1x1 over tokens whose channels lie side by side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .cpu import IS_AMD, is_exporting

__all__ = ['Linear', 'linear', 'use_fast_linear']

_FEWEST = 128
"""Tokens from which it pays to bring the weights into oneDNN's order."""

_SMALL = 1 << 23
"""Multiplications up to which starting a convolution costs more than it saves."""

GAINS = (
    torch.backends.mkl.is_available()
    and torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == 'AVX512'
    and IS_AMD
)
"""Whether oneDNN has wider vectors than MKL on this processor."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, by oneDNN where that is faster.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,).

    Returns:
        (..., out).
    """
    if not (GAINS and x.device.type == 'cpu' and _takes(x, weight)):
        return F.linear(x, weight, bias)
    tokens, learns = x.shape[:-1].numel(), torch.is_grad_enabled()
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    # The compiler gives sides of 1 a stride of 0, by which PyTorch does not see channels last any
    # more: it would turn gradients, and what they are computed from, around and back.
    height, width = (_picture(tokens) // 2, 2) if learns else (tokens, 1)
    pictures = -(-tokens // (height * width))
    if missing := pictures * height * width - tokens:
        rows = F.pad(rows, (0, 0, 0, missing))
    pixels = rows.view(pictures, height, width, x.shape[-1]).permute(0, 3, 1, 2)  # channels last
    # oneDNN adds up the gradient of the bias token by token, which loses digits.
    learned = bias is not None and bias.requires_grad and learns
    fused = None if learned else bias
    # A kernel of 1x1 can be dilated at will. With one thread, PyTorch takes oneDNN only then.
    y = F.conv2d(pixels, weight[:, :, None, None], fused, dilation=2)
    y = y.permute(0, 2, 3, 1).reshape(-1, len(weight))
    if missing:  # the gradient of a slice is a copy, also where it holds everything
        y = y[:tokens]
    y = y.view(*x.shape[:-1], -1)
    return y if bias is fused or bias is None else y + bias


def _picture(tokens: int) -> int:
    """Tokens of a picture in training, two pictures at least.

    oneDNN sums the gradient of the weights over blocks of a picture. In large ones these take up to
    three times as long, above all if few numbers divide the size.
    """
    return 196 if tokens % (2 * 196) == 0 else 64


def _takes(x: Tensor, weight: Tensor) -> bool:
    return (
        not is_exporting()
        and x.layout == weight.layout == torch.strided
        and x.dtype == weight.dtype == torch.float32
        and (tokens := x.shape[:-1].numel()) >= _FEWEST
        and tokens * weight.numel() > _SMALL
        and not torch.is_autocast_enabled('cpu')
        and bool(torch.backends.mkldnn.enabled)
    )


class Linear(nn.Linear):
    """A linear layer that computes with `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return linear(x, self.weight, self.bias)


def use_fast_linear(model: nn.Module) -> None:
    """Make the linear layers of a model `Linear`, in place, where that is faster at all.

    Weights, hooks and names stay what they are. What goes by the exact type of a layer, such as
    `torch.ao.quantization.quantize_dynamic`, wants a model that is built with
    `ATEN_CPU_CAPABILITY=avx2` in the environment.
    """
    if GAINS:
        for module in model.modules():
            if type(module) in (nn.Linear, NonDynamicallyQuantizableLinear):
                module.__class__ = Linear
