"""Export a trained recognizer to ONNX, or with torch.export for AOTInductor.

    python tools/deployment/export.py CONFIG CHECKPOINT OUT.onnx
    python tools/deployment/export.py CONFIG CHECKPOINT OUT.pt2 [--aot]

The exported model takes RGB clips (batch, 3, T, H, W) as float32 from 0 to 255, normalizes them as
the config says, and gives the probabilities (batch, classes) of each clip; batch is any number.
What was written is run and held against the model before the command ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file, or - for random weights')
    add('out', type=Path, help='.onnx, or .pt2 for torch.export')
    add('--aot', action='store_true', help='compile the .pt2 ahead of time, for this machine')
    add('--shape', type=int, nargs=3, metavar=('T', 'H', 'W'), help="default: the config's clips")
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    if args.out.suffix not in ('.onnx', '.pt2'):
        parser.error(f'{args.out}: the name has to end in .onnx or .pt2')
    if args.aot and args.out.suffix != '.pt2':
        parser.error('--aot makes a .pt2')
    return args


class Classifier(nn.Module):
    """What is exported: normalization, backbone, head, softmax.

    Args:
        recognizer: A `Recognizer3D` or one of its kind.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, recognizer: Any) -> None:
        super().__init__()
        self.backbone = recognizer.backbone
        self.head = recognizer.cls_head
        preprocessor = recognizer.data_preprocessor
        for name, default in (('mean', 0.0), ('std', 1.0)):
            value = getattr(preprocessor, name, None)
            value = torch.tensor(default) if value is None else value.detach().float()
            self.register_buffer(name, value.reshape(-1, 1, 1, 1))

    def forward(self, clips: Tensor) -> Tensor:
        """(batch, 3, T, H, W), 0 to 255 -> probabilities (batch, classes)."""
        return self.head(self.backbone((clips - self.mean) / self.std)).softmax(-1)


def clip_shape(cfg: Any) -> tuple[int, int, int]:
    """(T, H, W) of the clips that the config's backbone is made for.

    Raises:
        ValueError: The config does not say.
    """
    size = cfg.model.backbone.get('video_size')
    if size is None:
        raise ValueError('the config has no model.backbone.video_size: give --shape T H W')
    return tuple(size)


def export(model: Classifier, clips: Tensor, out: Path, aot: bool) -> Any:
    """Write the model, and return a function that runs what was written."""
    batch = torch.export.Dim('batch', min=1, max=1024)
    if out.suffix == '.onnx':
        torch.onnx.export(
            model,
            (clips,),
            str(out),
            dynamo=True,
            input_names=['clips'],
            output_names=['probabilities'],
            dynamic_shapes={'clips': {0: batch}},
            external_data=False,
            verbose=False,
        )
        import onnxruntime

        session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
        return lambda x: torch.from_numpy(session.run(None, {'clips': x.numpy()})[0])
    program = torch.export.export(model, (clips,), dynamic_shapes={'clips': {0: batch}})
    if aot:
        torch._inductor.aoti_compile_and_package(program, package_path=str(out))
        return torch._inductor.aoti_load_package(str(out))
    torch.export.save(program, str(out))
    return torch.export.load(str(out)).module()


def check(model: Classifier, run: Any, shape: tuple[int, int, int]) -> float:
    """The largest difference between model and export, for batches of 1 and 3.

    That of the probabilities, and of their logarithms where they are not tiny.

    Raises:
        ValueError: It exceeds the tolerance.
    """
    generator, worst = torch.Generator().manual_seed(1), 0.0
    for size in (1, 3):
        clips = torch.rand(size, 3, *shape, generator=generator) * 255
        with torch.no_grad():
            expected, found = model(clips), run(clips)
        if found.shape != expected.shape:
            raise ValueError(f'the export gives {tuple(found.shape)}, not {tuple(expected.shape)}')
        for a, b in ((found, expected), (found.clamp(1e-4).log(), expected.clamp(1e-4).log())):
            worst = max(worst, float((a - b).abs().max()))
    if worst > TOLERANCE:
        raise ValueError(f'the export differs from the model by {worst:.1e}, over {TOLERANCE:g}')
    return worst


def main(argv: list[str] | None = None) -> None:
    """Parse, export, check."""
    args = parse_args(argv)
    from mmaction.utils.cli import check_files

    check_files(args, 'config', 'checkpoint')
    from mmaction.apis import init_recognizer
    from mmaction.config.load import load_config
    from mmaction.errors import ConfigError
    from mmaction.utils.cli import user_errors

    with user_errors(setup=True):
        cfg = load_config(args.config, args.cfg_options)
        shape = tuple(args.shape or clip_shape(cfg))
        checkpoint = None if args.checkpoint == '-' else args.checkpoint
        recognizer = init_recognizer(cfg, checkpoint, device='cpu')
        if not hasattr(recognizer, 'cls_head') or 'Recognizer3D' not in type(recognizer).__name__:
            raise ConfigError(f'a {type(recognizer).__name__} cannot be exported: Recognizer3D can')
        if args.out.suffix == '.onnx':
            try:
                import onnxruntime  # noqa: F401
                import onnxscript  # noqa: F401
            except ImportError as error:
                raise ConfigError(f'{error}: pip install onnx onnxruntime onnxscript') from error
        args.out.parent.mkdir(parents=True, exist_ok=True)
        model = Classifier(recognizer).eval()
        run = export(model, torch.rand(2, 3, *shape) * 255, args.out, args.aot)
        worst = check(model, run, shape)
        print(
            f'{args.out}: {args.out.stat().st_size / 1e6:.1f} MB; clips (batch, 3, '
            f'{", ".join(map(str, shape))}); differs from the model by at most {worst:.1e}'
        )
    sys.exit(0)


if __name__ == '__main__':
    main()
