"""Say what happens when in a long video: a table of times, and a video with a timeline.

python demo/long_video_demo.py CONFIG CHECKPOINT VIDEO [LABELS] [OUT.mp4]
"""

from __future__ import annotations

import argparse
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    from mmaction.utils.cli import Parser, add_model_args

    parser = Parser(description=__doc__.splitlines()[0])
    add_model_args(parser, video=True, label=True)
    add = parser.add_argument
    add('out_file', nargs='?', help='video with the classes and a timeline, .mp4 or .gif')
    add('--stride', type=float, default=0.5, help='step in lengths of a window (%(default)s)')
    add('--threshold', type=float, default=0.01, help='least score that is shown (%(default)s)')
    add('--batch-size', type=int, default=4, help='windows at once (%(default)s)')
    return parser.parse_args(arguments)


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that no video could be drawn with, before any work.

    Raises:
        ConfigError: One is out of range.
    """
    from mmaction.errors import ConfigError

    if not 0 < args.stride <= 1:
        raise ConfigError(
            f'--stride {args.stride:g}: it counts in lengths of a window and lies above 0, at most '
            'at 1; a longer step would leave frames without a class'
        )
    if args.batch_size < 1:
        raise ConfigError(f'--batch-size {args.batch_size} must be at least 1')
    if not 0 <= args.threshold <= 1:
        raise ConfigError(f'--threshold {args.threshold:g} must lie in 0 to 1')


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f'{int(seconds) // 60:3d}:{seconds % 60:04.1f}'


def main() -> None:
    """Parse, classify, print, write."""
    args = parse_args()
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint', 'video', 'label')

    with user_errors(setup=True):
        check_args(args)
        from tqdm import tqdm

        from mmaction.apis import init_recognizer
        from mmaction.apis.sliding_window import classify_windows
        from mmaction.datasets.video_source import VideoSource
        from mmaction.utils.class_names import class_names_of
        from mmaction.visualization import ClipWriter, check_out_name, enlarge
        from mmaction.visualization.timeline import draw_timeline, segments

        if args.out_file is not None:
            check_out_name(args.out_file, ('.mp4', '.gif'), args.video)
        frames = VideoSource(args.video)
        model: Any = init_recognizer(args.config, args.checkpoint, args.device, args.cfg_options)
        names = class_names_of(model, args.label)
        windows = list(
            tqdm(
                classify_windows(model, frames, args.stride, args.batch_size),
                desc='windows',
                leave=False,
                disable=None,
            )
        )
        fps = frames.fps or 30.0
        for start, stop, label, score in segments(windows, len(frames), args.threshold):
            name = names[label] if label >= 0 else '?'
            print(f'{clock(start / fps)} to {clock(stop / fps)}  {100 * score:5.1f} %  {name}')
        if args.out_file is not None:
            first = 0
            with ClipWriter(args.out_file, fps) as writer:
                for part in frames.parts():
                    writer.write(
                        draw_timeline(
                            enlarge(part), first, windows, len(frames), names, args.threshold
                        )
                    )
                    first += len(part)
            print(f'written: {args.out_file} ({len(frames)} frames)')


if __name__ == '__main__':
    main()
