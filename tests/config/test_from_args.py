import re
from argparse import Namespace

import pytest
from mmengine.config import Config

from mmaction.config import from_args
from mmaction.config.options import apply_options, parse_options
from mmaction.errors import ConfigError
from mmaction.registry import VISBACKENDS


def test_work_dir(tmp_path):
    (tmp_path / 'my_config.py').touch()
    cfg = Config.fromfile(tmp_path / 'my_config.py')
    from_args.set_work_dir(cfg, None)
    assert cfg.work_dir == 'work_dirs/my_config'
    from_args.set_work_dir(cfg, None)
    assert cfg.work_dir == 'work_dirs/my_config'
    from_args.set_work_dir(cfg, 'mine')
    assert cfg.work_dir == 'mine'


@pytest.fixture
def cfg(tmp_path):
    return Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', resume=False))


def test_average_clips_is_set_on_head_or_recognizer():
    cfg = Config(dict(model=dict(cls_head=dict(average_clips=None), test_cfg=dict())))
    from_args.set_average_clips(cfg, 'prob')
    assert cfg.model.cls_head.average_clips == 'prob'
    cfg = Config(dict(model=dict(cls_head=dict(), test_cfg=dict(average_clips='prob'))))
    from_args.set_average_clips(cfg, 'score')
    assert cfg.model.test_cfg.average_clips == 'score'
    assert 'average_clips' not in cfg.model.cls_head


def test_metrics_and_their_options():
    cfg = Config(dict(test_evaluator=[dict(type='ConfusionMatrix'), dict(type='AccMetric')]))
    from_args.set_metrics(
        cfg,
        ['top_k_accuracy', 'mean_class_accuracy'],
        ['metric_options.top_k_accuracy.topk=(1,3)'],
    )
    chosen = cfg.test_evaluator[1]
    assert chosen['metric_list'] == ('top_k_accuracy', 'mean_class_accuracy')
    assert chosen['metric_options']['top_k_accuracy']['topk'] == (1, 3)
    with pytest.raises(ConfigError, match='"metric_option"; did you mean "metric_options"'):
        from_args.set_metrics(cfg, None, ['metric_option.x=1'])
    with pytest.raises(ConfigError, match='need an AccMetric'):
        from_args.set_metrics(Config(dict(test_evaluator=dict(type='Other'))), ['x'], [])


@pytest.mark.parametrize('name', from_args.LOGGERS)
@pytest.mark.parametrize('installed', [True, False])
def test_logger_is_added_once_or_reported_missing(monkeypatch, installed, name):
    cfg = Config(dict(visualizer=dict(type='V', vis_backends=[dict(type='LocalVisBackend')])))
    monkeypatch.setattr(from_args, 'find_spec', lambda _: 'spec' if installed else None)
    if not installed:
        with pytest.raises(ConfigError, match=f'--{name}: {name} is not installed: pip install'):
            from_args.add_loggers(cfg, [name])
        return
    from_args.add_loggers(cfg, [name])
    from_args.add_loggers(cfg, [name])
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', from_args.LOGGERS[name]]
    assert kinds[1] in VISBACKENDS


def test_a_log_of_the_config_whose_package_is_missing_can_be_left_out(monkeypatch):
    backends = [
        dict(type='LocalVisBackend'),
        dict(type='mmengine.TensorboardVisBackend'),
        dict(type='WandbVisBackend', init_kwargs=dict(project='a b')),
    ]
    cfg = Config(dict(visualizer=dict(type='Visualizer', vis_backends=backends)))
    monkeypatch.setattr(from_args, 'find_spec', lambda name: None if name == 'tensorboard' else 1)
    with pytest.raises(ConfigError, match='needs tensorboard, which is not installed') as error:
        from_args.check_loggers(cfg)
    assert str(error.value).startswith('config key visualizer.vis_backends.1: mmengine.Tens')
    (option,) = re.findall('--cfg-options "(.*)"', str(error.value))
    apply_options(cfg, parse_options([option]))
    assert cfg.visualizer.vis_backends == [backends[0], backends[2]]
    from_args.check_loggers(cfg)
    from_args.check_loggers(Config(dict(visualizer=None)))


def train_args(**given):
    defaults = dict(
        work_dir=None, no_validate=False, seed=None, deterministic=False, compile=None,
        auto_scale_lr=False,
    )  # fmt: skip
    return Namespace(**{**defaults, **given})


def test_training_without_validation_seed_and_determinism(cfg):
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = dict(x=1)
    from_args.apply_train_args(cfg, train_args())
    assert cfg.val_evaluator == dict(x=1)
    assert cfg.randomness == dict(seed=None)
    from_args.apply_train_args(cfg, train_args(no_validate=True, seed=0, deterministic=True))
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.randomness == dict(seed=0, deterministic=True)
    # What the config says stays where the command line says nothing.
    from_args.apply_train_args(cfg, train_args())
    assert cfg.randomness == dict(seed=0, deterministic=True)


def test_auto_scale_lr_is_switched_on(cfg):
    with pytest.raises(ConfigError, match='base_batch_size'):
        from_args.apply_train_args(cfg, train_args(auto_scale_lr=True))
    cfg.auto_scale_lr = dict(enable=False, base_batch_size=64)
    from_args.apply_train_args(cfg, train_args())
    assert cfg.auto_scale_lr.enable is False
    from_args.apply_train_args(cfg, train_args(auto_scale_lr=True))
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=64)


def test_compile_of_the_config_is_kept_by_the_flag(cfg):
    from_args.apply_train_args(cfg, train_args(compile=True))
    assert cfg.compile is True
    cfg.compile = dict(mode='default')
    for given in (True, None):
        from_args.apply_train_args(cfg, train_args(compile=given))
        assert cfg.compile == dict(mode='default')
    from_args.apply_train_args(cfg, train_args(compile=False))
    assert cfg.compile is False
    from_args.apply_train_args(cfg, train_args(compile=True))
    assert cfg.compile is True
    cfg.compile = 'auto'
    from_args.apply_train_args(cfg, train_args(compile=True))
    assert cfg.compile is True


def test_test_replaces_what_training_started_from(cfg):
    cfg.update(resume=True, compile=True, custom_hooks=[dict(type='EMAHook')])
    args = Namespace(
        work_dir='w', checkpoint='x.pth', compile=None, eval=None, eval_options=[], show_dir=None,
        average_clips=None, out='s.pkl', dump='d.pkl', max_unreadable=0.5,
    )  # fmt: skip
    from_args.apply_test_args(cfg, args)
    assert (cfg.work_dir, cfg.load_from, cfg.resume, cfg.compile) == ('w', 'x.pth', False, 'auto')
    writer = dict(type='TestResultsHook', out='s.pkl', dump='d.pkl', max_unreadable=0.5)
    assert cfg.custom_hooks == [dict(type='EMAHook'), writer]


def test_work_dir_of_the_config_is_kept(cfg, tmp_path):
    from_args.set_work_dir(cfg, None)
    assert cfg.work_dir == str(tmp_path)


def test_drawing_keeps_a_visualizer_that_can_draw_clips(cfg, tmp_path):
    cfg.visualizer = dict(type='MyVisualizer')
    cfg.default_hooks = dict(timer=dict(type='IterTimerHook'))
    from_args.draw_clips(cfg, str(tmp_path / 'seen'), 3)
    assert cfg.visualizer.type == 'MyVisualizer'
    assert cfg.default_hooks.timer == dict(type='IterTimerHook')
    hook = cfg.default_hooks.visualization
    assert (hook.enable, hook.interval, hook.out_dir) == (True, 3, str(tmp_path / 'seen'))
