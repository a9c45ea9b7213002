"""Measure how much of a model's saliency lies on the digit in clips of Motion Digits.

    python tools/figures/saliency_on_digits.py CONFIG CHECKPOINT --data data/motion_digits

For each clip the share of the saliency within the digit's box is held against the box's share
of the frames, which is what saliency without any preference would give. Prints a table for
the checkpoint and for the same network untrained.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DEFAULT_MAPS = (
    'grad-cam:backbone/blocks/-1/-1',
    'grad-cam:backbone/blocks/0/-1',
    'grad-cam++:backbone/blocks/-1/-1',
    'grad-cam++:backbone/blocks/0/-1',
    'hires-cam:backbone/blocks/-1/-1',
    'hires-cam:backbone/blocks/-1/-2',
    'hires-cam:backbone/blocks/0/-1',
    'hires-cam:backbone/blocks/0/-2',
    'attention:backbone/blocks/-1/-1',
    'attention:backbone/blocks/-1/-2',
)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config of a model of Motion Digits')
    add('checkpoint', help='its weights')
    add('--data', default='data/motion_digits', metavar='DIR', help='(%(default)s)')
    add('--clips', type=int, default=50, help='validation clips, from the first on (%(default)s)')
    add('--seeds', type=int, default=3, help='untrained networks, of which the mean is printed')
    add(
        '--maps',
        nargs='+',
        default=DEFAULT_MAPS,
        metavar='METHOD:LAYER',
        help='what is measured, such as hires-cam:backbone/blocks/0/-1',
    )
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    return parser.parse_args(arguments)


def digit_video(index: int) -> np.ndarray:
    """Where the digit of a validation clip is: frames (T, 80, 80, 3), uint8, white on black.

    The draws of `make_clip` are repeated in its order, up to the digit's poses.
    """
    import numpy as np

    from mmaction.data_preparation import motion_digits as digits

    masks = digits.digit_masks('val')
    rng = np.random.default_rng([0, digits.SPLITS.index('val'), index])
    mask = masks[rng.integers(len(masks))]
    light, _ = digits.draw_lights(rng)
    digits.draw_background(rng, light)
    poses = digits.trajectory(rng, index % len(digits.CLASSES))
    frames = [(digits.place_digit(mask, pose) * 255).round() for pose in poses]
    return np.stack(frames).astype(np.uint8).repeat(3, -1)


def boxes(video: np.ndarray) -> np.ndarray:
    """The digit's upright box in each frame, bool (T, H, W), of a video (T, H, W)."""
    import numpy as np

    inside = np.zeros(video.shape, bool)
    for box, frame in zip(inside, video, strict=True):
        rows, columns = (frame > 127).nonzero()
        if len(rows):
            box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return inside


def shares(saliency: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """The box's share of the saliency, and of the frames; nan for the first if there is none."""
    total = saliency.sum()
    return float(saliency[inside].sum() / total if total > 0 else 'nan'), float(inside.mean())


def measure(
    model: Any, data: str, clips: int, maps: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """`shares` of each clip by the name of a map ('METHOD:LAYER').

    Raises:
        ValueError: A map has no such form, or no such method or layer.
        FileNotFoundError: The data set is not there.
    """
    from mmaction.apis.inference import load_clip
    from mmaction.apis.test_pipeline import pipeline_steps, steps_for
    from mmaction.visualization import GradCAM, attention_saliency
    from mmaction.visualization.grad_cam import scale_saliency

    found: dict[str, list[tuple[float, float]]] = {name: [] for name in maps}
    for name in maps:
        if name.count(':') != 1:
            raise ValueError(f'{name} is not METHOD:LAYER, such as hires-cam:backbone/blocks/0/-1')
    for index in range(clips):
        path = Path(data, f'videos/val/{index:05d}.mp4')
        if not path.is_file():
            raise FileNotFoundError(
                f'there is no {path}: make the data by tools/quickstart.sh, or say where they '
                'are by --data'
            )
        # The digit's video goes the clip's own way: the same frames, resized and cropped alike.
        steps = pipeline_steps(model.cfg)
        digit = load_clip(model, digit_video(index), steps_for(steps, 'array', one_view=True))
        inside = boxes(digit['inputs'][0, 0].numpy())
        clip = load_clip(model, path, steps_for(steps, 'video', one_view=True))
        batch = dict(inputs=[clip['inputs']], data_samples=[clip['data_samples']])
        for name, values in found.items():
            method, layer = name.split(':')
            if method == 'attention':
                saliency = attention_saliency(model, batch, layer)[0]
            else:
                saliency = GradCAM(model, layer, method=method).raw_saliency(batch)[0]
            values.append(shares(scale_saliency(saliency, inside.shape)[0].cpu().numpy(), inside))
    return found


def row(values: Sequence[tuple[float, float]]) -> str:
    """Share of saliency over share of area, mean of the clips, and in how many it is above 1."""
    import numpy as np

    saliency, area = np.array(values).T
    known = ~np.isnan(saliency)
    if not known.any():
        return 'no saliency | 0'
    ratio = saliency[known] / area[known]
    return f'{ratio.mean():.2f} | {int((ratio > 1).sum())}'


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure, print."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint')

    with user_errors(setup=True):
        import numpy as np
        import torch

        from mmaction.apis import init_recognizer

        if args.clips < 1 or args.seeds < 1:
            raise ValueError('--clips and --seeds must be at least 1')
        trained = measure(
            init_recognizer(args.config, args.checkpoint, args.device),
            args.data,
            args.clips,
            args.maps,
        )
        untrained: dict[str, list[tuple[float, float]]] = {name: [] for name in args.maps}
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            model = init_recognizer(args.config, None, args.device)
            for name, values in measure(model, args.data, args.clips, args.maps).items():
                untrained[name] += values
        area = np.mean([area for _, area in next(iter(trained.values()))])
        count = args.clips
        print(f"{count} clips; the digit's box is {100 * area:.1f} % of the frames on average\n")
        print(f'| map | trained: saliency / area | clips above 1, of {count} '
              f'| untrained: saliency / area | the same, of {count * args.seeds} |')  # fmt: skip
        print('|---|---|---|---|---|')
        for name in args.maps:
            method, layer = name.split(':')
            print(f'| {method} of `{layer}` | {row(trained[name])} | {row(untrained[name])} |')


if __name__ == '__main__':
    main()
