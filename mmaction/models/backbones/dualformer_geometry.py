"""DualFormer's settings, checked, and the sizes that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    'KEEP_TIME',
    'Size3',
    'StageGeometry',
    'patch_kernels',
    'plan_geometry',
    'resolve_arch',
    'triple',
]

Size3 = tuple[int, int, int]

KEEP_TIME = (-1, 1, 1, 1)
"""The published `temporal_pooling`: after the first patch embedding time keeps its length."""
COARSE_STAGES = 2
"""As published, only so many stages, the first ones, may have a coarse pyramid level."""
STAGE_DEFAULTS: dict[str, Any] = dict(
    local_sizes=((8, 7, 7),) * 4,
    fine_pysizes=((8, 7, 7), (8, 7, 7), (8, 7, 7), (16, 7, 7)),
    coarse_pysizes=((4, 4, 4), (4, 4, 4), None, None),
    mlp_ratios=(4, 4, 4, 4),
)


def resolve_arch(  # noqa: C901 (one branch for each mistake)
    arch: str | Mapping[str, Any],
    given: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The per-stage settings: defaults, then `arch`, then the arguments that are given.

    Raises:
        ValueError: An unknown name, or settings of different numbers of stages.
    """
    if isinstance(arch, str):
        if arch not in variants:
            raise ValueError(f'arch={arch!r} is none of {", ".join(variants)}, nor a dict.')
        spec = dict(variants[arch])
    else:
        unknown = sorted(set(arch) - set(given))
        if unknown:
            raise ValueError(f'arch has unknown keys {unknown}; it takes {sorted(given)}.')
        spec = {**STAGE_DEFAULTS, **arch}
    spec.update({name: value for name, value in given.items() if value is not None})
    missing = sorted(set(given) - set(spec))
    if missing:
        raise ValueError(f'arch lacks {missing}.')
    for name, value in spec.items():
        if not isinstance(value, (list, tuple)):
            raise ValueError(f'{name}={value!r}: expected a list, with a value for each stage.')
    stages = len(spec['embed_dims'])
    for name, value in spec.items():
        if len(value) != stages:
            raise ValueError(
                f'{name}={value!r} is for {len(value)} stages, but embed_dims={spec["embed_dims"]} '
                f'has {stages}.'
            )
    for i, (dim, heads) in enumerate(zip(spec['embed_dims'], spec['num_heads'], strict=True)):
        if dim % heads:
            raise ValueError(f'num_heads[{i}]={heads} does not divide embed_dims[{i}]={dim}.')
    if min(spec['depths']) < 1:
        raise ValueError(f'depths={spec["depths"]}: every stage needs at least one block.')
    for name in ('local_sizes', 'fine_pysizes'):
        spec[name] = [triple(size, f'{name}[{i}]') for i, size in enumerate(spec[name])]
    spec['coarse_pysizes'] = [
        triple(size, f'coarse_pysizes[{i}]') if size and i < COARSE_STAGES else None
        for i, size in enumerate(spec['coarse_pysizes'])
    ]
    return spec


@dataclass(frozen=True)
class StageGeometry:
    """Every size that one stage works with.

    Attributes:
        patch: Kernel (= stride) of the patch embedding.
        grid: Tokens of a clip of the model's `video_size`.
        window: Window of the local attention.
        fine: Pooling kernel of the fine pyramid level; None where keys and
            values are the tokens themselves.
        coarse: The two pooling kernels, one after the other, of the coarse
            pyramid level; None where the stage has no such level.
    """

    patch: Size3
    grid: Size3
    window: Size3
    fine: Size3 | None
    coarse: tuple[Size3, Size3] | None


def plan_geometry(
    video_size: Size3,
    patch_sizes: Sequence[Size3],
    windows: Sequence[Size3],
    fine_grids: Sequence[Size3],
    coarse_grids: Sequence[Size3 | None],
) -> tuple[StageGeometry, ...]:
    """Work out each stage's grid and kernels from the pooled grids that it wants.

    Raises:
        ValueError: A pooled grid does not divide its stage's grid.
    """
    stages = []
    grid = video_size
    for i, patch in enumerate(patch_sizes):
        grid = _ceil_div(grid, patch)
        fine = _kernel_of(grid, fine_grids[i], f'fine_pysizes[{i}]', video_size)
        if fine == (1, 1, 1):
            # As published: a stage whose keys are its own tokens has no pyramid at all.
            stages.append(StageGeometry(patch, grid, windows[i], None, None))
            continue
        coarse, pooled = None, coarse_grids[i]
        if pooled is not None:
            kernel = _kernel_of(grid, pooled, f'coarse_pysizes[{i}]', video_size)
            coarse = _split_coarse(kernel, windows[i], i)
        stages.append(StageGeometry(patch, grid, windows[i], fine, coarse))
    return tuple(stages)


def patch_kernels(patch_size: Size3, temporal_pooling: Sequence[int], stages: int) -> list[Size3]:
    """Kernel (= stride) of each stage's patch embedding; the later ones halve height and width.

    Raises:
        ValueError: `temporal_pooling` is no list of one temporal rate per stage.
    """
    rates = temporal_pooling
    whole = isinstance(rates, Sequence) and all(type(rate) is int for rate in rates)
    if whole and tuple(rates) == KEEP_TIME:
        rates = (1,) * stages
    if not whole or len(rates) != stages or any(rate < 1 for rate in rates[1:]):
        raise ValueError(
            f'temporal_pooling={temporal_pooling!r} is no list of temporal rates: it takes one '
            f'integer for each of the {stages} stages, [-1, 1, 1, 1] in the published models. The '
            f'first is replaced by patch_size[0]={patch_size[0]}; of the others 1 keeps time and 2 '
            'halves it'
        )
    return [patch_size, *((rate, 2, 2) for rate in rates[1:])]


def _ceil_div(size: Size3, by: Size3) -> Size3:
    t, h, w = (-(-s // b) for s, b in zip(size, by, strict=True))
    return t, h, w


def _kernel_of(grid: Size3, pooled: Size3, name: str, video_size: Size3) -> Size3:
    """The kernel that pools `grid` to `pooled`; 1 along an axis that is no longer than it."""
    for axis, n, p in zip(('time', 'height', 'width'), grid, pooled, strict=True):
        if n > p and n % p:
            raise ValueError(
                f'{name}={pooled}: {p} does not divide the {n} tokens along {axis} that this '
                f'stage has (grid {grid} at video_size={video_size}). video_size only fixes the '
                'pooling kernels: clips of other sizes run on any model, so keep the size of '
                'the pretrained one, or choose a pooled grid that divides.'
            )
    t, h, w = (max(n // p, 1) for n, p in zip(grid, pooled, strict=True))
    return t, h, w


def _split_coarse(kernel: Size3, window: Size3, stage: int) -> tuple[Size3, Size3]:
    """Split the coarse kernel in a step over one window's area and a step over the rest."""
    first = (1, window[1], window[2])
    if any(k % f for k, f in zip(kernel, first, strict=True)):
        raise ValueError(
            f'coarse_pysizes[{stage}] gives the pooling kernel {kernel}, which must be a multiple '
            f'of the height and width of the window local_sizes[{stage}]={window}.'
        )
    return first, (kernel[0], kernel[1] // first[1], kernel[2] // first[2])


def triple(value: object, name: str) -> Size3:
    """Three positive integers, or a `ValueError` that names the argument."""
    sizes = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if len(sizes) != 3 or any(type(s) is not int or s < 1 for s in sizes):
        raise ValueError(f'{name} must be three positive integers (time, height, width): {value!r}')
    return sizes
