"""The table of pretrained backbones in docs/pretrained.md: `python tools/misc/pretrained_table.py`.

Weights, parameters, GFLOPs and accuracy of torchvision are those of its own metadata. Those of
timm have none: parameters and GFLOPs (multiply-adds) are counted here, accuracies are the papers'.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

PAGE = Path('docs/pretrained.md')
MARKS = ('<!-- table -->\n', '<!-- end of table -->\n')
VIDEO = 'configs/recognition/baselines/swin3d_tiny_kinetics400.py'
IMAGE = 'configs/recognition/baselines/resnet50_kinetics400.py'
# Channels that the head sees
TORCHVISION = {
    'swin3d_t': 768,
    'swin3d_s': 768,
    'swin3d_b': 1024,
    's3d': 1024,
    'r2plus1d_18': 512,
    'r3d_18': 512,
}
# Channels, top-1 on ImageNet-1k in percent, and the paper that says so
TIMM = {
    'resnet50.a1_in1k': (2048, 80.4, '2110.00476'),
    'swin_tiny_patch4_window7_224.ms_in1k': (768, 81.3, '2103.14030'),
    'twins_svt_small.in1k': (512, 81.7, '2104.13840'),
    'convnext_tiny.fb_in22k_ft_in1k': (768, 82.9, '2201.03545'),
}


def torchvision_rows() -> list[list[str]]:
    """Rows of torchvision's video models, with the weights of `pretrained=True`."""
    from torchvision.models import get_model_weights

    rows = []
    for name in TORCHVISION:
        weights: Any = get_model_weights(name)
        meta = weights.DEFAULT.meta
        accuracy = meta['_metrics']['Kinetics-400']['acc@1']
        rows.append(
            [
                f'`torchvision.{name}`',
                weights.DEFAULT.name,
                f'{meta["num_params"] / 1e6:.1f}',
                f'{meta["_ops"]:.1f}',
                f'{accuracy:.1f} (Kinetics-400)',
                'BSD-3-Clause, of the library; none stated for the weights',
            ]
        )
    return rows


def timm_rows() -> list[list[str]]:
    """Rows of timm's image models."""
    import timm
    import torch
    from fvcore.nn import FlopCountAnalysis

    rows = []
    for name, (_, accuracy, paper) in TIMM.items():
        cfg: Any = timm.models.get_pretrained_cfg(name)
        net = timm.create_model(name).eval()
        counted = FlopCountAnalysis(net, torch.zeros(1, *cfg.input_size))
        counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        flops = counted.total()
        rows.append(
            [
                f'`timm.{name.split(".")[0]}`',
                name.split('.')[1],
                f'{sum(p.numel() for p in net.parameters()) / 1e6:.1f}',
                f'{flops / 1e9:.1f}',
                f'{accuracy} (ImageNet-1k, [arXiv:{paper}](https://arxiv.org/abs/{paper}))',
                str(cfg.license),
            ]
        )
    return rows


def table() -> str:
    """The table, and a command for each row."""
    head = ['backbone', 'weights', 'parameters (M)', 'GFLOPs', 'published top-1 (%)', 'license']
    lines = [head, ['---', '---', '---:', '---:', '---', '---'], *torchvision_rows(), *timm_rows()]
    commands = [(VIDEO, f'torchvision.{name}', 'True', n) for name, n in TORCHVISION.items()]
    commands += [
        (IMAGE, f'timm.{name.split(".")[0]}', f'timm://{name}', n)
        for name, (n, _, _) in TIMM.items()
    ]
    text = ''.join(f'| {" | ".join(line)} |\n' for line in lines)
    text += '\nTo fine-tune each:\n\n```bash\n'
    for config, name, weights, channels in commands:
        text += (
            f'mmaction train {config} --cfg-options model.backbone.type={name} '
            f'model.backbone.pretrained={weights} model.cls_head.in_channels={channels}\n'
        )
    return text + '```\n'


def main(argv: list[str] | None = None) -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--page', type=Path, default=PAGE, help='default: %(default)s')
    page: Path = parser.parse_args(argv).page
    from mmaction.utils.io import write_text

    before, _, rest = page.read_text(encoding='utf-8').partition(MARKS[0])
    write_text(page, f'{before}{MARKS[0]}{table()}{MARKS[1]}{rest.partition(MARKS[1])[2]}')


if __name__ == '__main__':
    main()
