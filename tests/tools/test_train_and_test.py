"""`train.py`, `test.py` and the scripts around them, as a user runs them."""

import json
import os
import pickle
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmaction.cli import test
from tests.engine.toy import last_checkpoint, write_toy
from tests.processes import Forked
from tests.tools.running import ROOT, run_tool


def run(*command, cwd=ROOT, status=0, **environment):
    """Run a command in the environment of a plain shell."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'TORCHELASTIC'))}
    clean.update(PYTHONPATH=str(ROOT), VIRTUAL_ENV=sys.prefix, **environment)
    clean['PATH'] = f'{Path(sys.executable).parent}:{clean["PATH"]}'
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == status, f'{done.stdout}\n{done.stderr}'
    return done


@pytest.fixture
def toy_file(tmp_path):
    return write_toy(tmp_path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of two processes, started in another folder: config, work dir and output.

    One of them fails once, so that both are started again. (A start takes seconds.)
    """
    folder = tmp_path_factory.mktemp('a folder')
    path = write_toy(folder)
    done = run(
        'bash',
        ROOT / 'tools/dist_train.sh',
        path.name,
        2,
        '--work-dir',
        'work dir',
        '--seed',
        11,
        '--test-best',
        '--test-last',
        '--cfg-options',
        'default_hooks.checkpoint.interval=1',
        'custom_hooks.1.type=FailAt',
        'custom_hooks.1.step=5',
        'custom_hooks.1.once=True',
        cwd=folder,
        MAX_RESTARTS='1',
    )
    return path, folder / 'work dir', done


def test_missing_weights_are_one_line_error(toy_file):
    done = run_tool(
        'train.py',
        toy_file,
        '--work-dir',
        toy_file.parent / 'w',
        '--cfg-options',
        'load_from=none.pth',
        status=1,
    )
    assert done.stderr.startswith('error: there is no checkpoint none.pth: correct the path, or')
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.dist
def test_training_with_two_processes_from_another_folder(trained):
    _, work_dir, done = trained
    assert last_checkpoint(work_dir)['meta']['seed'] == 11
    assert 'batch: 8 clips per update (2 per process x 2 processes x 2 steps' in done.stdout
    assert done.stdout.count('before the first step') == 2  # of each start, by the first rank
    assert re.search(r'best checkpoint \(best_acc_top1_iter_\d\.pth\): top1_acc: 0\.', done.stdout)
    assert 'test of the last checkpoint (iter_8.pth)' in done.stdout
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    best = next(work_dir.glob('best_*.pth'))
    assert metrics['checkpoint'].endswith(best.name)
    assert f'best checkpoint ({best.name}): top1_acc: {metrics["top1_acc"]:.4f}' in done.stdout


@pytest.mark.dist
def test_restarted_workers_go_on_from_the_last_checkpoint(trained):
    _, work_dir, done = trained
    assert 'RuntimeError: this process fails at step 5' in done.stderr
    assert re.search(r'resumes .*iter_[34]\.pth', done.stdout)
    assert last_checkpoint(work_dir)['meta']['iter'] == 8


