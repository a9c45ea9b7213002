"""A contact sheet of clips as the model gets them, after all augmentation.

python tools/analysis_tools/browse_dataset.py CONFIG --phase train --out SHEET.png
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors
from mmaction.utils.plurals import how_many

if TYPE_CHECKING:
    import numpy as np


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing nothing keeps `--help` quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('--phase', choices=('train', 'val', 'test'), default='train')
    add('--out', required=True, metavar='FILE', help='the .png file')
    add('--show-number', type=int, default=8, help='clips to show (default: 8)')
    start = 'show the clips of the list from this one on (default: some of each class)'
    add('--start', type=int, metavar='N', help=start)
    add('--frames', type=int, default=8, help='frames of each clip to show (default: 8)')
    add('--epoch', type=int, default=0, help='epoch whose augmentation is shown (default: 0)')
    add('--seed', type=int, default=0, help='seed of the run (default: 0)')
    add_cfg_options(parser)
    return parser.parse_args(arguments)


def parts_of(dataset: Any) -> list[Any]:
    """The datasets with a list each of which a wrapper's clips come, in their order."""
    if hasattr(dataset, 'datasets'):  # ConcatDataset
        return [part for each in dataset.datasets for part in parts_of(each)]
    if hasattr(dataset, 'times'):  # RepeatDataset
        repeated: list[Any] = parts_of(dataset.dataset) * dataset.times
        return repeated
    return [dataset]


def positions(parts: Sequence[Any], start: int | None) -> list[int]:
    """The clips of datasets in the order in which they are shown.

    Lists are often sorted by class, so by default the first clip of each class comes first,
    then the second of each, and so on. With `start`, the order of the list from there on.

    Raises:
        ValueError: The list ends before `start`.
    """
    number = sum(map(len, parts))
    if start is not None:
        if not 0 <= start < number:
            raise ValueError(f'--start {start}: the list has {number} clips')
        return list(range(start, number))
    seen: Counter[tuple[int, ...]] = Counter()
    turns = []
    labels = (tuple(part.get_cat_ids(i)[:1]) for part in parts for i in range(len(part)))
    for i, label in enumerate(labels):
        turns.append((seen[label], label, i))
        seen[label] += 1
    return [i for _, _, i in sorted(turns)]


def rows_of(data: Any, classes: list[str] | None) -> list[tuple[str, np.ndarray]]:
    """A name and the frames (T, H, W, 3) of each view of a packed sample."""
    import textwrap

    rows = []
    for item in data if isinstance(data, list) else [data]:
        sample, views = item['data_samples'], item['inputs']
        label = int(sample.gt_label[0])
        name = classes[label] if classes and 0 <= label < len(classes) else f'class {label}'
        lines = textwrap.wrap(name, 18)
        if 'unreadable' in sample or 'replaced' in sample:
            lines.append('(unreadable)' if 'unreadable' in sample else '(replaced)')
        for i, view in enumerate(views):
            extra = [f'view {i + 1} of {len(views)}'] if len(views) > 1 else []
            rows.append(('\n'.join(lines + extra), view.permute(1, 2, 3, 0).numpy()))
    return rows


def main() -> None:
    """Parse, read, draw."""
    args = parse_args()
    check_files(args, 'config')

    with user_errors(setup=True):
        from mmengine.registry import init_default_scope

        from mmaction.config.load import load_config
        from mmaction.datasets import SampleKey
        from mmaction.registry import DATASETS
        from mmaction.utils.class_names import find_class_names
        from mmaction.visualization import check_out_name, contact_sheet

        check_out_name(args.out, ('.png',))
        cfg = load_config(args.config, args.cfg_options)
        init_default_scope('mmaction')
        loader = cfg.get(f'{args.phase}_dataloader')
        if loader is None:
            raise ValueError(f'{args.config} has no {args.phase}_dataloader')
        dataset = DATASETS.build(loader.dataset)
        parts = parts_of(dataset)
        chosen = positions(parts, args.start)[: args.show_number]
        names = dataset.metainfo.get('classes')
        head = (cfg.get('model') or {}).get('cls_head') or {}
        if names is None and 'num_classes' in head:
            names = find_class_names(cfg, head['num_classes'])
        rows: list[tuple[str, Any]] = []
        for i in chosen:
            data = dataset[SampleKey(i, args.epoch, args.seed)]
            rows += rows_of(data, names)
        rows = rows[: args.show_number]
        contact_sheet(rows, args.out, args.frames)
        for part in {id(part): part for part in parts}.values():
            pipeline = getattr(part, 'dataset', part).pipeline  # of ClassBalancedDataset's dataset
            steps = ', '.join(type(step).__name__ for step in pipeline.transforms)
            print(f'{how_many(len(part), "clip")}: {steps}')
        print(f'shown: {len(rows)} of {len(dataset)} clips')
        print(f'written: {args.out}')


if __name__ == '__main__':
    main()
