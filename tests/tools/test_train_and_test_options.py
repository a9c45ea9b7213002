"""What the options of `train.py` and `test.py` make of a config, without starting anything."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmaction.config.from_args import apply_test_args, apply_train_args
from mmaction.engine.optimizers.amp import set_precision
from mmaction.engine.runner.resume import set_resume
from mmaction.errors import ConfigError
from tests.engine.toy import write_toy


def tool(name):
    return import_module(f'mmaction.cli.{name}')


@pytest.mark.parametrize(
    ('arguments', 'amp'),
    [
        (['c.py'], None),
        (['--amp', 'c.py'], 'auto'),
        (['c.py', '--amp'], 'auto'),
        (['c.py', '--amp', 'fp16'], 'fp16'),
        (['c.py', '--amp', 'auto'], 'auto'),
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
