"""Kernels in C++ for CPUs with AVX2 or AVX-512, compiled by the machine's own g++.

A kernel is compiled when it is first needed, which takes a second, and kept in
`~/.cache/dualformer/kernels`.
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
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ['load_library']

_FLAGS = ('-O3', '-fno-math-errno', '-fno-trapping-math', '-fopenmp', '-shared', '-fPIC')
_VECTORS = {
    'AVX512': ('-march=x86-64-v4', '-mprefer-vector-width=512'),
    'AVX2': ('-march=x86-64-v3',),
}
"""Further flags, by what PyTorch says of the processor."""


def load_library(
    source: Path, what: str, check: Callable[[ctypes.CDLL], bool], *flags: str
) -> ctypes.CDLL | None:
    """The compiled kernels of a file; None where there is no g++ or no AVX2.

    Also None, with a warning, where they cannot be compiled, or do not compute what they should.

    Args:
        source: The file.
        what: What then runs with PyTorch's kernels, for the warning.
        check: Whether a library computes what PyTorch computes, within its error.
        flags: Further flags of the compiler.
    """
    compiler = shlex.split(os.environ.get('CXX', '')) or ['g++']
    vectors = _VECTORS.get(torch.backends.cpu.get_cpu_capability())
    if sys.platform != 'linux' or vectors is None or shutil.which(compiler[0]) is None:
        return None
    try:
        library = ctypes.CDLL(str(_compiled(source, compiler, [*_FLAGS, *vectors, *flags])))
        # Compilers have faults, files on disk too.
        with (
            _disable_current_modes(),
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast('cpu', enabled=False),
        ):
            if not check(library):
                raise ArithmeticError('it does not compute what PyTorch computes')
    except (OSError, subprocess.SubprocessError, ArithmeticError) as error:
        reason = str(getattr(error, 'stderr', None) or error).strip()[:500]
        warnings.warn(
            f'{what} with the slower kernel of PyTorch: {source.name} could not be used '
            f'as compiled by {shlex.join(compiler)} (CXX names another compiler; g++ from 11 on '
            f'will do) into {_folder()}: {reason}',
            stacklevel=2,
        )
        return None
    return library


def _folder() -> Path:
    root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(root).expanduser() / 'dualformer' / 'kernels'


def _compiled(source: Path, compiler: list[str], flags: list[str]) -> Path:
    """The shared library, compiled unless it is there."""
    command = [*compiler, *flags, str(source)]
    version = subprocess.run([*compiler, '--version'], capture_output=True, check=True, timeout=60)
    parts = [source, *sorted(source.parent.glob('*.h'))]
    facts = [*(part.read_bytes() for part in parts), version.stdout, shlex.join(command).encode()]
    digest = hashlib.sha256(b''.join(facts)).hexdigest()[:16]
    target = _folder() / f'{source.stem}_{digest}.so'
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Other processes may be at it, too: each compiles for itself, and the last one stays.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            command += ['-o', str(part)]
            subprocess.run(command, capture_output=True, check=True, text=True, timeout=300)
            part.replace(target)
    return target
