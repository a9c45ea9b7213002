"""Show what a recognizer says of each patch of a video: its best class there, as a map.

    python demo/demo_token_label.py CONFIG CHECKPOINT VIDEO --out tokens.png \
        [--gif tokens.gif] [--frames 5] [--classes classes.txt]
"""

from __future__ import annotations

import argparse
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    from mmaction.utils.cli import Parser, add_model_args

    parser = Parser(description=__doc__.splitlines()[0])
    add_model_args(parser, video=True)
    add = parser.add_argument
    add('--out', default='tokens.png', metavar='FILE', help='.png (default: tokens.png)')
    add('--gif', metavar='FILE', help='also lay the map over the clip, as .gif or .mp4')
    add('--frames', type=int, default=5, help='frames, drawn evenly from the clip (default: 5)')
    add(
        '--classes',
        metavar='FILE',
        help='class names, one a line (default: those of the checkpoint or the test list)',
    )
    add('--fps', type=float, default=4, help='frames per second of --gif (default: 4)')
    add('--alpha', type=float, default=0.5, help='opacity in --gif, 0 to 1 (default: 0.5)')
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Parse, look, draw."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint', 'video')

    with user_errors(setup=True):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Draw the maps of the middle clip of a video."""
    from pathlib import Path

    from mmaction.apis import init_recognizer
    from mmaction.apis.inference import load_clip
    from mmaction.apis.test_pipeline import pipeline_steps, steps_for
    from mmaction.datasets.video_source import clip_info, clip_name
    from mmaction.utils.class_names import read_class_names
    from mmaction.visualization.token_map import (
        draw_token_map,
        overlay_token_map,
        percent,
        token_map,
    )
    from mmaction.visualization.video_writer import ClipWriter, check_out_name

    check_out_name(args.out, ('.png',))
    if args.gif:
        check_out_name(args.gif, ('.gif', '.mp4'), args.video)
    kind, _ = clip_info(args.video)
    model = init_recognizer(args.config, args.checkpoint, args.device, args.cfg_options)
    meta: Any = model.dataset_meta
    names = meta.get('classes')
    if args.classes:
        head: Any = model.cls_head
        names = read_class_names(args.classes, head.num_classes)
    steps = steps_for(pipeline_steps(model.cfg), kind, one_view=True)
    clip = load_clip(model, args.video, steps)['inputs'][0]
    tokens = token_map(model, clip)
    frames = clip.permute(1, 2, 3, 0).cpu().numpy()

    best = int(tokens.clip_scores.argmax())
    called = names[best] if names else f'class {best}'
    title = f'{Path(clip_name(args.video)).name}: {called} {percent(tokens.clip_scores[best])}'
    draw_token_map(frames, tokens, args.out, args.frames, names, title)
    written = [args.out]
    if args.gif:
        with ClipWriter(args.gif, args.fps) as writer:
            writer.write(overlay_token_map(frames, tokens, names, args.alpha))
        written.append(args.gif)
    print(f'{title}; wrote {" and ".join(written)}')


if __name__ == '__main__':
    main()
