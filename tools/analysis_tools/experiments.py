"""What scripts that compare trainings share: train or go on, keep what is done, mean and spread."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mmaction.distributed.launch import init_processes
from mmaction.engine.runner import ActionRunner
from mmaction.engine.runner.resume import set_resume
from mmaction.utils.io import write_json

__all__ = ['bare', 'cell', 'run_missing', 'train']


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
