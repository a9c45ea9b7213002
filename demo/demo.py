"""Classify a video: the five best classes as a table, and written into the video.

python demo/demo.py CONFIG CHECKPOINT VIDEO [LABELS] --out-filename OUT.mp4
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
    add('--use-frames', action='store_true', help='the video must be a folder of frames')
    add('--out-filename', metavar='FILE', help='labeled video, .mp4 or .gif')
    add('--fps', type=float, help='frames per second of it (default: of the video, or 30)')
    add('--font-scale', type=float, default=1.0, help='size of the text (default: 1)')
    add('--font-color', default='white', help='color of the text (default: white)')
    add(
        '--target-resolution',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='size of the labeled video; -1 keeps the proportion (default: of the '
        'video, or 224 high if that is smaller)',
    )
    add(
        '--resize-algorithm',
        choices=('nearest', 'bilinear', 'bicubic', 'area', 'lanczos'),
        default='bicubic',
    )
    return parser.parse_args(arguments)


def table(top: list[tuple[str, float]]) -> str:
    """Names, per cents and bars, one class a line."""
    width = max(len(name) for name, _ in top)
    return '\n'.join(
        f'{i + 1}  {name:<{width}}  {100 * score:5.1f} %  {"█" * round(30 * score)}'.rstrip()
        for i, (name, score) in enumerate(top)
    )


def write_labeled(top: list[tuple[str, float]], args: argparse.Namespace) -> None:
    """Write the video with the classes drawn into each frame."""
    from mmaction.datasets.video_source import VideoSource
    from mmaction.visualization import ClipWriter, draw_top_classes, enlarge, resize_frames

    frames = VideoSource(args.video)
    with ClipWriter(args.out_filename, args.fps or frames.fps or 30.0, smooth=True) as writer:
        for part in frames.parts():
            if args.target_resolution is None:
                sized = enlarge(part)
            else:
                sized = resize_frames(part, args.target_resolution, args.resize_algorithm)
            writer.write(draw_top_classes(sized, top, args.font_scale, args.font_color))
    print(f'written: {args.out_filename} ({len(frames)} frames)')


def main() -> None:
    """Parse, classify, print, write."""
    args = parse_args()
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint', 'video', 'label')

    with user_errors(setup=True):
        from mmaction.apis import inference_recognizer, init_recognizer
        from mmaction.apis.inference import top_classes
        from mmaction.datasets.video_source import clip_info
        from mmaction.utils.class_names import class_names_of
        from mmaction.visualization import check_out_name

        if args.out_filename is not None:
            check_out_name(args.out_filename, ('.mp4', '.gif'), args.video)
        clip_info(args.video, 'rawframes' if args.use_frames else None)
        model: Any = init_recognizer(args.config, args.checkpoint, args.device, args.cfg_options)
        names = class_names_of(model, args.label)
        top = top_classes(inference_recognizer(model, args.video), names)
        print(table(top))
        if args.out_filename is not None:
            write_labeled(top, args)


if __name__ == '__main__':
    main()
