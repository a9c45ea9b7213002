"""Work dirs that are copied, branched off, shared by accident, or forged."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmaction.engine.runner.checkpoint import (
    POINTER,
    checkpoints_by_age,
    load_checkpoint_file,
    write_pointer,
)
from mmaction.errors import CheckpointError, ConfigError
from tests.engine.toy import Run, build_runner, toy_config


def checkpoints(folder):
    """Name and content of each checkpoint."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob('*.pth')}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A work dir of two epochs, with its best checkpoint."""
    work_dir = tmp_path_factory.mktemp('runs') / 'old'
    build_runner(toy_config(work_dir, **{'train_cfg.max_epochs': 2})).train()
    assert list(work_dir.glob('best_*.pth'))
    return work_dir


def longer(work_dir):
    """A run that goes on, in which any score is a new best one."""
    cfg = toy_config(work_dir, **{'train_cfg.max_epochs': 4})
    cfg.default_hooks.checkpoint.greater_keys = ['acc']
    return cfg


@pytest.fixture
def always_better(monkeypatch):
    """Every validation is the best so far, so that the one before it is removed."""
    from mmaction.engine.hooks import CheckpointHook

    save = CheckpointHook._save_if_best

    def improved(hook, runner, key, score, count):
        hook.is_better_than[key] = lambda new, old: True
        return save(hook, runner, key, score, count)

    monkeypatch.setattr(CheckpointHook, '_save_if_best', improved)


def test_pointer_is_relative_to_the_work_dir(finished):
    named = Path(finished, POINTER).read_text()
    assert not os.path.isabs(named)
    assert (finished / named).is_file()


def test_copied_work_dir_resumes_its_own_checkpoints(tmp_path, finished, always_better):
    """With a pointer of mmengine, which is absolute, too."""
    for absolute in (False, True):
        copy = tmp_path / f'copy {absolute}'
        shutil.copytree(finished, copy)
        if absolute:
            pointer = finished / Path(finished, POINTER).read_text()
            (copy / POINTER).write_text(str(pointer))
        assert checkpoints_by_age(copy)[0].parent == copy
        before = checkpoints(finished)
        runner = build_runner(longer(copy).copy())
        runner._resume = True
        runner.train()
        assert checkpoints(finished) == before
        assert len(list(copy.glob('best_*.pth'))) == 1


def test_branching_off_leaves_the_checkpoints_of_the_old_run(tmp_path, finished, always_better):
    before = checkpoints(finished)
    cfg = longer(tmp_path / 'new')
    cfg.load_from = str(checkpoints_by_age(finished)[0])
    cfg.resume = True
    build_runner(cfg).train()
    assert checkpoints(finished) == before
    assert len(list(Path(cfg.work_dir).glob('best_*.pth'))) == 1


@pytest.mark.parametrize('place', ['absolute', 'relative', 'in the work dir'])
def test_forged_checkpoint_removes_no_file(tmp_path, finished, always_better, place):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    files = [tmp_path / 'thesis.pth', tmp_path / 'best_thesis.pth', work_dir / 'thesis.pth']
    files.append(tmp_path / 'x.pth')
    (work_dir / 'iter_').mkdir()
    for path in files:
        path.write_text('mine')
    content = load_checkpoint_file(checkpoints_by_age(finished)[0])
    noted = {'absolute': str(files[0]), 'relative': '../best_thesis.pth'}.get(place, 'thesis.pth')
    content['message_hub']['runtime_info'].update(
        best_ckpt=noted, last_ckpt=noted, keep_ckpt_ids=['/../../x', '../../x', 1, 2, 3, 4]
    )
    torch.save(content, tmp_path / 'forged.ckpt')
    cfg = longer(work_dir)
    cfg.load_from, cfg.resume = str(tmp_path / 'forged.ckpt'), True
    build_runner(cfg).train()
    assert [path.read_text() for path in files] == ['mine'] * 4


def test_two_trainings_in_one_work_dir(tmp_path):
    """The second is refused, on all its ranks, and the first one's parts stay."""
    cfg = toy_config(tmp_path / 'run', **{'train_dataloader.dataset.delay': 0.3})
    first = Run(cfg)
    try:
        lock = tmp_path / 'run' / '.lock'
        while not lock.exists() or not lock.read_text():
            assert first.processes[0].is_alive(), first.output.read_text()
        second = Run(cfg, 2)
        assert second.wait() == [1, 1]
        text = second.output.read_text()
        assert text.count(f'{cfg.work_dir} is in use by another training') == 2
        assert first.processes[0].is_alive()
    finally:
        first.kill()
    # A lock does not outlive its process, nor does what it leaves stand in the way.
    build_runner(toy_config(tmp_path / 'run', **{'train_cfg.max_epochs': 1})).train()


def test_two_trainings_are_one_sentence(tmp_path, monkeypatch):
    from mmaction.utils import io

    def taken(path, of, what):
        raise BlockingIOError(f'{of} is in use by another {what}')

    monkeypatch.setattr(io, '_locked', taken)
    with pytest.raises(ConfigError, match='is in use by another training'):
        build_runner(toy_config(tmp_path)).train()


