"""Make a file of weights to hand on, and a model card, from a checkpoint of training.

    python tools/deployment/publish_model.py CHECKPOINT OUT [--format safetensors] [--weights raw]

Writes OUT-HASH.safetensors (or .pth) with the weights alone, no optimizer and no random states,
and OUT-HASH.md: the config, what was measured, the versions. HASH is the beginning of the file's
SHA-256, which loading over the web checks.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', type=Path, help='checkpoint file')
    add('out', type=Path, help='path to write to; hash and extension are added')
    add('--format', choices=('safetensors', 'pth'), default='safetensors', help='%(default)s')
    add(
        '--weights',
        choices=('saved', 'raw'),
        default='saved',
        help='of a run with a moving average (EMAHook): the average, which is what such a run '
        'saves as its weights and tests, or the raw weights beside it',
    )
    add('--metrics', type=Path, help='metrics.json of a test, for the card')
    return parser.parse_args(argv)


def choose_weights(checkpoint: dict[str, Any], which: str) -> dict[str, Any]:
    """The weights of a checkpoint, contiguous and on the CPU.

    Raises:
        ValueError: It holds none, or no raw ones, or some that are not finite.
    """
    from mmaction.utils.checkpoint_reading import weights_of

    if which == 'raw':
        if 'ema_state_dict' not in checkpoint:
            raise ValueError(
                '--weights raw: the checkpoint has no moving average, so there is one set'
            )
        # mmengine puts the average in the place of the weights, and the weights in its place.
        checkpoint = {k: v for k, v in checkpoint['ema_state_dict'].items() if k != 'steps'}
    weights = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in weights_of(checkpoint).items()
    }
    if not weights:
        raise ValueError('the checkpoint holds no weights')
    diverged = [name for name, value in weights.items() if not value.isfinite().all()]
    if diverged:
        raise ValueError(
            f'{len(diverged)} of {len(weights)} tensors of the checkpoint hold nan or inf, the '
            f'first is {diverged[0]}: the run has diverged; publish an earlier checkpoint'
        )
    return weights


def card(path: Path, weights: dict[str, Any], meta: dict[str, Any], metrics: Any) -> str:
    """The model card as Markdown."""
    from mmaction.utils.environment import versions

    size = sum(value.numel() for value in weights.values())
    lines = [f'# {path.stem}', '', f'{size / 1e6:.2f} M weights in {len(weights)} tensors.', '']
    trained = [f'{meta[key]} {key}s' for key in ('epoch', 'iter') if meta.get(key)]
    if trained:
        seed = f', seed {meta["seed"]}' if meta.get('seed') is not None else ''
        lines += [f'Trained for {", ".join(trained)}{seed}.', '']
    lines += ['## Measured', '']
    if metrics:
        if not metrics.get('checkpoint'):
            lines += ['The metrics do not say which checkpoint they are of.', '']
        elif not metrics.get('checkpoint_sha256'):
            lines += ['The metrics name their checkpoint, without its hash.', '']
        lines += [f'- {name}: {value}' for name, value in metrics.items()]
    else:
        lines.append('Nothing was measured (`--metrics metrics.json` puts it here).')
    lines += ['', '## Use', '', '```bash', f'python tools/test.py CONFIG {path.name}', '```', '']
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes:
        lines += [f'## Classes ({len(classes)})', '', ', '.join(map(str, classes)), '']
    lines += ['## Versions', '', *(f'- {name} {text}' for name, text in versions().items()), '']
    if meta.get('cfg'):
        lines += ['## Config', '', '```python', str(meta['cfg']).strip(), '```', '']
    return '\n'.join(lines)


def read_metrics(args: argparse.Namespace) -> dict[str, Any]:
    """The content of `--metrics`, which has to be of this checkpoint.

    Raises:
        ValueError: It says that it is of another one, or is of the average while the raw
            weights are published.
    """
    from mmaction.apis.publish import metrics_of

    if args.weights == 'raw':
        raise ValueError(
            '--metrics with --weights raw: a test measures the moving average, not these weights'
        )
    return metrics_of(args.metrics, args.checkpoint)


def publish(args: argparse.Namespace) -> Path:
    """Write weights and card; the path of the weights."""
    import torch
    from safetensors.torch import save

    from mmaction.utils.checkpoint_reading import read_checkpoint
    from mmaction.utils.io import write_bytes, write_text

    checkpoint = read_checkpoint(args.checkpoint)
    weights = choose_weights(checkpoint, args.weights)
    meta = checkpoint.get('meta') or {}
    metrics = read_metrics(args) if args.metrics else None
    if args.format == 'safetensors':
        content = save(weights)
    else:
        kept = {key: meta[key] for key in ('cfg', 'dataset_meta', 'seed') if key in meta}
        buffer = io.BytesIO()
        torch.save(dict(state_dict=weights, meta=kept), buffer)
        content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:8]
    name = args.out.name.removesuffix('.pth').removesuffix('.safetensors')
    path: Path = args.out.with_name(f'{name}-{digest}.{args.format}')
    write_bytes(path, content)
    write_text(path.with_suffix('.md'), card(path, weights, meta, metrics))
    return path


def main(argv: list[str] | None = None) -> None:
    """Parse and publish."""
    args = parse_args(argv)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'checkpoint')
    from mmaction.utils.remote import file_size, redacted

    with user_errors(setup=True):
        path = publish(args)
        before, after = file_size(args.checkpoint) or 0, file_size(path) or 0
        print(f'{redacted(path)}: {after / 1e6:.1f} MB of {before / 1e6:.1f} MB')
        print(redacted(path.with_suffix('.md')))
    sys.exit(0)


if __name__ == '__main__':
    main()
