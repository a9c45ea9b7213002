"""Draw an example of every transform: `python tools/figures/augmentation_examples.py VIDEO OTHER`.

Writes `augmentation.png`, what each transform of pictures makes of a clip of VIDEO (blending: with
a clip of OTHER), and `sampling.png`, which frames each transform of sampling takes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SEEDS = (9, 23)  # of torch, for the two draws
SIDE = 96  # pixels of the short side that the transforms get
# The config of each row; several in one are done after each other.
EXAMPLES: tuple[tuple[dict[str, Any], ...], ...] = (
    (dict(type='Resize', scale=(64, 64), keep_ratio=False),),
    (dict(type='RandomRescale', scale_range=(40, 96)),),
    (dict(type='CenterCrop', crop_size=80),),
    (dict(type='RandomCrop', size=80),),
    (dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),),
    (dict(type='MultiScaleCrop', input_size=96, scales=(1, 0.75, 0.5)),),
    (dict(type='ThreeCrop', crop_size=96),),
    (dict(type='TenCrop', crop_size=72),),
    (dict(type='Flip', flip_ratio=0.5),),
    (dict(type='ColorJitter'),),
    (dict(type='RandomErasing', erase_prob=1.0),),
    (dict(type='TorchVisionWrapper', op='RandAugment', magnitude=12),),
    (dict(type='TorchVisionWrapper', op='GaussianBlur', kernel_size=9),),
    (dict(type='PytorchVideoWrapper', op='RandAugment', magnitude=7, num_layers=4),),
    (dict(type='PytorchVideoWrapper', op='AugMix'),),
    (dict(type='MixupBlending', num_classes=2, alpha=0.8),),
    (dict(type='CutmixBlending', num_classes=2, alpha=1.0),),
)
SAMPLING: tuple[tuple[str, dict[str, Any]], ...] = (
    ('SampleFrames, training', dict(type='SampleFrames', clip_len=8, frame_interval=3)),
    (
        'SampleFrames, test, 3 clips',
        dict(type='SampleFrames', clip_len=8, frame_interval=3, num_clips=3, test_mode=True),
    ),
    (
        'SampleFrames, 8 segments (TSN)',
        dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8),
    ),
    ('UniformSample, training', dict(type='UniformSample', clip_len=8)),
    ('UniformSample, test', dict(type='UniformSample', clip_len=8, test_mode=True)),
    (
        'DenseSampleFrames, training',
        dict(type='DenseSampleFrames', clip_len=1, frame_interval=4, num_clips=8, sample_range=64),
    ),
    ('UntrimmedSampleFrames', dict(type='UntrimmedSampleFrames', clip_len=4, clip_interval=16)),
)
FRAMES = 90  # of the video of sampling.png


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('video', metavar='VIDEO', help='the clip that is transformed')
    parser.add_argument('other', metavar='OTHER', help='the clip that is blended in')
    parser.add_argument('--out', type=Path, default=Path('figures'), help='(%(default)s)')
    return parser.parse_args(arguments)


def read_frames(video: str) -> np.ndarray:
    """Eight frames over the whole video, (8, H, W, 3) uint8 with a short side of 96 pixels."""
    from mmaction.datasets.transforms import DecordDecode, DecordInit, Resize, UniformSample

    results: dict[str, Any] = dict(filename=video, start_index=0, modality='RGB')
    for step in (
        DecordInit(),
        UniformSample(8, test_mode=True),
        DecordDecode(),
        Resize((10_000, SIDE)),
    ):
        results = step(results)
    return np.stack(list(results['imgs']))


def transformed(frames: np.ndarray, steps: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """The frames after the steps."""
    from mmaction.registry import TRANSFORMS

    results: dict[str, Any] = dict(
        imgs=frames, img_shape=frames.shape[1:3], modality='RGB', label=0, num_clips=1
    )
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    return list(results['imgs'])


def blended(frames: np.ndarray, other: np.ndarray, step: dict[str, Any]) -> list[np.ndarray]:
    """The frames after a blending with another clip."""
    import torch

    from mmaction.registry import MODELS

    height, width = (min(a, b) for a, b in zip(frames.shape[1:3], other.shape[1:3], strict=True))
    pair = [torch.from_numpy(clip[:, :height, :width].copy()).float() for clip in (frames, other)]
    # Of seven others, so that a clip is seldom blended with itself.
    batch = torch.stack([pair[0], *[pair[1]] * 7]).permute(0, 4, 1, 2, 3)
    mixed, _ = MODELS.build(step).do_blending(batch, torch.eye(2)[[0] + [1] * 7])
    return list(mixed[0].permute(1, 2, 3, 0).byte().numpy())


def row_of(frames: np.ndarray, other: np.ndarray, steps: Sequence[dict[str, Any]]) -> list[Any]:
    """Four pictures: first and last frame of two draws, or the first frame of four views."""
    import torch

    pictures: list[np.ndarray] = []
    for draw in range(2):
        random.seed(draw)
        np.random.seed(draw)
        torch.manual_seed(SEEDS[draw])
        if steps[0]['type'].endswith('Blending'):
            clips = blended(frames, other, steps[0])
        else:
            clips = transformed(frames, steps)
        views = len(clips) // len(frames)
        if views > 1:
            return [clips[len(frames) * view] for view in range(min(views, 4))]
        pictures += [clips[0], clips[-1]]
    return pictures


def title_of(steps: Sequence[dict[str, Any]]) -> str:
    """The configs of a row, a line for each argument or two."""
    lines = []
    for step in steps:
        words = [f'{key}={value!r}' for key, value in step.items() if key != 'type']
        lines += [step['type'], *(f'  {word}' for word in words)]
    return '\n'.join(lines)


def draw_examples(path: Path, frames: np.ndarray, other: np.ndarray) -> None:
    """Write the table of pictures; each keeps its size relative to the others."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    from mmaction.utils.io import save_figure

    rows = [('no transform', [frames[i] for i in (0, -1)])]
    rows += [(title_of(steps), row_of(frames, other, steps)) for steps in EXAMPLES]
    width = max(picture.shape[1] for _, row in rows for picture in row)
    half = -(-len(rows) // 2)
    figure, axes = plt.subplots(
        half, 10, figsize=(14.5, half * 0.85), dpi=80, width_ratios=[1.7, 1, 1, 1, 1] * 2
    )
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.995, wspace=0.05, hspace=0.08)
    for axis in axes.flat:
        axis.axis('off')
    for number, (title, row) in enumerate(rows):
        first = 5 * (number // half)
        line = axes[number % half]
        line[first].text(0, 0.5, title, fontsize=8, va='center', family='monospace')
        for axis, picture in zip(line[first + 1 :], row, strict=False):
            axis.imshow(picture)
            axis.set(xlim=(0, width), ylim=(SIDE, 0))
    save_figure(figure, path)
    plt.close(figure)


def draw_sampling(path: Path) -> None:
    """Write the chart of frame numbers, a color for each clip."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    from mmaction.registry import TRANSFORMS
    from mmaction.utils.io import save_figure

    figure, axis = plt.subplots(figsize=(8.5, 0.42 * len(SAMPLING) + 0.8), dpi=110)
    for row, (_, step) in enumerate(SAMPLING):
        np.random.seed(4)
        results = TRANSFORMS.build(step)(dict(total_frames=FRAMES, start_index=0, modality='RGB'))
        frames = np.asarray(results['frame_inds']).reshape(results['num_clips'], -1)
        for clip, inds in enumerate(frames):
            color = f'C{clip % 10}'
            axis.plot(inds, [row] * len(inds), '-', color=color, lw=1, alpha=0.4)
            axis.plot(inds, [row] * len(inds), 'o', color=color, ms=5)
    axis.set(xlim=(-2, FRAMES + 1), ylim=(len(SAMPLING) - 0.5, -0.5), xlabel='frame')
    axis.set_yticks(range(len(SAMPLING)), [name for name, _ in SAMPLING])
    axis.grid(axis='x', alpha=0.3)
    axis.spines[['top', 'right', 'left']].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Parse, draw."""
    args = parse_args(arguments)
    from mmengine.registry import init_default_scope

    import mmaction.models  # noqa: F401  (registers the blendings)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'video', 'other')
    with user_errors(setup=True):
        init_default_scope('mmaction')
        args.out.mkdir(parents=True, exist_ok=True)
        frames, other = read_frames(args.video), read_frames(args.other)
        draw_examples(args.out / 'augmentation.png', frames, other)
        draw_sampling(args.out / 'sampling.png')
        for name in ('augmentation.png', 'sampling.png'):
            size = (args.out / name).stat().st_size / 1e6
            print(f'written: {args.out / name} ({size:.2f} MB)')


if __name__ == '__main__':
    main()
