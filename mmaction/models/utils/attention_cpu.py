"""Softmax attention on CPUs with AVX2 or AVX-512, compiled by the machine's own g++.

Windows and pyramids have a few hundred keys of 32 channels, for which PyTorch's kernel reaches 0.4
to 0.5 of the processor's peak, this one 0.5 to 0.7 (docs/performance.md). `attention_cpu.cpp` is
compiled when it is first needed, which takes a second, and kept in `~/.cache/dualformer/kernels`.
Where there is no g++ or no AVX2, PyTorch's kernel runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .cpu import HAS_AMX, is_exporting

__all__ = ['cpu_attention', 'takes']

_SOURCE = Path(__file__).with_suffix('.cpp')
_FLAGS = ('-O3', '-fno-math-errno', '-fno-trapping-math', '-fopenmp', '-shared', '-fPIC')
_VECTORS = {
    'AVX512': ('-march=x86-64-v4', '-mprefer-vector-width=512'),
    'AVX2': ('-march=x86-64-v3',),
}
"""Further flags, by what PyTorch says of the processor."""

_CHUNK = 1024
"""Queries of a task, at most in the forward pass."""

_TASKS = 64
"""Tasks that a backward pass is cut into if there are fewer heads."""

_SMALL = 1 << 18
"""Products of a query and a key up to which calling the kernel costs more than it saves."""


def takes(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel computes this: q (B, h, L, d), k and v (B, h, M, d).

    Not where other software is to run the graph (export), and not where PyTorch has been told to
    leave out its own kernel (`torch.nn.attention.sdpa_kernel`).
    """
    if is_exporting():
        return False
    return (
        q.device.type == 'cpu'
        and q.dtype == k.dtype == v.dtype
        and _takes_dtype(q.dtype)
        and k.shape == v.shape
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
    compiler = shlex.split(os.environ.get('CXX', '')) or ['g++']
    vectors = _VECTORS.get(torch.backends.cpu.get_cpu_capability())
    if sys.platform != 'linux' or vectors is None or shutil.which(compiler[0]) is None:
        return None
    try:
        library = ctypes.CDLL(str(_compiled(compiler, [*_FLAGS, *vectors, f'-DHEAD={head}'])))
        _check(library, head)
    except (OSError, subprocess.SubprocessError, ArithmeticError) as error:
        reason = str(getattr(error, 'stderr', None) or error).strip()[:500]
        warnings.warn(
            f'attention runs with the slower kernel of PyTorch: {_SOURCE.name} could not be used '
            f'as compiled by {shlex.join(compiler)} (CXX names another compiler; g++ from 11 on '
            f'will do) into {_folder()}: {reason}',
            stacklevel=2,
        )
        return None
    return library


def _folder() -> Path:
    root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(root).expanduser() / 'dualformer' / 'kernels'


def _compiled(compiler: list[str], flags: list[str]) -> Path:
    """The shared library, compiled unless it is there."""
    command = [*compiler, *flags, str(_SOURCE)]
    version = subprocess.run([*compiler, '--version'], capture_output=True, check=True, timeout=60)
    facts = _SOURCE.read_bytes() + version.stdout + shlex.join(command).encode()
    target = _folder() / f'{_SOURCE.stem}_{hashlib.sha256(facts).hexdigest()[:16]}.so'
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Other processes may be at it, too: each compiles for itself, and the last one stays.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            command += ['-o', str(part)]
            subprocess.run(command, capture_output=True, check=True, text=True, timeout=300)
            part.replace(target)
    return target


def _check(library: ctypes.CDLL, head: int) -> None:
    """Compare it with PyTorch: compilers have faults, files on disk too.

    Raises:
        ArithmeticError: They differ.
    """
    with (
        _disable_current_modes(),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast('cpu', enabled=False),
    ):
        generator = torch.Generator().manual_seed(0)
        q, k, v = torch.randn(3, 1, 2, 37, head, generator=generator)
        scale = head**-0.5
        forward = _forward(library, q, k, v, scale)
        grad = v  # of the output
        found = (*forward, *_backward(library, grad, (q, k, v, *forward), scale))
        logits = q @ k.mT * scale
        weights, slopes = logits.softmax(-1), grad @ v.mT
        slopes = scale * weights * (slopes - (weights * slopes).sum(-1, keepdim=True))
        expected = weights @ v, logits.logsumexp(-1), slopes @ k, slopes.mT @ q, weights.mT @ grad
        pairs = zip(found, expected, strict=True)
        if not all(torch.allclose(x, y, rtol=1e-4, atol=1e-5) for x, y in pairs):
            raise ArithmeticError('it does not compute what PyTorch computes')


# ---------------------------------------------------------------- calls


class _Tokens(ctypes.Structure):
    _fields_ = (
        ('data', ctypes.c_void_p),
        *((stride, ctypes.c_long) for stride in ('batch', 'head', 'token')),
    )


def _tokens(x: Tensor) -> _Tokens:
    return _Tokens(x.data_ptr(), *x.stride()[:3])


def _sizes(q: Tensor, k: Tensor, scale: float, cut: int) -> tuple[ctypes._SimpleCData[Any], ...]:
    sizes = (*q.shape[:3], k.shape[2])
    threads = ctypes.c_int(torch.get_num_threads())
    return (*map(ctypes.c_long, sizes), ctypes.c_float(scale), ctypes.c_long(cut), threads)


def _addresses(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(x.data_ptr()) for x in tensors]


def _forward(
    library: ctypes.CDLL, q: Tensor, k: Tensor, v: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    dtype, (q, k, v) = q.dtype, _with_rows(q, k, v)
    B, h, L, d = q.shape
    out, log_sums = q.new_empty(B, L, h, d), q.new_empty(B, h, L)
    library.attention_forward(
        *map(_tokens, (q, k, v)), *_addresses(out, log_sums), *_sizes(q, k, scale, _CHUNK)
    )
    return out.transpose(1, 2).to(dtype), log_sums


def _backward(
    library: ctypes.CDLL, grad: Tensor, tensors: Sequence[Tensor], scale: float
) -> list[Tensor]:
    *inputs, log_sums = tensors
    inputs = _with_rows(grad, *inputs)
    _, q, k, *_ = inputs
    B, h, L, _ = q.shape
    # Enough tasks for many threads, whatever their number: it must not change the result.
    parts = min(-(-L // _CHUNK), max(1, _TASKS // (B * h)))
    grads = [x.new_empty(B, x.shape[2], h, x.shape[3]) for x in (q, k, k)]
    library.attention_backward(
        *map(_tokens, inputs), *_addresses(log_sums, *grads), *_sizes(q, k, scale, parts)
    )
    return [x.transpose(1, 2).to(grad.dtype) for x in grads]


def _with_rows(*tensors: Tensor) -> list[Tensor]:
    """The same in fp32, with the channels of a token side by side."""
    return [x if x.stride(-1) == 1 else x.contiguous() for x in map(Tensor.float, tensors)]


# ---------------------------------------------------------------- operators


@torch.library.custom_op('mmaction::cpu_attention', mutates_args=(), device_types='cpu')
def _attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    library = _library(q.shape[-1])
    assert library is not None
    return _forward(library, q, k, v, scale)


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:  # noqa: ARG001 (by name)
    B, h, L, d = q.shape
    out = q.new_empty(B, L, h, d).transpose(1, 2)
    return out, q.new_empty(B, h, L, dtype=torch.float32)


@torch.library.custom_op('mmaction::cpu_attention_backward', mutates_args=(), device_types='cpu')
def _attention_backward(grad: Tensor, saved: list[Tensor], scale: float) -> list[Tensor]:
    library = _library(grad.shape[-1])
    assert library is not None
    return _backward(library, grad, saved, scale)


@_attention_backward.register_fake
def _(grad: Tensor, saved: list[Tensor], scale: float) -> list[Tensor]:  # noqa: ARG001 (by name)
    return [x.new_empty(x.transpose(1, 2).shape).transpose(1, 2) for x in saved[:3]]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *qkv, ctx.scale = inputs
    ctx.save_for_backward(*qkv, *output)
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*_attention_backward(grad, list(ctx.saved_tensors), ctx.scale), None)


_attention.register_autograd(_gradients, setup_context=_save)


def cpu_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Softmax attention of what `takes` says yes to.

    Args:
        q: Queries (B, h, L, d).
        k: Keys (B, h, M, d).
        v: Values (B, h, M, d).
        scale: Factor on the logits.

    Returns:
        (B, h, L, d), a view of (B, L, h, d).
    """
    out: Tensor = _attention(q, k, v, scale)[0]
    return out
