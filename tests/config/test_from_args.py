import pytest
from mmengine.config import Config

from mmaction.config import from_args
from mmaction.errors import ConfigError


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


def test_tensorboard_is_added_once_or_reported_missing():
    cfg = Config(dict(visualizer=dict(type='V', vis_backends=[dict(type='LocalVisBackend')])))
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match='pip install tensorboard'):
            from_args.add_tensorboard(cfg)
        return
    from_args.add_tensorboard(cfg)
    from_args.add_tensorboard(cfg)
    kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'TensorboardVisBackend']
