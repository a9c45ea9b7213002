"""Training and testing on lists with files that are broken or never answer."""

import json
import os
import re

import pytest

from tests.tools.running import ROOT, run_tool
from tests.video_factory import write_broken, write_video

CONFIG = f"""
_base_ = '{ROOT}/configs/recognition/dualformer/dualformer_pico_motion_digits.py'

data = dict(data_root='.', decode_timeout=3.0)
loader = dict(batch_size=4, num_workers=1)
train_dataloader = dict(**loader, dataset=dict(**data))
val_dataloader = dict(**loader, dataset=dict(**data))
test_dataloader = dict(**loader, dataset=dict(**data))
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1))
"""
BROKEN = dict(zip(('cut.mp4', 'zeros.mp4'), ('truncated', 'zeros'), strict=True))


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Forty clips, two of them broken (5 %) and one a pipe that nobody writes to."""
    folder = tmp_path_factory.mktemp('clips')
    video = write_video(folder / '0.mp4', num_frames=16).read_bytes()
    names = [f'{number}.mp4' for number in range(37)]
    for name in names:
        (folder / name).write_bytes(video)
    for name, kind in BROKEN.items():
        write_broken(folder / name, kind)
    # Whoever opens it waits for ever.
    os.mkfifo(folder / 'hangs.mp4')
    names += [*BROKEN, 'hangs.mp4']
    lines = [f'{name} {number % 8}\n' for number, name in enumerate(names)]
    (folder / 'train.txt').write_text(''.join(lines))
    (folder / 'val.txt').write_text(''.join(lines[-8:]))
    (folder / 'config.py').write_text(CONFIG)
    return folder


@pytest.fixture(scope='module')
def trained(clips):
    return run_tool('train.py', 'config.py', '--work-dir', 'work', cwd=clips)


def listed(path):
    return dict(line.split('\t') for line in path.read_text().splitlines())


def test_training_continues_and_reports_unreadable_clips(clips, trained):
    bad = {f'./{name}' for name in (*BROKEN, 'hangs.mp4')}
    found = listed(clips / 'work' / 'unreadable.txt')
    assert set(found) == bad
    assert found['./hangs.mp4'] == 'reading it took longer than 3 s'
    (log,) = (clips / 'work').glob('*/*.log')
    text = log.read_text()
    for name in bad:
        assert text.count(f'cannot be read: {name} (') == 1
    for epoch in (1, 2):
        assert re.search(f'epoch {epoch}: \\d clips could not be read, replaced', text)
    assert 'validation at step 20: 3 clips could not be read, counted as wrong' in text
    assert (clips / 'work' / 'epoch_2.pth').exists()


def test_test_lists_unreadable_clips_and_fails_above_limit(clips, trained):
    command = ['test.py', 'config.py', 'work/epoch_2.pth']
    done = run_tool(*command, '--work-dir', 'tested', cwd=clips, status=1)
    metrics = json.loads((clips / 'tested' / 'metrics.json').read_text())
    found = {entry['file']: entry['reason'] for entry in metrics['unreadable']}
    assert set(found) == {f'./{name}' for name in (*BROKEN, 'hangs.mp4')}
    assert metrics['clips'] == 8
    assert metrics['top1_acc'] <= 5 / 8
    assert '3 clips could not be read, counted as wrong:\n' in done.stdout
    assert './hangs.mp4: reading it took longer than 3 s\n' in done.stdout
    error = 'error: 3 of 8 clips could not be read, more than --max-unreadable 0.01 allows'
    assert error in done.stderr


def test_scores_of_a_list_without_labels(clips, trained):
    (clips / 'unlabeled.txt').write_text('0.mp4\nzeros.mp4\n2.mp4\n')
    command = ['test.py', 'config.py', 'work/epoch_2.pth']
    # One of the three is broken, and that many are allowed.
    options = ['--cfg-options', 'test_dataloader.dataset.ann_file=unlabeled.txt']
    done = run_tool(*command, *options, cwd=clips, status=2)
    assert 'error: the test list has no labels, so there is nothing to measure' in done.stderr
    run_tool(*command, '--out', 'scores.json', '--max-unreadable', 0.5, *options, cwd=clips)
    assert len(json.loads((clips / 'scores.json').read_text())) == 3


def test_too_many_unreadable_clips_end_the_run(clips, trained):
    lines = [f'{name} 0\n' for name in BROKEN]
    (clips / 'only broken.txt').write_text(''.join(lines))
    done = run_tool(
        *('train.py', 'config.py', '--work-dir', 'stopped', '--cfg-options'),
        'train_dataloader.dataset.ann_file="only broken.txt"',
        cwd=clips,
        status=1,
    )
    assert re.search(
        r'error: 11 clips in a row cannot be read, more than max_refetch=10 allows', done.stderr
    )
    assert 'zeros.mp4' in done.stderr
    assert 'Traceback' not in done.stderr
