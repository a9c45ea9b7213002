"""What scripts that compare trainings share: lists, train or go on, keep what is done, spread."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from mmaction.distributed.launch import init_processes
from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner.resume import set_resume
from mmaction.utils.io import write_json, write_lines

__all__ = ['bare', 'cell', 'run_missing', 'train', 'write_lists']


def write_lists(
    folder: Path, root: Path, classes: Mapping[int, str], few: int = 0, seeds: Iterable[int] = ()
) -> None:
    """Write lists of some classes of a set, whose labels count from 0, into a folder.

    Args:
        folder: Gets classes.txt, train.txt and val.txt, and train_SEED.txt.
        root: Folder of the set, with train.txt and val.txt.
        classes: Names of the classes by their labels in the set.
        few: Training clips of each class in train_SEED.txt.
        seeds: What draws these.
    """
    folder.mkdir(exist_ok=True)
    write_lines(folder / 'classes.txt', classes.values())
    labels = {str(label): number for number, label in enumerate(classes)}
    rows: dict[str, list[tuple[str, int]]] = {}
    for split in ('train', 'val'):
        lines = (root / f'{split}.txt').read_text(encoding='utf-8').splitlines()
        found = [line.rsplit(' ', 1) for line in lines]
        start = os.path.relpath(root, folder)
        rows[split] = [(f'{start}/{clip}', labels[n]) for clip, n in found if n in labels]
        write_lines(folder / f'{split}.txt', (f'{clip} {label}' for clip, label in rows[split]))
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(rows['train'])).tolist()
        of_class = ([i for i in order if rows['train'][i][1] == n] for n in labels.values())
        picked = sorted(i for part in of_class for i in part[:few])
        chosen = (rows['train'][i] for i in picked)
        write_lines(folder / f'train_{seed}.txt', (f'{clip} {label}' for clip, label in chosen))


def bare(cfg: Any) -> Any:
    """Leave out what a short run of many does not need: forecasts, curves, progress."""
    kept = ('NonFiniteLossHook', 'UnreadableClipsHook', 'StopHook')
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook['type'] in kept]
    return cfg


def train(cfg: Any) -> tuple[float, Any]:
    """Train, or go on with it.

    Returns:
        The last validation's top-1 accuracy, and the model.

    Raises:
        SystemExit: A signal ended it, with its state saved.
    """
    set_resume(cfg, 'auto')
    cfg.launcher = init_processes('none').launcher
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{time.time_ns()}'
    runner = ActionRunner.from_cfg(cfg)
    runner.train()
    if runner.stop_signal is not None:
        raise SystemExit(128 + runner.stop_signal)
    return float(runner.val()['acc/top1']), runner.bare_model


def run_missing(
    path: Path, keys: Iterable[str], run: Callable[[str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The results of all keys; those in the file already are not run again.

    Args:
        path: Results as JSON, written after each run.
        keys: Names of the runs, in the order they are to be done.
        run: Does one.
    """
    results: dict[str, dict[str, Any]] = {}
    if path.is_file():
        results = json.loads(path.read_text(encoding='utf-8'))
    for key in keys:
        if key not in results:
            results[key] = run(key)
            write_json(path, results)
            print(f'{key}: {results[key]}', flush=True)
    return results


def cell(accuracies: Sequence[float]) -> str:
    """Accuracies in percent: mean, and with several runs their standard deviation."""
    if not accuracies:
        return '-'
    percent = [100 * accuracy for accuracy in accuracies]
    spread = f' ± {stdev(percent):.1f}' if len(percent) > 1 else ''
    return f'{mean(percent):.1f}{spread}'
