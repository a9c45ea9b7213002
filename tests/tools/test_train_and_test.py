"""`train.py`, `test.py` and the scripts around them, as a user runs them."""

import json
import os
import pickle
import re
import stat
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from mmaction.config.from_args import apply_test_args, apply_train_args
from mmaction.engine.optimizers.amp import set_precision
from mmaction.engine.runner.resume import set_resume
from mmaction.errors import ConfigError
from tests.engine.toy import last_checkpoint, write_toy
from tests.processes import Forked
from tests.tools.running import ROOT, run_tool


def tool(name):
    return import_module(f'mmaction.cli.{name}')


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


# ---------------------------------------------------------------- without starting anything


@pytest.mark.parametrize(
    ('arguments', 'amp'),
    [
        (['c.py'], None),
        (['--amp', 'c.py'], 'auto'),
        (['c.py', '--amp'], 'auto'),
        (['c.py', '--amp', 'fp16'], 'fp16'),
        (['c.py', '--amp=off'], 'off'),
        (['c.py', '--amp', '--seed', '3'], 'auto'),
    ],
)
def test_amp_with_and_without_a_value(arguments, amp):
    args = tool('train').parse_args(arguments)
    assert (args.config, args.amp) == ('c.py', amp)


def test_flags_of_both_lines_of_mmaction2():
    parse = tool('train').parse_args
    args = parse(
        [
            'c.py',
            '--work-dir',
            'w',
            '--resume',
            '--seed',
            '3',
            '--deterministic',
            '--diff-rank-seed',
            '--validate',
            '--test-last',
            '--test-best',
            '--auto-scale-lr',
            '--cfg-options',
            'a=1',
            'b=2',
            '--cfg-options',
            'c=3',
            '--launcher',
            'pytorch',
            '--local_rank',
            '1',
        ]
    )
    assert args.resume == 'auto'
    assert args.cfg_options == ['a=1', 'b=2', 'c=3']
    assert parse(['c.py', '--resume', 'x.pth']).resume == 'x.pth'
    assert parse(['c.py', '--resume-from', 'x.pth']).resume_from == 'x.pth'
    assert parse(['c.py', '--local-rank=1']).local_rank == 1
    args = tool('test').parse_args(
        [
            'c.py',
            'x.pth',
            '--out',
            's.pkl',
            '--eval',
            'top_k_accuracy',
            'mean_class_accuracy',
            '--eval-options',
            'a=1',
            '--average-clips',
            'prob',
            '--cfg-options',
            'b=2',
            '--options',
            'c=3',
            '--gpu-collect',
            '--tmpdir',
            't',
            '--launcher',
            'none',
            '--local_rank',
            '0',
            '--dump',
            'd.pkl',
            '--work-dir',
            'w',
        ]
    )
    assert args.cfg_options == ['b=2', 'c=3']
    assert args.eval == ['top_k_accuracy', 'mean_class_accuracy']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--gpus', '8'], 'tools/dist_train.sh CONFIG N'),
        (['--gpu-ids', '0', '1'], 'CUDA_VISIBLE_DEVICES'),
        (['--validate', '--no-validate'], 'exclude each other'),
        (['--resume', 'a', '--resume-from', 'b'], 'exclude each other'),
    ],
)
def test_invalid_flags_are_errors(arguments, message, capsys):
    with pytest.raises(SystemExit):
        tool('train').parse_args(['c.py', *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--show'], ['--wait-time', '2']])
def test_show_of_mmaction2_names_what_draws_clips(arguments, capsys):
    with pytest.raises(SystemExit):
        tool('test').parse_args(['c.py', 'x.pth', *arguments])
    assert 'there is no --show: --show-dir DIR draws the clips' in capsys.readouterr().err


@pytest.fixture
def toy_file(tmp_path):
    return write_toy(tmp_path)


def merged(name, path, *arguments):
    cfg, args = Config.fromfile(path), tool(name).parse_args([str(path), *arguments])
    if name == 'test':
        apply_test_args(cfg, args)
        return cfg
    apply_train_args(cfg, args)
    set_resume(cfg, args.resume_from or args.resume)
    if args.amp:
        set_precision(cfg, args.amp)
    return cfg


def test_test_compiles_only_with_flag(toy_file):
    weights = toy_file.with_name('x.pth')
    weights.touch()
    cfg = Config.fromfile(toy_file)
    cfg.compile = dict(mode='default')
    cfg.dump(toy_file)
    assert merged('test', toy_file, str(weights)).compile == 'auto'
    assert merged('test', toy_file, str(weights), '--no-compile').compile is False
    assert merged('test', toy_file, str(weights), '--compile').compile == dict(mode='default')
    cfg.pop('compile')
    cfg.dump(toy_file)
    assert merged('test', toy_file, str(weights), '--compile').compile is True


def test_train_flags_set_config(toy_file):
    cfg = merged('train', toy_file)
    assert cfg.work_dir == 'work_dirs/toy config'
    assert cfg.val_cfg is not None
    assert cfg.randomness['seed'] == 5
    cfg = merged(
        'train',
        toy_file,
        *[
            '--work-dir',
            'w',
            '--no-validate',
            '--seed',
            '7',
            '--deterministic',
            '--amp',
            'bf16',
            '--compile',
        ],
        '--auto-scale-lr',
    )
    assert cfg.work_dir == 'w'
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert dict(cfg.randomness) == dict(seed=7, deterministic=True)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')
    assert cfg.compile is True
    assert cfg.auto_scale_lr.enable is True


def test_auto_scale_lr_needs_a_base(toy_file):
    path = toy_file.with_name('no_base.py')
    path.write_text("_base_ = ['toy config.py']\nauto_scale_lr = dict(_delete_=True)\n")
    with pytest.raises(ValueError, match='base_batch_size'):
        merged('train', path, '--auto-scale-lr')


def test_test_flags_set_config(toy_file, tmp_path):
    (tmp_path / 'x.pth').touch()
    cfg = merged(
        'test',
        toy_file,
        str(tmp_path / 'x.pth'),
        *['--eval', 'mean_class_accuracy', '--average-clips', 'score', '--out', 'o.json'],
    )
    assert cfg.test_evaluator['metric_list'] == ('mean_class_accuracy',)
    assert cfg.model.cls_head.average_clips == 'score'
    assert cfg.load_from == str(tmp_path / 'x.pth')
    assert cfg.custom_hooks[-1] == dict(
        type='TestResultsHook', out='o.json', dump=None, max_unreadable=0.01
    )
    path = toy_file.with_name('other.py')
    path.write_text("_base_ = ['toy config.py']\ntest_evaluator = dict(type='ConfusionMatrix')\n")
    with pytest.raises(ConfigError, match='AccMetric'):
        merged('test', path, str(tmp_path / 'x.pth'), '--eval', 'mean_class_accuracy')


@pytest.mark.parametrize(
    ('unlabeled', 'given', 'refused'),
    [
        (False, {}, False),
        (True, {}, True),
        (True, dict(out='s.json'), False),
        (True, dict(dump='d.pkl'), False),
        (True, dict(out='s.json', eval=['top_k_accuracy']), True),
    ],
)
def test_measuring_without_labels_is_an_error(unlabeled, given, refused):
    runner = SimpleNamespace(split_facts=dict(test=SimpleNamespace(unlabeled=unlabeled)))
    args = SimpleNamespace(**{**dict(out=None, dump=None, eval=None), **given})
    if refused:
        with pytest.raises(ConfigError, match='there is nothing to measure'):
            tool('test').check_labels(runner, args)
    else:
        tool('test').check_labels(runner, args)


def test_show_dir_draws_by_the_hook_of_the_config(toy_file, tmp_path):
    (tmp_path / 'x.pth').touch()
    arguments = [str(tmp_path / 'x.pth'), '--show-dir', str(tmp_path / 'new' / 'seen')]
    cfg = merged('test', toy_file, *arguments, '--interval', '3')
    assert cfg.visualizer.type == 'ActionVisualizer'
    hook = dict(type='VisualizationHook', enable=True, out_type='gif', interval=3)
    assert cfg.default_hooks.visualization == dict(hook, out_dir=arguments[2])
    assert 'timer' in cfg.default_hooks or 'logger' in cfg.default_hooks
    path = toy_file.with_name('drawn.py')
    path.write_text(
        "_base_ = ['toy config.py']\n"
        "default_hooks = dict(visualization=dict(type='VisualizationHook', out_type='video'))\n"
    )
    cfg = merged('test', path, *arguments)
    assert cfg.default_hooks.visualization.out_type == 'video'
    assert 'visualization' not in (merged('test', toy_file, arguments[0]).default_hooks or {})
    with pytest.raises(ConfigError, match='--interval 0 must be at least 1'):
        merged('test', toy_file, *arguments, '--interval', '0')
    with pytest.raises(FileExistsError, match=r'x\.pth'):
        merged('test', toy_file, arguments[0], '--show-dir', arguments[0])


# ---------------------------------------------------------------- for real


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
            forked = Forked(tool('test').main, ([*map(str, command)],), work_dir / 'output', 2)
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
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NTASKS=$tasks "$@" &
done
SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=$tasks "$@" && wait
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
