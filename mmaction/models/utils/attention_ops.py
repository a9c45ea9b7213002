"""Softmax attention with the fastest backend that is right.

On a GPU, PyTorch chooses among flash, memory-efficient, cuDNN and plain attention. Which one is
fastest depends on device, dtype and size; `choose_backends` says which may run, from a table of
measurements (`tools/analysis_tools/benchmark_gpu.py`, part `attention`). On a CPU with AVX2,
the kernel of `attention_cpu.py` runs.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attention_cpu import cpu_attention, takes
from .gpu import gpu_name

__all__ = ['attention', 'choose_backends']

MEASURED: dict[str, str] = {
    'NVIDIA H200/bfloat16/392': 'CUDNN_ATTENTION',
    'NVIDIA H200/bfloat16/456': 'CUDNN_ATTENTION',
    'NVIDIA H200/bfloat16/784': 'FLASH_ATTENTION',
}
"""Fastest `SDPBackend` by `device name/dtype/number of keys`, forward and
backward together."""

SOUND_CUDNN = 91501
"""cuDNN before 9.15.1 reads beyond its inputs and gives NaN gradients where a length is no multiple
of 128 (pytorch pull requests 167101, 171627); a window has 392 = 3 x 128 + 8 tokens."""

_BACKENDS = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    scale: float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax attention.

    Args:
        q: Queries (B, h, L, d).
        k: Keys (B, h, M, d).
        v: Values (B, h, M, d).
        dropout_p: Dropout of the attention weights.
        scale: Factor on the logits; d ** -0.5 if None.
        bias: Added to the logits; of a shape that expands to (B, h, L, M).

    Returns:
        (B, h, L, d).
    """
    # With five axes PyTorch falls back to plain attention without a word.
    assert q.ndim == k.ndim == v.ndim == 4
    if not dropout_p and takes(q, k, v, bias):
        return cpu_attention(q, k, v, q.shape[-1] ** -0.5 if scale is None else scale, bias)
    # Which of those with a bias is fastest has not been measured.
    backends = choose_backends(q, k) if bias is None else None
    restricted = nullcontext() if backends is None else sdpa_kernel(backends, set_priority=True)
    with restricted:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout_p, scale=scale
        )


def choose_backends(q: Tensor, k: Tensor) -> list[SDPBackend] | None:
    """The backends that may run, best first; None leaves the choice to PyTorch."""
    if q.device.type != 'cuda':
        return None
    allowed = list(_BACKENDS)
    faulty = _cudnn_version() < SOUND_CUDNN and (q.shape[2] % 128 or k.shape[2] % 128)
    if faulty:
        allowed.remove(SDPBackend.CUDNN_ATTENTION)
    dtype = str(q.dtype).removeprefix('torch.')
    fastest = MEASURED.get(f'{gpu_name(q.device.index)}/{dtype}/{k.shape[2]}')
    if fastest is not None:
        allowed.sort(key=lambda backend: backend.name != fastest)
        return allowed
    return allowed if faulty else None


@torch.compiler.assume_constant_result
def _cudnn_version() -> int:
    return torch.backends.cudnn.version() or 0
