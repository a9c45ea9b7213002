"""From a folder of clips to a tested model, in one command.

    mmaction finetune FOLDER          # FOLDER/CLASS/clip.mp4, any video files
    mmaction finetune labels.csv      # columns path,label and maybe group,split
    mmaction finetune --demo          # on the built-in Motion Digits

Checks and re-encodes the videos, divides them into train, val and test, chooses a model, trains,
tests, and writes report.html, saliency maps and the config to the work dir. Run again, it resumes
where it stopped; what is done is not done again.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from mmaction.config.known_keys import LOGGERS
from mmaction.utils.cli import Parser, add_job_options, available_cores, check_files, user_errors
from mmaction.utils.plurals import how_many

if TYPE_CHECKING:
    from mmaction.apis.finetune.training import Run
    from mmaction.data_preparation.file_lists import Clip

__all__ = ['main', 'parse_args']

DEMO = 'motion_digits'
# What changes the outcome: a work dir belongs to one set of these.
ASKED = (
    *('folder', 'demo', 'as_is', 'group', 'val', 'test', 'seed', 'seeds', 'folds'),
    *('model', 'weights', 'batch', 'epochs', 'freeze'),
)


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('folder', nargs='?', type=Path, metavar='FOLDER|TABLE', help='the clips')
    add('--demo', action='store_true', help='generate Motion Digits and train on it')
    add('--work-dir', type=Path, help='for all results (default: work_dirs/finetune_FOLDER)')
    add('--overwrite', action='store_true', help='start over in a work dir that has results')
    clips = parser.add_argument_group('clips').add_argument
    clips('--as-is', action='store_true', help='check the videos, but do not re-encode them')
    clips('--group', metavar='REGEX', help='clips with the same match in their path stay together')
    clips('--val', type=float, default=0.1, metavar='PART', help='to validate on (%(default)s)')
    clips('--test', type=float, default=0.2, metavar='PART', help='to test on (%(default)s)')
    clips('--folds', type=int, default=1, metavar='K', help='K-fold cross-validation')
    training = parser.add_argument_group('training').add_argument
    training('--model', help='pico, resnet18, s3d, tiny, or a config (default: by the machine)')
    training('--weights', metavar='FILE', help='start from these weights, or from "none"')
    training('--epochs', type=int, help='default: by the number of clips')
    training('--batch', type=int, metavar='CLIPS', help='default: by clips and memory')
    training(
        '--freeze',
        type=int,
        nargs='?',
        const=-1,
        metavar='STAGES',
        help='keep the first stages of the backbone as they are; without a number all',
    )
    training('--seed', type=int, default=0, help='of the split and of training (%(default)s)')
    training('--seeds', type=int, default=1, metavar='N', help='train N times, from --seed on')
    for name in LOGGERS:
        training(f'--{name}', action='store_true', help=f'also log to {name}')
    add_job_options(parser, timeout=600)
    parser.set_defaults(workers=None)  # all cores prepare, and the recipe says how many read
    args = parser.parse_args(argv)
    if args.demo == (args.folder is not None):
        parser.error('give a folder or table of clips, or --demo' + (
            ' without one' if args.demo else ''))  # fmt: skip
    for name, least in (('folds', 1), ('seeds', 1), ('seed', 0), ('epochs', 1), ('batch', 1)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f'--{name} {getattr(args, name)} must be at least {least}')
    if not 0 <= args.val < 1:
        parser.error(f'--val {args.val:g} must be at least 0 and below 1: a part of all clips')
    if not 0 < args.test < 1:
        parser.error(f'--test {args.test:g} must be above 0 and below 1: a part of all clips')
    if args.val + args.test >= 1:
        parser.error(
            f'--val {args.val:g} and --test {args.test:g} must leave some clips to train on'
        )
    if args.work_dir is None:
        name = DEMO if args.demo else args.folder.resolve().stem
        args.work_dir = Path('work_dirs', f'finetune_{name}')
    return args


def step(number: int, title: str) -> None:
    """Print the headline of a step."""
    print(f'\n== {number}/5 {title}', flush=True)


def open_work_dir(args: argparse.Namespace) -> None:
    """Have a work dir for these options alone.

    Raises:
        FileExistsError: It holds results of other options, or other things.
    """
    import json
    import shutil

    from mmaction.utils.io import write_json

    work = args.work_dir
    asked = {name: getattr(args, name) for name in ASKED}
    if args.folder is not None:
        asked['folder'] = str(args.folder.resolve())
    file = work / 'finetune.json'
    if not file.exists() and work.is_dir() and {p.name for p in work.iterdir()} - {'.lock'}:
        raise FileExistsError(f'{work} holds other things: give another --work-dir')
    if file.exists():
        found = json.loads(file.read_text(encoding='utf-8'))
        changed = [name for name in ASKED if found.get(name) != asked[name]]
        if changed and not args.overwrite:
            name = changed[0]
            raise FileExistsError(
                f'{work} holds results {_told(name, found.get(name))}, but this call is '
                f'{_told(name, asked[name])}: repeat the first call to resume, give another '
                '--work-dir, or --overwrite to start over'
            )
        if args.overwrite:
            # The videos are of the same making whatever is trained on them.
            same = found.get('folder') == asked['folder'] and found.get('as_is') == asked['as_is']
            for path in work.iterdir():
                if path.is_dir() and not (same and path.name in ('videos', DEMO)):
                    shutil.rmtree(path)
                elif not path.is_dir() and path.name not in ('.lock', 'prepare_videos.json'):
                    path.unlink()
    write_json(file, asked)


def make_demo(work: Path, workers: int) -> Path:
    """Motion Digits as a table, whose split keeps the writers of the digits apart."""
    from mmaction.data_preparation import motion_digits
    from mmaction.utils.io import write_lines

    folder = work / DEMO
    motion_digits.build(folder, 800, 200, workers=workers)
    lines = ['path,label,split']
    for split, name in (('train', 'train'), ('val', 'test')):
        for line in (folder / f'{split}.txt').read_text(encoding='utf-8').splitlines():
            path, _, label = line.rpartition(' ')
            lines.append(f'{path},{motion_digits.CLASSES[int(label)]},{name}')
    table = folder / 'clips.csv'
    write_lines(table, lines)
    return table


def _told(name: str, value: object) -> str:
    """An option of the command, in words."""
    if name == 'folder':
        return f'of {value}' if value else 'without a folder'
    option = f'--{name.replace("_", "-")}'
    return f'without {option}' if value in (None, False) else f'with {option} {value}'


def prepare(args: argparse.Namespace, jobs: int) -> tuple[list[Clip], str, int]:
    """The clips that can be read, the folder of their files, and the size of the smallest.

    Raises:
        ValueError: There are no clips, or they or their classes are not as described.
    """
    from mmaction.data_preparation.file_lists import check_paths, class_names, regroup
    from mmaction.data_preparation.own_clips import (
        find_own_clips,
        join_copies,
        prepare_clips,
        smallest_side,
    )

    source = make_demo(args.work_dir, jobs) if args.demo else args.folder
    clips, folder = find_own_clips(source)
    if args.group:
        if clips[0].split and args.folds == 1:
            raise ValueError('--group divides clips, but their split is given already')
        clips = regroup(clips, args.group)
    # A faulty label or name of a file is an error before videos are read, not after.
    class_names(clips, None)
    check_paths(clips, args.work_dir)
    clips, doubts = join_copies(clips, folder)
    for doubt in doubts:
        print(f'warning: {doubt}', file=sys.stderr)
    # The digits are written as re-encoding would.
    as_is = args.as_is or args.demo
    kept, bad = prepare_clips(
        clips, folder, args.work_dir, as_is=as_is, workers=jobs, timeout=args.timeout
    )
    videos = str(folder.resolve()) if args.as_is else (DEMO if args.demo else 'videos')
    root = folder if as_is else args.work_dir / 'videos'
    side = smallest_side([root / clip.path for clip in kept])
    used, broken = f'{len(kept)} of {len(clips)} videos', how_many(len(bad), 'broken one')
    print(f'{used} are used, {broken} left out')
    return kept, videos, side


def write_splits(args: argparse.Namespace, clips: list[Clip]) -> list[tuple[str, dict[str, Any]]]:
    """Divide, write the lists, print what is in them; the folder and clips of each fold."""
    from mmaction.apis.finetune.summary import few_clips
    from mmaction.data_preparation.file_lists import class_names, count_table, write_lists
    from mmaction.data_preparation.own_clips import divide, split_folds

    if args.folds == 1:
        folds = [('lists', divide(clips, val=args.val, test=args.test, seed=args.seed))]
    else:
        parts = split_folds(clips, args.folds, val=args.val, seed=args.seed)
        folds = [(f'lists_fold{i}', part) for i, part in enumerate(parts, start=1)]
    names = class_names(clips, None)
    for name, splits in folds:
        (args.work_dir / name).mkdir(exist_ok=True)
        write_lists(args.work_dir / name, splits, names, overwrite=False)
    print(count_table(folds[0][1], names))
    if args.folds > 1:
        print(f'(the first of {args.folds} folds; every clip is tested in one of them)')
    for warning in few_clips([splits for _, splits in folds]):
        print(f'warning: {warning}', file=sys.stderr)
    return folds


def write_configs(
    args: argparse.Namespace, folds: list[tuple[str, dict[str, Any]]], videos: str, side: int
) -> tuple[list[Run], int | None]:
    """Choose and write the config of each fold, unless it is there; the runs, and their threads."""
    from mmaction.apis.finetune.recipe import (
        choose_config,
        choose_recipe,
        config_text,
        fit_batch,
        frames_needed,
        learning_rate,
    )
    from mmaction.apis.finetune.summary import short_videos
    from mmaction.apis.finetune.training import Run
    from mmaction.config.load import load_config
    from mmaction.data_preparation.own_clips import frame_counts
    from mmaction.utils.io import write_text

    base = choose_config(args.model, side)
    _, first = folds[0]
    recipe = choose_recipe(
        base,
        len(first['train']),
        weights=args.weights,
        batch=args.batch,
        epochs=args.epochs,
        workers=args.workers,
        freeze=args.freeze,
    )
    classes = len({clip.label for members in first.values() for clip in members})
    runs = []
    for number, (lists, splits) in enumerate(folds, start=1):
        tail = f'_fold{number}' if len(folds) > 1 else ''
        config = args.work_dir / f'config{tail}.py'
        again = f'mmaction train {quote(str(config))}'
        title = f'{args.folder or "Motion Digits"}: "{again} --seed {args.seed}" trains it again.'
        facts: dict[str, Any] = dict(
            title=title, classes=classes, lists=lists, videos=videos, splits=[*splits]
        )
        if not config.exists():
            write_text(config, config_text(recipe, **facts))
            batch = recipe.batch
            if args.batch is None and recipe.threads is None:
                batch = fit_batch(recipe, config)
            if batch != recipe.batch:
                rate = learning_rate(load_config(base), batch)
                recipe = recipe._replace(batch=batch, rate=rate)
                write_text(config, config_text(recipe, **facts))
        for seed in range(args.seed, args.seed + args.seeds):
            parts = [f'fold {number}'] if len(folds) > 1 else []
            parts += [f'seed {seed}'] if args.seeds > 1 else []
            folder = '_'.join(['run', *(part.replace(' ', '') for part in parts)])
            runs.append(Run(config, args.work_dir / folder, seed, ', '.join(parts)))
    members = [clip for part in first.values() for clip in part]
    counts = frame_counts([args.work_dir / videos / clip.path for clip in members])
    warning = short_videos(counts, frames_needed(load_config(runs[0].config)), len(members))
    if warning is not None:
        print(f'warning: {warning}', file=sys.stderr)
    print(f'model {base} from {recipe.weights.text}')
    print(
        f'{how_many(recipe.epochs, "epoch")} in batches of {recipe.batch}, read by '
        f'{how_many(recipe.workers, "process", "processes")}; config: {runs[0].config}'
    )
    return runs, recipe.threads


def train(args: argparse.Namespace, runs: list[Run], threads: int | None) -> None:
    """Train and test each run."""
    from mmaction.apis.finetune.training import Stopped, train_and_test

    loggers = [name for name in LOGGERS if getattr(args, name)]
    for number, run in enumerate(runs):
        if run.title:
            print(f'-- {run.title} ({number + 1} of {len(runs)})', flush=True)
        try:
            if not train_and_test(run, threads, loggers, left=len(runs) - number):
                print(f'{run.folder} is done already')
        except Stopped as stop:
            print(f'stopped; the same command resumes from {run.folder}', file=sys.stderr)
            sys.exit(128 + stop.signal)


def report(args: argparse.Namespace, runs: list[Run], folds: list[Any]) -> None:
    """Write the page, the maps and the summary, and print where they are and what comes next."""
    import shutil

    from mmaction.apis.finetune import summary as outcome
    from mmaction.config.load import load_config
    from mmaction.utils.io import write_json

    work = args.work_dir
    configs = [load_config(run.config) for run in runs]
    results = [outcome.read_results(run, cfg) for run, cfg in zip(runs, configs, strict=True)]
    found = outcome.summarize(runs, results, args.folds)
    text = outcome.accuracy_text(found)
    names = (work / folds[0][0] / 'classes.txt').read_text(encoding='utf-8').splitlines()
    maps = outcome.write_maps(configs[0], runs[0], results[0], work / 'saliency')
    # Of several seeds the page shows the first: the others are the same clips again.
    shown = [result for run, result in zip(runs, results, strict=True) if run.seed == args.seed]
    notes = [text, *outcome.few_clips([splits for _, splits in folds])]
    outcome.write_page(work / 'report.html', shown, names, str(args.folder or DEMO), notes, maps)
    shutil.copyfile(runs[0].checkpoint, work / 'model.pth')
    write_json(work / 'summary.json', {**found, 'classes': names})
    print(text)
    config = runs[0].config
    rows = [
        ('report', work / 'report.html'),
        ('model', work / 'model.pth'),
        ('config', config),
        ('saliency', work / 'saliency'),
        ('summary', work / 'summary.json'),
        ('log, curve', runs[0].folder),
    ]
    if (work / 'left_out.txt').exists():
        rows.append(('left out', work / 'left_out.txt'))
    print('\n'.join(f'  {name:11} {path}' for name, path in rows))
    exported = config, work / 'model.pth', work / 'model.onnx'
    print(
        'next:\n'
        f'  mmaction predict VIDEO --run {quote(str(work))}\n'
        f'  mmaction train {quote(str(config))} --work-dir ANOTHER     (after a change of it)\n'
        f'  mmaction export {" ".join(quote(str(path)) for path in exported)}'
    )


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Do all of it."""
    args = parse_args(argv, prog)
    check_files(args, 'folder')
    # Threads that wait must not hold a core that reading processes need; read as torch loads.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    with user_errors(setup=True):
        from mmaction.apis.finetune.recipe import check_choices
        from mmaction.utils.io import lock

        check_choices(args.model, args.weights, args.freeze)
        args.work_dir.mkdir(parents=True, exist_ok=True)
        jobs = args.workers or available_cores()
        with lock(args.work_dir, 'tool'):
            open_work_dir(args)
            step(1, 'videos')
            clips, videos, side = prepare(args, jobs)
            step(2, 'lists')
            folds = write_splits(args, clips)
            step(3, 'model')
            runs, threads = write_configs(args, folds, videos, side)
            step(4, 'training')
            with user_errors(setup=False):
                train(args, runs, threads)
            step(5, 'results')
            report(args, runs, folds)
