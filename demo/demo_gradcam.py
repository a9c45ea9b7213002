"""Show where a recognizer looks in a video: Grad-CAM or attention as .gif, .mp4 or .png sheet.

    python demo/demo_gradcam.py CONFIG CHECKPOINT VIDEO \
        --target-layer-name backbone/blocks/3/3 --fps 10 --out-filename OUT.gif
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


TITLES = {'grad-cam': 'Grad-CAM', 'grad-cam++': 'Grad-CAM++', 'hires-cam': 'HiResCAM'}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    from mmaction.utils.cli import Parser, add_model_args

    parser = Parser(description=__doc__.splitlines()[0])
    add_model_args(parser, video=True)
    add = parser.add_argument
    add('--use-frames', action='store_true', help='the video must be a folder of frames')
    add(
        '--target-layer-name',
        metavar='NAME',
        help='layer such as backbone/blocks/3/3; negative numbers count from the end, and '
        'a block past the end of its stage is its last '
        '(default: the last block, backbone/blocks/-1/-1; with --method attention the last '
        'block of local windows beside the last one of the global pyramid)',
    )
    add(
        '--method',
        choices=('grad-cam', 'grad-cam++', 'hires-cam', 'attention'),
        default='grad-cam',
        help='default: grad-cam; hires-cam suits early blocks; attention is that of DualFormer',
    )
    add(
        '--query',
        type=int,
        nargs=3,
        metavar=('TIME', 'ROW', 'COLUMN'),
        help='with --method attention: show where this token of the grid looks, from 0 0 0 '
        '(default: the mean of all tokens)',
    )
    add(
        '--class',
        dest='label',
        metavar='CLASS',
        help='explain this class, a number or a name (default: the best one)',
    )
    add('--out-filename', metavar='FILE', help='.gif, .mp4 or .png (a contact sheet)')
    add('--fps', type=float, default=5, help='frames per second of .gif and .mp4 (default: 5)')
    add(
        '--target-resolution',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='size of the frames; -1 keeps the proportion (default: as the model sees them, '
        'or 224 high if these are smaller)',
    )
    add(
        '--resize-algorithm',
        choices=('nearest', 'bilinear', 'bicubic', 'area', 'lanczos'),
        default='bicubic',
    )
    add('--colormap', default='turbo', help='of Matplotlib (default: turbo)')
    add('--alpha', type=float, default=0.5, help='opacity of the saliency, 0 to 1 (default: 0.5)')
    return parser.parse_args(arguments)


def class_number(text: str | None, names: list[str] | None) -> int | None:
    """The class that `--class` means.

    Raises:
        ValueError: No class has this name.
    """
    if text is None:
        return None
    if names and text in names:
        return names.index(text)
    try:
        return int(text)
    except ValueError:
        pass
    if not names:
        raise ValueError(f'--class {text}: the names of the classes are not known, give a number')
    from mmaction.utils.suggest import did_you_mean

    some = ', '.join(names[:10]) + (', ...' if len(names) > 10 else '')
    hint = did_you_mean(text, names, count=3) or f' (there are: {some})'
    raise ValueError(f'--class {text}: no class has this name{hint}')


def saliency_maps(
    model: nn.Module, data: dict[str, Any], args: argparse.Namespace, label: int | None
) -> tuple[dict[str, Any], Any]:
    """Maps (t, h, w) by the name that a picture of them has, and logits (K,)."""
    from mmaction.visualization import GradCAM, attention_blocks, attention_saliency
    from mmaction.visualization.feature_maps import find_layer

    if args.method != 'attention':
        if args.query is not None:
            raise ValueError('--query goes with --method attention')
        cam = GradCAM(model, args.target_layer_name, args.colormap, args.method)
        maps, logits, _ = cam.raw_saliency(data, None if label is None else [label])
        print_map(args.method, cam.layer_name, maps)
        return {TITLES[args.method]: maps[0].cpu()}, logits[0]
    if label is not None:
        raise ValueError('--class goes with Grad-CAM: attention is the same for every class')
    if args.target_layer_name is not None:
        blocks = {'attention': find_layer(model, args.target_layer_name)[0]}
    else:
        blocks = attention_blocks(model)
    found = {}
    for name, layer in blocks.items():
        maps, logits, _ = attention_saliency(model, data, layer, args.query)
        print_map(name, layer, maps)
        found[name] = maps[0].cpu()
    return found, logits[0]


def print_map(method: str, layer: str, maps: Any) -> None:
    """Say what was computed."""
    grid = ' x '.join(map(str, maps.shape[1:]))
    print(f'{method} of {layer} (time x height x width: {grid})')
    if not maps.any():
        print('the saliency is zero everywhere: no place of this layer speaks for the class')


def explain(
    model: nn.Module, args: argparse.Namespace
) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """Frames (T, H, W, 3; uint8), frames with saliency by its name, and a headline."""
    import torch

    from mmaction.apis.inference import load_clip
    from mmaction.apis.test_pipeline import pipeline_steps, steps_for
    from mmaction.datasets.video_source import clip_info
    from mmaction.visualization import overlay, resize_frames
    from mmaction.visualization.feature_maps import first_clip
    from mmaction.visualization.grad_cam import check_colormap, scale_saliency

    check_colormap(args.colormap)
    meta: Any = model.dataset_meta
    names = meta.get('classes')
    label = class_number(args.label, names)
    kind, _ = clip_info(args.video, 'rawframes' if args.use_frames else None)
    steps = steps_for(pipeline_steps(model.cfg), kind, one_view=True)
    clip = load_clip(model, args.video, steps)
    data: dict[str, Any] = dict(inputs=[clip['inputs']], data_samples=[clip['data_samples']])
    maps, logits = saliency_maps(model, data, args, label)

    frames = first_clip(clip['inputs']).numpy()
    small = frames.shape[1] < 224 and args.target_resolution is None
    resolution = (-1, 224) if small else args.target_resolution
    frames = resize_frames(frames, resolution, args.resize_algorithm)
    blended = {}
    for method, saliency in maps.items():
        # The saliency goes to the size of the frames at once, so that it is as smooth as can be.
        scaled = scale_saliency(saliency[None], frames.shape[:3])[0]
        mixed = overlay(torch.from_numpy(frames) / 255, scaled, args.colormap, args.alpha)
        blended[method] = (mixed * 255).round().byte().numpy()

    scores = logits.softmax(0)
    shown = int(scores.argmax()) if label is None else label
    headline = f'{names[shown] if names else f"class {shown}"} ({100 * scores[shown]:.1f} %)'
    print(headline)
    return frames, blended, headline


def write(
    frames: np.ndarray, blended: dict[str, np.ndarray], headline: str, args: argparse.Namespace
) -> None:
    """Write what `explain` gives."""
    from pathlib import Path

    from mmaction.visualization import ClipWriter, contact_sheet, side_by_side

    if Path(args.out_filename).suffix.lower() == '.png':
        rows = [('clip', frames), *((name.replace(' ', '\n'), f) for name, f in blended.items())]
        captions = [f'frame {i + 1}' for i in range(len(frames))]
        contact_sheet(rows, args.out_filename, 8, captions, headline, args.colormap)
    else:
        alone = len(blended) == 1
        film = next(iter(blended.values())) if alone else side_by_side(list(blended.items()))
        with ClipWriter(args.out_filename, args.fps, smooth=True) as writer:
            writer.write(film)
    print(f'written: {args.out_filename}')


def main() -> None:
    """Parse, explain, write."""
    args = parse_args()
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint', 'video')

    with user_errors(setup=True):
        from mmaction.apis import init_recognizer
        from mmaction.visualization import check_out_name

        if args.out_filename is not None:
            check_out_name(args.out_filename, source=args.video)
        model = init_recognizer(args.config, args.checkpoint, args.device, args.cfg_options)
        frames, blended, headline = explain(model, args)
        if args.out_filename is not None:
            write(frames, blended, headline, args)


if __name__ == '__main__':
    main()
