"""Compare exported files with the recognizer: clips/s, scores and accuracy.

    python tools/analysis_tools/benchmark_export.py CONFIG CHECKPOINT MODEL.xml [MODEL.onnx ...]
        [--list LIST] [--threads 2]

The recognizer (eager, fp32) and the files take turns on the same clip, batch 1. With a list, its
clips are classified, too: cosine of the scores to those of the recognizer, and top-1 accuracy. It
should not be the list that an int8 file was calibrated on. An
.onnx is run by ONNX Runtime; an .xml by OpenVINO, as it does by itself on this processor and with
fp32 instead of bf16.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmaction.utils.cli import Parser, add_cfg_options, check_files, user_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file, or - for random weights')
    add('models', nargs='+', metavar='MODEL', help='exports of it: .xml or .onnx')
    add('--list', help='list of videos to classify, `path label`')
    add('--data-prefix', metavar='DIR', help='folder of its videos (default: that of the list)')
    add('--steps', type=int, default=10, help='timed clips (%(default)s)')
    add('--threads', type=int, default=2, help='of each (%(default)s)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.steps < 1 or args.threads < 1:
        parser.error('--steps and --threads are at least 1')
    return args


def runners(recognizer: Any, files: list[str], threads: int) -> dict[str, Callable[[Any], Any]]:
    """Functions from clips (B, 3, T, H, W), float32, to scores (B, classes), by name."""
    import torch

    from mmaction.apis.export import Classifier, run_onnx
    from mmaction.apis.openvino_model import model_runner

    classifier = Classifier(recognizer).eval()
    found: dict[str, Callable[[Any], Any]] = dict(eager=torch.no_grad()(classifier))
    for file in map(Path, files):
        if file.suffix == '.onnx':
            found[file.name] = run_onnx(file, threads)
        else:
            found[file.name] = model_runner(file, threads=threads)
            found[f'{file.name}, f32'] = model_runner(file, 'f32', threads)
    return found


def top1(scores: Any, labels: list[Any]) -> float:
    """Share of scores (N, K) whose largest is that of the label, a tensor of one class."""
    return float((scores.argmax(1) == [int(label) for label in labels]).mean())


def compare(args: argparse.Namespace) -> None:
    """Print a table."""
    import numpy as np
    import torch
    from benchmark import processor

    from mmaction.apis.calibration import Calibration, listed_clips
    from mmaction.apis.export import as_batch, decoded_views
    from mmaction.apis.inference import init_recognizer
    from mmaction.config.load import load_config
    from mmaction.utils.memory import keep_freed_memory

    keep_freed_memory()  # as in testing, or eager is slower than it is there
    torch.set_num_threads(args.threads)
    checkpoint = None if args.checkpoint == '-' else args.checkpoint
    recognizer = init_recognizer(load_config(args.config, args.cfg_options), checkpoint, 'cpu')
    run = runners(recognizer, args.models, args.threads)
    views = decoded_views(recognizer, None)
    clip = as_batch(views if views.ndim == 4 else views[:1])
    times: dict[str, list[float]] = {name: [] for name in run}
    for step in range(-1, args.steps):
        for name, forward in run.items():
            start = time.perf_counter()
            forward(clip)
            if step >= 0:
                times[name].append(time.perf_counter() - start)
    scores: dict[str, list[Any]] = {name: [] for name in run}
    labels = []
    if args.list is not None:
        source = Calibration(args.list, args.data_prefix, None)
        for views, label in listed_clips(recognizer, source):
            labels.append(label)
            for name, forward in run.items():
                scores[name].append(forward(as_batch(views)).mean(0).numpy())
    print(f'{args.threads} threads, batch 1, {processor(torch.device("cpu"))}')
    base = statistics.median(times['eager'])
    for name in run:
        seconds = statistics.median(times[name])
        line = f'{name:<24}{1 / seconds:>8.2f} clips/s{base / seconds:>7.2f} x eager'
        if labels:
            a, b = np.array(scores[name]), np.array(scores['eager'])
            cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            line += f'  cosine {cosine.mean():.4f} (least {cosine.min():.4f})'
            line += f'  top-1 {top1(a, labels):.4f}'
        print(line)


def main(argv: list[str] | None = None) -> None:
    """Parse, compare."""
    args = parse_args(argv)
    check_files(args, 'config', 'checkpoint', 'list')
    with user_errors(setup=True):
        compare(args)


if __name__ == '__main__':
    main()
