"""Error of bf16, with an fp32 and with a bf16 residual stream, against fp32 on trained weights.

    python tools/analysis_tools/residual_error.py CONFIG CHECKPOINT [--clips 80]

Runs the same clips of the config's test set in fp32 and under bf16 autocast and compares logits,
predictions and accuracy.
"""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file of a DualFormer')
    add('checkpoint', help='its trained weights')
    add('--clips', type=int, default=80, help='test videos (default: 80)')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def logits_of(model: Any, batches: list[Any], bf16: bool, bf16_residual: bool) -> Any:
    """Logits (views, K), in fp32 or under bf16 autocast."""
    import torch

    device = model.data_preprocessor.device.type
    model.backbone.bf16_residual = bf16_residual
    # On a CPU autocast norms give bf16; on a GPU, as here, fp32.
    handles = [
        embed.register_forward_hook(lambda *call: call[-1].float())
        for embed in model.backbone.patch_embeds
    ]
    found = []
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bf16):
        for batch in batches:
            data = model.data_preprocessor(batch)
            found.append(model(data['inputs'], data['data_samples'], mode='tensor', stage='head'))
    for handle in handles:
        handle.remove()
    return torch.cat(found).double().cpu()


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(arguments)
    check_files(args, 'config', 'checkpoint')
    import torch

    from mmaction.apis import init_recognizer
    from mmaction.config.load import load_config
    from mmaction.engine.runner import ActionRunner
    from mmaction.models import DualFormer

    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    with user_errors(setup=True):
        config = load_config(args.config, args.cfg_options)
        model = init_recognizer(config, args.checkpoint, device=device)
        if not isinstance(model.backbone, DualFormer):
            raise ValueError(f'{args.config}: the backbone is no DualFormer')
        settings = config.test_dataloader.to_dict() | dict(batch_size=8, num_workers=0)
        settings.pop('persistent_workers', None)
        loader = ActionRunner.build_dataloader(settings, seed=0)
        batches = list(islice(loader, -(-args.clips // 8)))
    exact = logits_of(model, batches, bf16=False, bf16_residual=False)
    labels = torch.cat([s.gt_label for batch in batches for s in batch['data_samples']]).cpu()
    labels = labels.repeat_interleave(len(exact) // len(labels))
    print(f'{len(labels)} views; errors relative to the norm of the fp32 logits')
    print(f'{"":<26}{"error":>10}{"largest":>10}{"same top-1":>12}{"accuracy":>10}')
    for name, bf16, stream in (
        ('fp32', False, False),
        ('bf16, fp32 residual', True, False),
        ('bf16, bf16 residual', True, True),
    ):
        logits = logits_of(model, batches, bf16, stream)
        errors = (logits - exact).norm(dim=1) / exact.norm(dim=1)
        same = (logits.argmax(1) == exact.argmax(1)).double().mean()
        right = (logits.argmax(1) == labels).double().mean()
        print(f'{name:<26}{errors.mean():10.2e}{errors.max():10.2e}{same:12.3f}{right:10.3f}')


if __name__ == '__main__':
    main()
