"""Mutated options of a config, and what `tools/train.py` makes of each.

    python -m tests.option_mutations [--every N] [--offset K] [--match TEXT] [--json FILE]

prints every option that ends in a traceback, a signal, a hang, or an error only after the
first step, and a count of all outcomes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from tests.video_factory import write_video

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
MEMORY = 12 * 2**30
SECONDS = 60
DIVERGED = re.compile('not finite|diverged')
"""What no check before training can foresee, and what then ends it in a sentence."""
_LEFT_OUT = ('work_dir', 'experiment_name', 'data_root', 'default_scope')
"""Keys of which any value may be meant, or which this file sets itself."""


@dataclass(frozen=True)
class Outcome:
    """What a run ended in.

    Attributes:
        kind: 'accepted', 'refused' (one sentence before the first step), 'late' (one after
            it), 'traceback', 'signal' or 'hang'.
        text: What was printed.
    """

    kind: str
    text: str


def make_clips(folder: Path, clips: int = 6) -> Path:
    """A data set of so many clips, of 8 classes, in the form of Motion Digits."""
    names = ['left', 'right', 'up', 'down', 'clockwise', 'counterclockwise', 'grow', 'shrink']
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(clips):
        write_video(folder / f'{index}.mp4', num_frames=20, width=64, height=64)
    lines = ''.join(f'{index}.mp4 {index % len(names)}\n' for index in range(clips))
    for split in ('train', 'val'):
        (folder / f'{split}.txt').write_text(lines)
    (folder / 'classes.txt').write_text('\n'.join(names) + '\n')
    return folder


def small_run(data: Path, work_dir: Path) -> list[str]:
    """Options by which the config trains two steps and validates in a second."""
    options = [
        f'data_root={data}',
        'train_dataloader.batch_size=3',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        f'experiment_name={uuid.uuid4().hex}',
    ]
    for split in ('train', 'val', 'test'):
        options += [
            f'{split}_dataloader.num_workers=0',
            f'{split}_dataloader.persistent_workers=False',
        ]
    return ['--work-dir', str(work_dir), '--seed', '1', '--cfg-options', *options]


def mutations(cfg: Config) -> Iterator[str]:
    """Options that no one can mean, or that some mean: for every key of a config."""
    for name in sorted(cfg):
        if name not in _LEFT_OUT and '_pipeline' not in name:
            yield from _of_value((name,), cfg[name])


def _of_value(way: tuple[str, ...], value: Any) -> Iterator[str]:
    place = '.'.join(way)
    if way[-1] in _LEFT_OUT:
        return
    if isinstance(value, dict):
        wrong: list[Any] = ['None', '3', 'x', '[]', '{}']
        yield f'{place}.{"misspelt_key"}=1'
        for key in value:
            yield f'{place}.{key}x=1'
    elif isinstance(value, (list, tuple)):
        wrong = ['None', '3', 'x', '[]', '[None]', '["x"]', '[-1,-1]', '[nan,1]', '[1,2,3,4,5]']
    elif isinstance(value, bool):
        wrong = ['None', 'maybe', '7', '[]', 'nan']
    elif isinstance(value, (int, float)):
        wrong = ['None', 'x', '-1', '0', '0.5', '1e20', '100000000', 'nan', 'inf', '-inf', '[1]']
        wrong += ['True', '{}']
    else:
        wrong = ['None', 'nosuchthing', '3', '-1.5', '[]', '{}', f'{value}x']
    for text in wrong:
        yield f'{place}={text}'
    if isinstance(value, dict):
        for key in value:
            yield from _of_value((*way, str(key)), value[key])
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _of_value((*way, str(index)), item)


def attempt(option: str, data: Path, folder: Path) -> Outcome:
    """Train with one option changed, in a child with bounds of time and memory."""
    output = folder / f'{uuid.uuid4().hex}.txt'
    child = os.fork()
    if child == 0:
        _train(option, data, folder / output.stem, output)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return Outcome('hang', output.read_text())
    text = output.read_text(errors='replace')
    output.unlink()
    if 'Traceback (most recent call last)' in text:
        return Outcome('traceback', text)
    if os.WIFSIGNALED(status):
        return Outcome('signal', text)
    if os.waitstatus_to_exitcode(status) == 0:
        return Outcome('accepted', text)
    errors = [line for line in text.splitlines() if line.startswith('error: ')]
    late = 'before the first step' in text and not any(map(DIVERGED.search, errors))
    return Outcome('late' if late else 'refused', errors[-1] if errors else text)


def _train(option: str, data: Path, work_dir: Path, output: Path) -> None:
    os.setpgid(0, 0)
    handle = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = sys.stderr = open(output, 'a', buffering=1)  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    status = 0
    try:
        from mmaction.cli import train

        sys.argv = ['train.py', str(CONFIG), *small_run(data, work_dir), option]
        train.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    os._exit(status)


def warm_up() -> None:
    """Import once what every child needs."""
    import torch

    import mmaction.engine.runner  # noqa: F401
    from mmaction.utils import register_all_modules

    torch.set_num_threads(1)
    register_all_modules(init_default_scope=False)


def main() -> None:
    """Try every N-th mutation and print what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--every', type=int, default=1)
    parser.add_argument('--offset', type=int, default=0, help='where to start')
    parser.add_argument('--match', default='')
    parser.add_argument('--json', type=Path, help='all outcomes')
    args = parser.parse_args()
    options = [o for o in mutations(Config.fromfile(CONFIG)) if args.match in o]
    options = options[args.offset :: args.every]
    warm_up()
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = make_clips(Path(folder, 'data'))
        for option in options:
            outcomes[option] = outcome = attempt(option, data, Path(folder))
            if outcome.kind not in ('accepted', 'refused'):
                print(f'--- {outcome.kind}: {option}\n{outcome.text[-1500:]}', flush=True)
    print(Counter(outcome.kind for outcome in outcomes.values()))
    if args.json:
        shown = {option: [o.kind, o.text[-600:]] for option, o in outcomes.items()}
        args.json.write_text(json.dumps(shown, indent=1))


if __name__ == '__main__':
    main()
