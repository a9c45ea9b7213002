"""Softmax attention on CPUs by a kernel of our own, `attention_cpu.cpp`.

Windows and pyramids have a few hundred keys of 32 channels, for which PyTorch's kernel reaches 0.3
to 0.5 of the processor's peak, this one 0.5 to 0.9 (docs/performance.md). Where it cannot be had
(see `cpp_library`), PyTorch's runs.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .cpp_library import load_library
from .cpu import HAS_AMX, can_run_operators

__all__ = ['cpu_attention', 'takes']

_CHUNK = 1024
"""Queries of a task of the forward pass; of one of the backward pass, at least."""

_TASKS = 64
"""Up to so many tasks a backward pass is cut into if there are fewer heads."""

_SHARES = 1 << 24
"""Most numbers of the gradients of keys and values that these tasks hold, in all."""

_FEWEST = 8
"""Queries of a head below which a block of them is mostly empty."""

_SMALL = 1 << 18
"""Products of a query and a key up to which calling the kernel costs more than it saves."""


def takes(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> bool:
    """Whether the kernel computes this: q (B, h, L, d), k and v (B, h, M, d), bias (B, h, L, M).

    Not where other software is to run the graph (export), not within `torch.func`, and not where
    PyTorch has been told to leave out its own kernel (`torch.nn.attention.sdpa_kernel`).
    """
    return (
        can_run_operators()
        and q.device.type == 'cpu'
        and q.dtype == k.dtype == v.dtype
        and _takes_dtype(q.dtype)
        and k.shape == v.shape
        and q.shape[:2] == k.shape[:2]
        and q.shape[2] >= _FEWEST
        and (bias is None or bias.is_floating_point())
        and q.shape[-1] % 32 == 0
        and q.shape[:3].numel() * k.shape[2] > _SMALL
        and _may_run(q.shape[-1])
    )


def _takes_dtype(dtype: torch.dtype) -> bool:
    if torch.is_autocast_enabled('cpu') and dtype != torch.get_autocast_dtype('cpu'):
        return False
    # In bf16 PyTorch's kernel takes longer than this one in fp32, unless it has AMX.
    return dtype == torch.float32 or (dtype == torch.bfloat16 and not HAS_AMX)


@torch.compiler.assume_constant_result
def _may_run(head: int) -> bool:
    return torch.backends.cuda.flash_sdp_enabled() and _library(head) is not None


# ---------------------------------------------------------------- compilation


@lru_cache
def _library(head: int) -> ctypes.CDLL | None:
    """The kernel for heads of so many channels; None if it cannot be had."""
    source = Path(__file__).with_suffix('.cpp')
    check = partial(_is_right, head=head)
    return load_library(source, 'attention runs', check, f'-DHEAD={head}')


def _is_right(library: ctypes.CDLL, head: int) -> bool:
    numbers = torch.linspace(-9, 9, 3 * 2 * 37 * head, dtype=torch.float32, device='cpu').sin()
    q, k, v = numbers.view(3, 1, 2, 37, head)
    scale = head**-0.5
    bias, grad = q @ k.mT, v  # any will do
    forward = _forward(library, q, k, v, bias, scale)
    found = (*forward, *_backward(library, grad, (q, k, v), bias, *forward, scale, True))
    logits = bias * (1 + scale)
    weights, slopes = logits.softmax(-1), grad @ v.mT
    slopes = weights * (slopes - (weights * slopes).sum(-1, keepdim=True))
    of_qkv = scale * slopes @ k, scale * slopes.mT @ q, weights.mT @ grad
    expected = weights @ v, logits.logsumexp(-1), *of_qkv, slopes
    pairs = zip(found, expected, strict=True)
    return all(torch.allclose(x, y, rtol=1e-4, atol=1e-5) for x, y in pairs)


# ---------------------------------------------------------------- calls


class _Tokens(ctypes.Structure):
    _fields_ = (
        ('data', ctypes.c_void_p),
        *((stride, ctypes.c_long) for stride in ('batch', 'head', 'token')),
    )


def _tokens(x: Tensor | None) -> _Tokens:
    return _Tokens() if x is None else _Tokens(x.data_ptr(), *x.stride()[:3])


def _sizes(q: Tensor, k: Tensor, scale: float, cut: int) -> tuple[ctypes._SimpleCData[Any], ...]:
    sizes = (*q.shape[:3], k.shape[2])
    threads = ctypes.c_int(torch.get_num_threads())
    return (*map(ctypes.c_long, sizes), ctypes.c_float(scale), ctypes.c_long(cut), threads)


def _addresses(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(None if x is None else x.data_ptr()) for x in tensors]


def _forward(
    library: ctypes.CDLL, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    dtype, (q, k, v, *rest) = q.dtype, _with_rows(q, k, v, bias)
    B, h, L, d = q.shape
    out, log_sums = q.new_empty(B, L, h, d), q.new_empty(B, h, L)
    lacks_memory = library.attention_forward(
        *map(_tokens, (q, k, v, *rest)), *_addresses(out, log_sums), *_sizes(q, k, scale, _CHUNK)
    )
    if lacks_memory:
        raise _memory_error(k)
    return out.transpose(1, 2).to(dtype), log_sums


def _backward(
    library: ctypes.CDLL,
    grad: Tensor,
    qkv: Sequence[Tensor],
    bias: Tensor | None,
    out: Tensor,
    log_sums: Tensor,
    scale: float,
    of_bias: bool,
) -> list[Tensor]:
    dtype, inputs = grad.dtype, _with_rows(grad, *qkv, bias, out)
    _, q, k, *_ = inputs
    B, h, L, _ = q.shape
    # Enough tasks for many threads, whatever their number: it must not change the result.
    most = min(_TASKS // (B * h), _SHARES // (2 * k.numel()))
    parts = max(1, min(-(-L // _CHUNK), most))
    grads = [x.new_empty(B, x.shape[2], h, x.shape[3]) for x in (q, k, k)]
    grad_bias = q.new_empty(B, h, L, k.shape[2]) if of_bias else None
    lacks_memory = library.attention_backward(
        *map(_tokens, inputs),
        *_addresses(log_sums, *grads, grad_bias),
        *_sizes(q, k, scale, parts),
    )
    if lacks_memory:
        raise _memory_error(k)
    found = [x.transpose(1, 2).to(dtype) for x in grads]
    return found if grad_bias is None else [*found, grad_bias]


def _memory_error(k: Tensor) -> RuntimeError:
    # As PyTorch's allocator says it, of the same class.
    return RuntimeError(
        f"attention can't allocate memory: its keys have the shape {tuple(k.shape)}"
    )


def _with_rows(*tensors: Tensor | None) -> list[Any]:
    """The tensors in fp32, with the channels of a token side by side."""
    floats = [None if x is None else x.float() for x in tensors]
    return [x if x is None or x.stride(-1) == 1 else x.contiguous() for x in floats]


# ---------------------------------------------------------------- operators


@torch.library.custom_op('mmaction::cpu_attention', mutates_args=(), device_types='cpu')
def _attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    library = _library(q.shape[-1])
    assert library is not None
    return _forward(library, q, k, v, bias, scale)


@_attention.register_fake
def _(
    q: Tensor,
    k: Tensor,  # noqa: ARG001 (by name, as the others)
    v: Tensor,  # noqa: ARG001
    bias: Tensor | None,  # noqa: ARG001
    scale: float,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    B, h, L, d = q.shape
    out = q.new_empty(B, L, h, d).transpose(1, 2)
    return out, q.new_empty(B, h, L, dtype=torch.float32)


@torch.library.custom_op('mmaction::cpu_attention_backward', mutates_args=(), device_types='cpu')
def _attention_backward(
    grad: Tensor,
    qkv: list[Tensor],
    bias: Tensor | None,
    out: Tensor,
    log_sums: Tensor,
    scale: float,
    of_bias: bool,
) -> list[Tensor]:
    library = _library(grad.shape[-1])
    assert library is not None
    return _backward(library, grad, qkv, bias, out, log_sums, scale, of_bias)


@_attention_backward.register_fake
def _(
    grad: Tensor,  # noqa: ARG001 (by name, as the others)
    qkv: list[Tensor],
    bias: Tensor | None,
    out: Tensor,  # noqa: ARG001
    log_sums: Tensor,  # noqa: ARG001
    scale: float,  # noqa: ARG001
    of_bias: bool,
) -> list[Tensor]:
    found = [x.new_empty(x.transpose(1, 2).shape).transpose(1, 2) for x in qkv]
    return [*found, bias.new_empty(bias.shape)] if of_bias and bias is not None else found


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, *rest = ctx.saved_tensors
    of_bias = ctx.needs_input_grad[3]
    found = _attention_backward(grad, [q, k, v], *rest, ctx.scale, of_bias)
    return (*found, None) if of_bias else (*found, None, None)


_attention.register_autograd(_gradients, setup_context=_save)


@register_flop_formula(torch.ops.mmaction.cpu_attention)
def _(q: Any, k: Any, *_: Any, **__: Any) -> Any:
    return 4 * math.prod(q) * k[2]


@register_flop_formula(torch.ops.mmaction.cpu_attention_backward)
def _(grad: Any, qkv: Any, *_: Any, **__: Any) -> Any:
    return 10 * math.prod(grad) * qkv[1][2]  # five products, with that of queries and keys again


def cpu_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """Softmax attention of what `takes` says yes to.

    Args:
        q: Queries (B, h, L, d).
        k: Keys (B, h, M, d).
        v: Values (B, h, M, d).
        scale: Factor on the logits.
        bias: Added to the logits; of a shape that expands to (B, h, L, M).

    Returns:
        (B, h, L, d), a view of (B, L, h, d).
    """
    if bias is not None:
        bias = bias.float().expand(*q.shape[:3], k.shape[2])
    out: Tensor = _attention(q, k, v, bias, scale)[0]
    return out