@pytest.mark.dist
@pytest.mark.parametrize('script', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_test_exactly_what_one_does(trained, script):
    """Two that the script starts, or that are forked, which takes less time."""
    path, work_dir, _ = trained
    work_dir = work_dir / f'tests {script}'
    checkpoint = work_dir.parent / 'iter_8.pth'
    outputs = []
    for processes, out, dump in ((1, 's.json', 'd1.pkl'), (2, 's.pkl', 'd2.pkl')):
        options = ('--work-dir', work_dir / f'test {processes}', '--out', work_dir / out)
        options += ('--dump', work_dir / dump, '--eval', 'top_k_accuracy', 'mean_class_accuracy')
        options += ('--show-dir', work_dir / f'seen {processes}', '--interval', 2)
        if processes == 1:
            done = run_tool('test.py', path, checkpoint, *options)
        elif script:
            done = run('bash', ROOT / 'tools/dist_test.sh', path, checkpoint, processes, *options)
        else:
            command = [path, checkpoint, '--launcher', 'pytorch', *options]
            forked = Forked(test.main, ([*map(str, command)],), work_dir / 'output', 2)
            forked.check()
            done = SimpleNamespace(stdout=forked.output.read_text(), stderr='')
        assert done.stderr == ''
        # Of two processes the first draws, which has every second clip.
        seen = sorted(path.name for path in (work_dir / f'seen {processes}').iterdir())
        assert seen == [f'{i:05d}_clip_{i * processes}_0.gif' for i in range(0, 8 // processes, 2)]
        metrics = json.loads((work_dir / f'test {processes}' / 'metrics.json').read_text())
        outputs.append((re.findall(r'^\w+: 0\.\d{4}$', done.stdout, re.M), metrics))
    (lines, metrics), (other_lines, other_metrics) = outputs
    assert lines == other_lines
    assert lines[0] == f'top1_acc: {metrics["top1_acc"]:.4f}'
    assert lines[1] == f'mean_class_accuracy: {metrics["mean_class_accuracy"]:.4f}'
    assert metrics == other_metrics
    assert metrics['clips'] == 7
    scores = json.loads((work_dir / 's.json').read_text())
    others = pickle.loads((work_dir / 's.pkl').read_bytes())
    np.testing.assert_array_equal(np.float32(scores), np.stack(others))
    assert np.shape(scores) == (7, 4)
    samples = [pickle.loads((work_dir / f'd{n}.pkl').read_bytes()) for n in (1, 2)]
    for n, (first, second) in enumerate(zip(*samples, strict=True)):
        assert first['filename'] == second['filename'] == f'clip_{n}.mp4'
        assert int(first['gt_label']) == n % 4
        assert first['pred_label'] == second['pred_label']
    right = np.mean([int(s['pred_label']) == int(s['gt_label']) for s in samples[0]])
    assert metrics['top1_acc'] == pytest.approx(right)


@pytest.mark.dist
def test_script_starts_the_tests_of_a_checkpoint(toy_file):
    done = run('bash', ROOT / 'tools/dist_test.sh', toy_file, 'none.pth', 1, status=1)
    assert re.fullmatch('error: there is no checkpoint none.pth: .*\n', done.stderr)


# In one process: engine/runner/test_data_check.py; which rank reports: utils/test_cli.py.
@pytest.mark.slow
@pytest.mark.dist
def test_bad_label_is_reported_once_with_two_ranks(toy_file):
    done = run(
        'bash',
        ROOT / 'tools/dist_train.sh',
        toy_file,
        2,
        '--work-dir',
        toy_file.parent / 'w',
        '--cfg-options',
        'model.cls_head.num_classes=3',
        status=2,
    )
    assert done.stdout == ''
    assert done.stderr == (
        f'note: {toy_file}: MixupBlending.num_classes=4 is read as 3\n'
        'error: train list ToyClips: clip None has label 3, but the head has num_classes=3, so '
        'labels are 0 to 2. Set model.cls_head.num_classes, or count labels from 0\n'
    )


# The restarted workers below die in the same way; for the exit status see test_torchrun.py.
@pytest.mark.slow
@pytest.mark.dist
def test_dead_rank_ends_job_with_traceback(toy_file):
    start = time.time()
    done = run(
        'bash',
        ROOT / 'tools/dist_train.sh',
        toy_file,
        2,
        '--work-dir',
        toy_file.parent / 'w',
        '--cfg-options',
        'custom_hooks.1.type=FailAt',
        'custom_hooks.1.step=3',
        status=1,
    )
    assert 'RuntimeError: this process fails at step 3' in done.stderr
    assert 'tests/engine/toy.py' in done.stderr
    assert time.time() - start < 100


SRUN = """#!/usr/bin/env bash
# Stands in for Slurm's srun: starts the tasks on this machine.
echo "srun $*" >> srun.log
while [[ $1 == -* ]]; do
    case $1 in --ntasks=*) tasks=${1#*=} ;; -p) shift ;; esac
    shift
done
for ((rank = 1; rank < tasks; rank++)); do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_STEP_NUM_TASKS=$tasks "$@" &
done
SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=$tasks "$@" && wait
"""


@pytest.mark.dist
@pytest.mark.parametrize('tasks', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_slurm_script(toy_file, tmp_path, tasks):
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(srun.stat().st_mode | stat.S_IEXEC)
    done = run(
        'bash',
        ROOT / 'tools/slurm_train.sh',
        'gpu',
        'my job',
        toy_file,
        'w',
        '--seed',
        '1',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        cwd=tmp_path,
        GPUS=str(tasks),
        GPUS_PER_NODE=str(tasks),
        SLURM_JOB_ID=str(os.getpid()),
        SLURM_NODELIST='localhost',
        PATH=f'{srun.parent}:{os.environ["PATH"]}',
    )
    asked = (tmp_path / 'srun.log').read_text()
    many = f'--gres=gpu:{tasks} --ntasks={tasks} --ntasks-per-node={tasks}'
    assert f'-p gpu --job-name=my job {many}' in asked
    assert ('2 processes' in done.stdout) == (tasks == 2)
    # 14 clips, 2 for each task and step
    assert last_checkpoint(tmp_path / 'w')['meta']['iter'] == (7 if tasks == 1 else 4)


@pytest.mark.parametrize('script', ['slurm_train.sh', 'slurm_test.sh'])
def test_slurm_scripts_ask_for_what_they_are_told(tmp_path, script):
    (tmp_path / 'srun').write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / 'srun').chmod(0o755)

    def asked(status=0, **environment):
        environment['PATH'] = f'{tmp_path}:{os.environ["PATH"]}'
        command = ['bash', ROOT / 'tools' / script, 'p', 'j', 'c.py', 'w']
        return run(*command, status=status, **environment)

    assert '--gres=gpu:8 --ntasks=8' in asked().stdout
    on_cpus = asked(GRES='', GPUS='2', CPUS_PER_TASK='1').stdout
    assert '--gres' not in on_cpus
    assert '--ntasks=2 --ntasks-per-node=2 --cpus-per-task=1' in on_cpus
    assert '--gres=gpu:h200:2' in asked(GRES='gpu:h200:2', GPUS='2').stdout
    for name in ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK'):
        wrong = asked(status=2, **{name: 'two'})
        assert wrong.stderr == f"error: {name} is a positive integer, not 'two'\n"


@pytest.mark.parametrize(
    'command',
    [
        ['tools/dist_train.sh', 'c.py'],
        ['tools/dist_test.sh', 'c.py', 'x.pth'],
        ['tools/slurm_train.sh', 'p', 'j', 'c.py'],
        ['tools/slurm_test.sh'],
        ['tools/dist_train.sh', 'c.py', 'eight'],
    ],
)
def test_scripts_say_how_they_are_used(command):
    done = run('bash', *command, status=2)
    assert re.search(r'CONFIG|positive integer', done.stderr)
