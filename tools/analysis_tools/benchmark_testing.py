"""Videos per second of multi-view testing, against testing one video at a time.

    python tools/analysis_tools/benchmark_testing.py CONFIG [--batch 8] [--workers 2] \
        [--cfg-options test_dataloader.dataset.ann_file=LIST]

Three ways take turns on the same videos of the config's test set, with random weights:
one view at a time; one video at a time, its views in one batch; and views batched across
videos while workers read the next ones. In all of them a video is opened once for all of
its views.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from itertools import islice
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('--batch', type=int, help="videos at once (default: the test loader's)")
    add('--workers', type=int, help="reading processes (default: the test loader's)")
    add('--videos', type=int, default=48, help='videos of a turn (default: 48)')
    add('--turns', type=int, default=3, help='timed turns of each way (default: 3)')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def loader_of(cfg: Any, batch: int, workers: int) -> Any:
    """The config's test loader with another batch size and number of workers."""
    from mmaction.engine.runner import ActionRunner

    settings = cfg.test_dataloader.to_dict()
    settings.update(batch_size=batch, num_workers=workers)
    if workers:
        settings['persistent_workers'] = True
    return ActionRunner.build_dataloader(settings, seed=0)


def rate(model: Any, loader: Any, videos: int) -> float:
    """Videos per second over the first `videos` of a loader, from first wait to last score."""
    import torch

    seen = 0
    batches = -(-videos // loader.batch_size)
    start = time.perf_counter()
    with torch.no_grad():
        for batch in islice(loader, batches):
            seen += len(model.test_step(batch))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return seen / (time.perf_counter() - start)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(arguments)
    check_files(args, 'config')
    # Threads that wait must not hold a core that reading processes need; read as torch loads.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    warnings.filterwarnings('ignore')
    import torch
    from mmengine.registry import init_default_scope

    from mmaction.config.load import load_config
    from mmaction.registry import MODELS
    from mmaction.utils.memory import keep_freed_memory

    device = args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    if device == 'cpu':
        keep_freed_memory()
    with user_errors(setup=True):
        cfg = load_config(args.config, args.cfg_options)
        init_default_scope('mmaction')
        model = MODELS.build(cfg.model).to(device).eval()
        own = cfg.test_dataloader
        batch = own.batch_size if args.batch is None else args.batch
        workers = own.num_workers if args.workers is None else args.workers
        most_views = model.test_cfg.get('max_testing_views')
        ways = {
            'one view at a time': (loader_of(cfg, 1, 0), 1),
            'one video at a time': (loader_of(cfg, 1, 0), most_views),
            f'{batch} videos, {workers} workers': (loader_of(cfg, batch, workers), None),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(args.turns + 1):
            for way, (loader, views) in ways.items():
                model.test_cfg['max_testing_views'] = views
                reached = rate(model, loader, min(args.videos, len(loader.dataset)))
                if turn:  # the first starts the workers
                    rates[way].append(reached)
    middle = {way: statistics.median(values) for way, values in rates.items()}
    print(f'{"":<24}{"videos/s":>10}{"min":>10}{"max":>10}{"ratio":>8}')
    for way, values in rates.items():
        row = ''.join(f'{value:10.2f}' for value in (middle[way], min(values), max(values)))
        print(f'{way:<24}{row}{middle[way] / middle["one video at a time"]:8.2f}')


if __name__ == '__main__':
    main()
