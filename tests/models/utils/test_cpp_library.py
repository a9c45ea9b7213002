"""Kernels in C++ are compiled once, by the compiler that is asked for, and checked."""

import warnings
from functools import partial

import pytest
import torch

from mmaction.models.utils import attention_cpu, depthwise_cpu
from mmaction.models.utils.cpp_library import load_library
from tests.models.utils.operators import needs_kernel


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Take the lines of a shell script for the compiler, and an empty cache folder."""

    def take(lines, cache=tmp_path / 'cache'):
        path = tmp_path / 'compiler'
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\n{lines}\n')
        path.chmod(0o755)
        monkeypatch.setenv('CXX', f'{path} -DGIVEN')
        monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
        return attention_cpu._library.__wrapped__(32)

    return take


@needs_kernel
def test_library_is_compiled_once_by_the_compiler_that_cxx_names(compiler, tmp_path):
    assert compiler('exec g++ "$@"') is not None
    assert compiler('exec g++ "$@"') is not None
    log = (tmp_path / 'log').read_text().splitlines()
    assert [line.split()[:2] for line in log] == [
        *(['-DGIVEN', found] for found in ('--version', '-O3', '--version'))
    ]
    assert [x.suffix for x in (tmp_path / 'cache' / 'dualformer' / 'kernels').iterdir()] == ['.so']


@needs_kernel
def test_a_blank_cxx_names_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', ' ')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert attention_cpu._library.__wrapped__(32) is not None


@needs_kernel
@pytest.mark.parametrize(
    ('lines', 'reason'),
    [
        ('echo it is broken >&2; exit 1', 'it is broken'),
        # which takes the rounding of exponents away
        ('exec g++ "$@" -ffast-math', 'does not compute what PyTorch'),
        ('[ "$1" = -DGIVEN ] && echo 1 && touch "$(eval echo \\${$#})"', 'file too short'),
    ],
)
def test_unusable_libraries_are_reported_and_left_alone(compiler, lines, reason):
    with pytest.warns(UserWarning, match=f'compiler -DGIVEN .*{reason}'):
        assert compiler(lines) is None


@needs_kernel
def test_folder_that_cannot_be_written(compiler, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.warns(UserWarning, match=r'file/dualformer/kernels: .*Not a directory'):
        assert compiler('exec g++ "$@"', tmp_path / 'file') is None


@needs_kernel
def test_compiling_under_autocast_checks_in_fp32():
    with torch.autocast('cpu', torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter('error')
        assert attention_cpu._library.__wrapped__(32) is not None


@needs_kernel
def test_a_changed_header_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    source = tmp_path / 'kernel.cpp'
    source.write_text('#include "number.h"\nextern "C" int number() { return NUMBER; }\n')
    for number in (1, 2):
        (tmp_path / 'number.h').write_text(f'#define NUMBER {number}\n')
        library = load_library(source, 'numbers run', lambda library: library.number() > 0)
        assert library.number() == number


@needs_kernel
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    'library', [partial(attention_cpu._library.__wrapped__, 32), depthwise_cpu._library.__wrapped__]
)
def test_check_runs_whatever_the_defaults(library, dtype):
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings(), torch.device('meta'):
            warnings.simplefilter('error')
            assert library() is not None
    finally:
        torch.set_default_dtype(default)
