"""Linear layers on CPUs: oneDNN's product where PyTorch's own moves more bytes than it has to.

PyTorch writes the bias into the output and then lets MKL add the product to it. With few channels
and many tokens, as in the first stages of a video model, that takes as long as the product itself;
oneDNN adds the bias as it writes (`docs/performance.md` has the measurements).
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['Linear', 'uses_onednn']

LARGE = 1 << 18
"""Elements of the output from which oneDNN is faster; a call of it costs more than one of MKL."""

NARROW = 128
"""Most channels, of input or output, up to which it is; MKL multiplies wider matrices faster."""

# An operator without gradients, which torch.compile uses as well.
_PRODUCT: Any = getattr(torch.ops.mkldnn, '_linear_pointwise', None)


class Linear(nn.Linear):
    """`nn.Linear`, by oneDNN where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if not uses_onednn(x, self.weight):
            return F.linear(x, self.weight, self.bias)
        y: Tensor = _PRODUCT(x, self.weight, self.bias, 'none', [], '')
        return y


def uses_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies tokens (..., in) by a weight (out, in).

    Only in inference and on processors with AMX, where it was measured: in training it gained
    nothing. What is compiled, traced or exported keeps PyTorch's operator, which other programs
    know.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return (
        x.device.type == 'cpu'
        and x.dtype is weight.dtype is torch.float32
        and x.numel() // weight.shape[1] * weight.shape[0] >= LARGE
        and min(weight.shape) <= NARROW
        and not torch.is_autocast_enabled('cpu')
        and _measured_processor()
    )


@functools.cache
def _measured_processor() -> bool:
    if _PRODUCT is None or not torch.backends.mkldnn.is_available():
        return False
    # Releases before `get_capabilities` keep PyTorch's operator.
    found: dict[str, Any] = getattr(torch.cpu, 'get_capabilities', dict)()
    return bool(found.get('amx_tile'))
