"""Count the parameters and FLOPs of a config's backbone for one clip.

    python tools/analysis_tools/get_flops.py CONFIG [--shape T H W]

fvcore counts a multiply-add as one. What a published "GFLOPs" column shows is this
figure times the number of test views.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        metavar=('T', 'H', 'W'),
        help='clip size; that of the config if not given',
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def _attention_flops(inputs: list[Any], _outputs: list[Any]) -> Counter[str]:
    """Two products, q k^T and its result times v, of (B, heads, L, d) and (B, heads, M, d)."""
    batch, heads, length, dim = inputs[0].type().sizes()
    keys = inputs[1].type().sizes()[2]
    return Counter(attention=2 * batch * heads * length * keys * dim)


def count(
    backbone: Any, shape: tuple[int, int, int], channels: int = 3, by_frame: bool = False
) -> tuple[int, Any]:
    """Parameters, and fvcore's analysis of one clip: (1, channels, T, H, W), or its T frames."""
    import torch

    with warnings.catch_warnings():
        # At its import fvcore compiles losses by torch.jit.script, which is deprecated. Releases
        # of PyTorch differ in the category of that warning.
        warnings.filterwarnings('ignore', '`torch.jit.script` is')
        from fvcore.nn import FlopCountAnalysis

    clip = torch.zeros(1, channels, *shape)
    flops = FlopCountAnalysis(backbone.eval(), clip[0].transpose(0, 1) if by_frame else clip)
    # fvcore does not know the fused kernel; element-wise work it leaves out, as everywhere.
    flops.set_op_handle('aten::scaled_dot_product_attention', _attention_flops)
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return sum(p.numel() for p in backbone.parameters()), flops


def clip_shape(cfg: Any) -> tuple[int, int, int]:
    """The clip (T, H, W) of a config: the backbone's `video_size`, else what is sampled to train.

    Frames that a 2-D network sees one by one are counted all: `num_clips` of them. Height and
    width are those of a `RandomCrop`, else 224.
    """
    if 'video_size' in cfg.model.backbone:
        return tuple(cfg.model.backbone.video_size)
    steps = cfg.get('train_pipeline') or cfg.get('test_pipeline') or []
    (sampling,) = [step for step in steps if 'clip_len' in step] or [dict(clip_len=32)]
    clips = sampling.get('num_clips', 1) if cfg.model.type == 'Recognizer2D' else 1
    size = next((step['size'] for step in steps if step['type'] == 'RandomCrop'), 224)
    return sampling['clip_len'] * clips, size, size


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(argv)
    check_files(args, 'config')

    with user_errors(setup=True):
        from mmaction.apis import init_recognizer
        from mmaction.config.load import load_config
        from mmaction.errors import ConfigError

        cfg = load_config(args.config, args.cfg_options)
        config = cfg.model.get('backbone')
        if config is None:
            raise ConfigError(f'config key model: {cfg.model.type} has no backbone to count')
        shape = tuple(args.shape or clip_shape(cfg))
        channels = config.get('in_chans', config.get('in_channels', 3))
        by_frame = cfg.model.type == 'Recognizer2D'
        backbone = init_recognizer(cfg, device='cpu').backbone
        params, flops = count(backbone, shape, channels, by_frame)
    print(f'clip        {shape[0]} x {shape[1]} x {shape[2]}')
    print(f'parameters  {params / 1e6:.3f} M')
    print(f'FLOPs       {flops.total() / 1e9:.2f} G')
    for operator, number in sorted(flops.by_operator().items(), key=lambda item: -item[1]):
        print(f'  {operator:<12}{number / 1e9:9.3f} G')


if __name__ == '__main__':
    main()
