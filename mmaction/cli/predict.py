"""Classify videos: a file, the videos of a folder, or those of a list.

    mmaction predict clip.mp4 --run work_dirs/my_run
    mmaction predict FOLDER --config CONFIG --checkpoint FILE --out predictions.csv

RUN is what "mmaction finetune" or "mmaction train" wrote: its config and its best checkpoint, or
the last one, are taken. Of a folder the videos are taken, at any depth; files of other kinds
(.gif) are left out with a note, but read where they are named themselves. A list has a path a
line, from its own folder on; what follows the last blank is ignored if it is a number.

    mmaction predict LIST --config CONFIG --checkpoint FILE --out predictions/ --workers 8

With a folder (or an address, s3://...) as OUT, any number of clips is predicted into Parquet
files, a thousand each: LIST may be an annotation list, a folder of videos or packed shards. Run
again, it resumes where it stopped; under torchrun or srun the processes share the work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmaction.utils.cli import Parser, check_files, printable, user_errors
from mmaction.utils.plurals import how_many
from mmaction.utils.work_share import add_share_option, share_of_array, task_of_step, with_rank

__all__ = ['main', 'parse_args']

LISTS = ('.txt', '.csv', '.tsv')


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('video', nargs='+', metavar='VIDEO|FOLDER|LIST', help='what to classify')
    add('--run', type=Path, metavar='DIR', help='folder of a training')
    add('--config', help='config file or name, instead of --run')
    add('--checkpoint', help='checkpoint file or URL; with --run, one of its checkpoints')
    add('--label-file', metavar='FILE', help='names of the classes, one a line')
    add('--top', type=int, default=5, metavar='K', help='classes to show (%(default)s)')
    add('--out', metavar='FILE|DIR', help='also write them: .csv, .json, or a folder of Parquet')
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    bulk = parser.add_argument_group('with a folder as OUT')
    add = bulk.add_argument
    add('--data-prefix', metavar='DIR', help='folder of the videos (default: that of the list)')
    add('--batch-size', type=int, default=8, metavar='N', help='clips at once (%(default)s)')
    add('--workers', type=int, default=2, metavar='N', help='processes that read (%(default)s)')
    add('--part-size', type=int, default=1000, metavar='N', help='clips of a file (%(default)s)')
    add('--embeddings', action='store_true', help="keep the classifier's input of each clip, too")
    add(
        '--windows',
        type=float,
        metavar='STRIDE',
        help='long videos: classify windows that begin STRIDE lengths of a window apart',
    )
    add_share_option(bulk)
    parser.set_defaults(shard=None)  # jobs of an array may predict videos of their own
    args = parser.parse_args(argv)
    if (args.run is None) == (args.config is None):
        parser.error('give --run DIR, or --config CONFIG with --checkpoint FILE')
    if args.config is not None and args.checkpoint is None:
        parser.error('--config needs --checkpoint FILE')
    args.bulk = args.out is not None and not os.path.splitext(args.out)[1]
    if args.out and not args.bulk and not args.out.lower().endswith(('.csv', '.json')):
        parser.error(f'--out {args.out} must end in .csv or .json, or be a folder')
    if args.bulk:
        if args.shard is None:
            try:
                args.shard = share_of_array()
            except argparse.ArgumentTypeError as error:
                parser.error(str(error))
        check_bulk(parser, args)
    if args.top < 1:
        parser.error(f'--top {args.top} must be at least 1')
    return args


def videos_of(source: str) -> list[str]:
    """The videos that an argument means.

    Raises:
        ValueError: There are none.
        FileNotFoundError: A list names a file that is not there.
    """
    from mmaction.data_preparation.jobs import find_videos
    from mmaction.datasets.numbered_frames import numbered_frames

    path = Path(source)
    if path.is_dir():
        if numbered_frames([each.name for each in path.iterdir()]) is not None:
            return [source]
        return [str(path / name) for name in find_videos(path)]
    if path.suffix.lower() not in LISTS:
        return [source]
    return _listed(path)


def _listed(path: Path) -> list[str]:
    videos = []
    lines = path.read_text(encoding='utf-8-sig', errors='surrogateescape').splitlines()
    for number, line in enumerate(lines, start=1):
        name = line.split(',' if path.suffix.lower() == '.csv' else '\t')[0].strip()
        if not name or (number == 1 and name.lower() in ('path', 'video', 'file')):
            continue
        start, _, label = name.rpartition(' ')
        if label.isdigit() and not (path.parent / name).exists():
            name = start
        if not (path.parent / name).exists():
            raise FileNotFoundError(f'{path}:{number}: there is no video {path.parent / name}')
        videos.append(str(path.parent / name))
    if not videos:
        raise ValueError(f'{path} names no videos')
    return videos


def check_bulk(parser: Parser, args: argparse.Namespace) -> None:
    """Refuse what cannot be meant of bulk prediction."""
    if len(args.video) > 1:
        parser.error('with a folder as --out give one LIST, FOLDER or folder of shards')
    for name in ('batch_size', 'part_size'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    if args.windows is not None and args.windows <= 0:
        parser.error('--windows must be above 0')
    if args.windows is not None and args.embeddings:
        parser.error('--embeddings are of clips: leave out --windows')


def predict_bulk(args: argparse.Namespace, config: str, checkpoint: str) -> int:
    """Predict any number of clips into Parquet files."""
    from mmaction.apis import init_recognizer
    from mmaction.apis.bulk_prediction import BulkRequest, predict_list

    local = os.environ.get('SLURM_LOCALID', '0') if task_of_step() else None
    local = os.environ.get('LOCAL_RANK', local)
    if args.device is None and local is not None:
        import torch

        # A task that Slurm gives a GPU of its own sees no other.
        gpus = torch.cuda.device_count()
        args.device = f'cuda:{int(local) % gpus}' if gpus else None
    request = BulkRequest(
        source=args.video[0],
        out=args.out,
        prefix=args.data_prefix,
        part_size=args.part_size,
        batch_size=args.batch_size,
        workers=args.workers,
        embeddings=args.embeddings,
        stride=args.windows,
        share=with_rank(args.shard),
    )
    model = init_recognizer(config, checkpoint, args.device)
    done, unreadable, clips = predict_list(model, request, checkpoint)
    part = '' if request.share.is_all else f' (share {request.share.index}/{request.share.count})'
    print(f'{args.out}{part}: {done} of {clips} clips predicted now, {unreadable} of them not read')
    return 1 if unreadable else 0


def model_of_run(run: Path, checkpoint: str | None) -> tuple[str, str]:
    """Config and checkpoint of a training.

    Raises:
        FileNotFoundError: It lacks one of them.
    """
    folders = [run, run / 'run']
    config = next((path for folder in folders for path in sorted(folder.glob('*.py'))), None)
    if config is None:
        raise FileNotFoundError(f'{run} holds no config (*.py): is it the folder of a training?')
    if checkpoint is None and (run / 'model.pth').is_file():
        # The weights that finetune has tested.
        checkpoint = str(run / 'model.pth')
    if checkpoint is None:
        best = [path for folder in folders for path in folder.glob('best_*.pth')]
        last = [path for folder in folders for path in folder.glob('*.pth')]
        found = max(best or last, key=lambda path: path.stat().st_mtime_ns, default=None)
        if found is None:
            raise FileNotFoundError(f'there is no checkpoint (*.pth) in {run}')
        checkpoint = str(found)
    return str(config), checkpoint


def write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write predictions, one a row: .csv with the best class, .json with those shown."""
    import csv
    import io

    from mmaction.utils.io import write_json, write_text

    if out.suffix.lower() == '.json':
        write_json(out, list(rows))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('video', 'class', 'score', 'error'))
    for row in rows:
        name, score = row['classes'][0] if row['classes'] else ('', '')
        writer.writerow((printable(row['video']), name, score, row['error']))
    write_text(out, text.getvalue())


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """Parse, classify, print, write; 1 if a video could not be read."""
    args = parse_args(argv, prog)
    check_files(args, 'video', 'config', 'checkpoint', 'run')
    with user_errors(setup=True):
        from mmaction.apis import inference_recognizer, init_recognizer
        from mmaction.apis.inference import top_classes
        from mmaction.utils.class_names import class_names_of
        from mmaction.utils.cli import describe

        config, checkpoint = args.config, args.checkpoint
        if args.run is not None:
            config, checkpoint = model_of_run(args.run, checkpoint)
            print(f'{checkpoint}, of {config}')
        if args.bulk:
            return predict_bulk(args, config, checkpoint)
        videos = [video for source in args.video for video in videos_of(source)]
        model = init_recognizer(config, checkpoint, args.device)
        names = class_names_of(model, args.label_file)
        rows: list[dict[str, Any]] = []
        for video in videos:
            row: dict[str, Any] = dict(video=video, classes=[], error='')
            rows.append(row)
            try:
                row['classes'] = top_classes(inference_recognizer(model, video), names, args.top)
            except (ValueError, OSError) as error:
                row['error'] = describe(error)
                print(f'{printable(video)}: not read: {row["error"]}', file=sys.stderr)
                continue
            shown = ', '.join(f'{name} {100 * score:.1f} %' for name, score in row['classes'])
            print(f'{printable(video)}: {shown}')
        failed = sum(bool(row['error']) for row in rows)
        if args.out is not None:
            write(Path(args.out), rows)
            print(f'written: {args.out} ({how_many(len(rows), "video")}, {failed} not read)')
    return 1 if failed else 0
