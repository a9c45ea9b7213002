"""Time a training step without token labels, with the token branch, and with the teacher too.

    python tools/analysis_tools/benchmark_token_label.py CONFIG \
        [--batch-size 2] [--steps 10] [--amp bf16] [--compile] [--shape T H W]

The three take turns in one run, on random clips. The teacher has random weights: they
cost what trained ones do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config of a Recognizer3D_TL')
    add('--batch-size', type=int, help="clips of a step (default: the config's)")
    add('--steps', type=int, default=10, help='timed steps of each kind (default: 10)')
    add('--warm-up', type=int, default=2, help='steps before these (default: 2)')
    add('--amp', choices=('bf16', 'fp16', 'off'), default='off', help='precision (default: off)')
    add('--compile', action='store_true', help='compile the backbones of student and teacher')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add('--shape', type=int, nargs=3, metavar=('T', 'H', 'W'), help="default: video_size's")
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def build(args: argparse.Namespace) -> tuple[Any, Any]:
    """The student with its teacher loaded, and the config."""
    import torch
    from mmengine.registry import init_default_scope

    from mmaction.config.load import load_config
    from mmaction.registry import MODELS

    cfg = load_config(args.config, args.cfg_options)
    if cfg.model.type != 'Recognizer3D_TL':
        raise ValueError(f'{args.config} is of a {cfg.model.type}, not of a Recognizer3D_TL')
    teacher = cfg.model.teacher
    cfg.model.teacher = teacher if 'type' in teacher else load_config(teacher.config).model
    init_default_scope('mmaction')
    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    model = MODELS.build(cfg.model).to(device).train()
    model.load_teacher()
    model.teacher.to(device)
    if args.compile:
        model.backbone.compile()
        model.teacher.backbone.compile()
    return model, cfg


def kinds_of_step(model: Any, cfg: Any, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """A training step of each kind, on the same random clips."""
    import torch
    import torch.nn.functional as F

    from mmaction.structures import ActionDataSample

    device = next(model.parameters()).device
    size = args.batch_size or cfg.train_dataloader.batch_size
    shape = args.shape or cfg.model.backbone.video_size
    clips = torch.randn(size, 1, 3, *shape, device=device)
    labels = torch.arange(size, device=device) % model.cls_head.num_classes
    samples = [ActionDataSample().set_gt_label(int(label)) for label in labels]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(args.amp)
    # Without a loss scale fp16 loses small gradients, but takes as long.
    precision = torch.autocast(device.type, dtype) if dtype else nullcontext()
    with precision:
        preds = model._teacher(clips)  # noqa: SLF001 (what its loss calls)

    def plain() -> Any:
        return F.cross_entropy(model.cls_head(model.extract_feat(clips)[0]), labels)

    def branch() -> Any:
        return model.cls_head.loss(model.extract_feat(clips)[0], samples, preds)['loss_cls']

    def taught() -> Any:
        return model.loss(clips, samples)['loss_cls']

    def step(loss: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            with precision:
                value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    return {
        'no token labels': step(plain),
        'token branch, labels given': step(branch),
        'token branch and teacher': step(taught),
    }


def measure(run: Callable[[], None]) -> float:
    """Seconds of one step."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(arguments)
    check_files(args, 'config')
    with user_errors(setup=True):
        model, cfg = build(args)
    steps = kinds_of_step(model, cfg, args)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(args.warm_up + args.steps):
        for name, run in steps.items():
            seconds = measure(run)
            if number >= args.warm_up:
                times[name].append(seconds)
    least = statistics.median(times['no token labels'])
    print(f'{"training step":<30}{"median":>10}{"min":>10}{"max":>10}{"ratio":>8}')
    for name, values in times.items():
        middle = statistics.median(values)
        row = ''.join(f'{1000 * value:7.1f} ms' for value in (middle, min(values), max(values)))
        print(f'{name:<30}{row}{middle / least:8.2f}')


if __name__ == '__main__':
    main()