def test_two_trainings_with_one_folder_of_checkpoints(tmp_path):
    """Work dirs of one name share the folder that `out_dir` has for them."""
    cfg = toy_config(tmp_path / 'a' / 'run')
    cfg.default_hooks.checkpoint.out_dir = str(tmp_path / 'checkpoints')
    code = (
        'import sys, time\nfrom mmaction.utils.io import lock\n'
        'with lock(sys.argv[1], "training"):\n    print(flush=True)\n    time.sleep(60)\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path / 'checkpoints' / 'run')]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        with pytest.raises(ConfigError, match=r'checkpoints/run is in use by another training'):
            build_runner(cfg).prepare('train')
    finally:
        other.kill()
        other.wait()


def test_best_score_of_a_forged_checkpoint(tmp_path, finished):
    content = load_checkpoint_file(checkpoints_by_age(finished)[0])
    content['message_hub']['runtime_info'].update(best_score='high')
    torch.save(content, tmp_path / 'forged.ckpt')
    cfg = toy_config(tmp_path / 'run', **{'train_cfg.max_epochs': 3})
    cfg.load_from, cfg.resume = str(tmp_path / 'forged.ckpt'), True
    build_runner(cfg).train()
    assert list((tmp_path / 'run').glob('best_*.pth'))


def test_failed_pointer_leaves_the_old_one(tmp_path, monkeypatch):
    write_pointer(tmp_path, tmp_path / 'epoch_1.pth')

    def full(handle):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(CheckpointError, match='the disk is full'):
        write_pointer(tmp_path, tmp_path / 'epoch_2.pth')
    assert (tmp_path / POINTER).read_text() == 'epoch_1.pth'
    assert os.listdir(tmp_path) == [POINTER]


def test_pointer_to_a_folder_elsewhere_is_absolute(tmp_path):
    """`out_dir` of the hook may lie outside of the work dir."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'out').mkdir()
    path = tmp_path / 'out' / 'epoch_1.pth'
    path.touch()
    write_pointer(tmp_path / 'run', path)
    assert checkpoints_by_age(tmp_path / 'run') == [path]


def forged(content, **changes):
    """A copy of a checkpoint with other entries; a function changes an entry."""
    content = dict(content)
    for key, value in changes.items():
        content[key] = value(content[key]) if callable(value) else value
    return content


def with_moment(state):
    first = next(iter(state['state']))
    moments = {**state['state'][first], 'exp_avg': torch.ones(3)}
    return {**state, 'state': {**state['state'], first: moments}}


def with_first(change):
    def changed(weights):
        name = next(name for name in weights if weights[name].dim() == 2)
        return {**weights, name: change(weights[name])}

    return changed


MALFORMED = {
    'schedulers short': dict(param_schedulers=lambda states: states[:1]),
    'schedulers of other types': dict(param_schedulers=[3, None]),
    'optimizer empty': dict(optimizer={}),
    'optimizer of others': dict(optimizer=dict(state={}, param_groups=[])),
    'moment of another shape': dict(optimizer=with_moment),
    'hub without arrays': dict(message_hub=dict(log_scalars={'loss': dict(values=3)})),
    'hub of lists': dict(message_hub=dict(log_scalars=[1])),
    'processes of numbers': dict(processes=[3]),
    'no epoch': dict(meta=dict(iter=3)),
    'negative step': dict(meta=dict(iter=-3, epoch=0)),
    'steps of text': dict(meta=dict(iter=3, epoch=0, steps_per_epoch='x')),
    'sparse weight': dict(state_dict=with_first(lambda w: w.to_sparse())),
    'complex weight': dict(state_dict=with_first(lambda w: w.to(torch.complex64))),
    'integer weight': dict(state_dict=with_first(lambda w: w.long())),
    'weight without content': dict(state_dict=with_first(lambda w: w.to('meta'))),
    'no weights': dict(state_dict={}),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', MALFORMED)
def test_resuming_a_malformed_checkpoint_is_one_sentence(tmp_path, finished, kind):
    content = load_checkpoint_file(checkpoints_by_age(finished)[0])
    path = tmp_path / 'forged.ckpt'
    torch.save(forged(content, **MALFORMED[kind]), path)
    cfg = toy_config(tmp_path / 'run', **{'train_cfg.max_epochs': 3})
    cfg.load_from, cfg.resume = str(path), True
    with pytest.raises(CheckpointError, match=r'forged\.ckpt') as caught:
        build_runner(cfg).train()
    assert '\n' not in str(caught.value)


def test_resuming_takes_all_weights_of_the_head(tmp_path, finished):
    """Unlike training that starts from a checkpoint, which may have other classes."""
    content = load_checkpoint_file(checkpoints_by_age(finished)[0])
    del content['state_dict']['cls_head.fc_cls.bias']
    torch.save(content, tmp_path / 'half.pth')
    cfg = toy_config(tmp_path / 'run', custom_hooks=[], resume=True)
    cfg.load_from = str(tmp_path / 'half.pth')
    with pytest.raises(CheckpointError, match=r'not in the file: cls_head\.fc_cls\.bias'):
        build_runner(cfg).train()


def test_a_second_run_in_a_folder_is_told(finished, tmp_path, capsys):
    said = 'holds checkpoints of an earlier run'
    shutil.copytree(finished, tmp_path / 'old')
    build_runner(longer(tmp_path / 'new')).prepare('train')
    cfg = longer(tmp_path / 'old')
    cfg.resume = True
    build_runner(cfg).prepare('train')
    assert said not in capsys.readouterr().out
    runner = build_runner(longer(tmp_path / 'old'))
    runner.prepare('train')
    runner.prepare('train')  # as `train` does once more
    assert capsys.readouterr().out.count(said) == 1


def test_nothing_to_resume_is_told_once(tmp_path, capsys):
    cfg = longer(tmp_path / 'new')
    cfg.resume = True
    runner = build_runner(cfg)
    runner.prepare('train')
    runner.prepare('train')
    assert capsys.readouterr().out.count('nothing to resume') == 1
