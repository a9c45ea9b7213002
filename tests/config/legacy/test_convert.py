"""Configs of mmaction2 0.x: what they were, and what is made of them."""

import copy
import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.config.check import check_config
from mmaction.config.legacy import convert_old_config, is_old_config
from mmaction.config.load import load_config, read_config
from mmaction.errors import ConfigError
from tests.legacy_configs import PUBLISHED, write_published
from tests.video_factory import write_video

ROOT = Path(__file__).parents[3]


LEAVES = {path.stem: path for path in (ROOT / 'configs' / 'recognition').rglob('*.py')}


@pytest.mark.parametrize(
    ('more', 'place', 'wanted'),
    [
        ('data = dict(workers_per_gpu=3)', 'train_dataloader.num_workers', 3),
        ('data = dict(workers_per_gpu=3)', 'test_dataloader.num_workers', 3),
        ('data = dict(videos_per_gpu=6)', 'train_dataloader.batch_size', 3),
        ('data = dict(videos_per_gpu=6)', 'val_dataloader.batch_size', 6),
        ('data = dict(videos_per_gpu=6)', 'auto_scale_lr.base_batch_size', 48),
        ('data = dict(test_dataloader=dict(workers_per_gpu=0))', 'test_dataloader.num_workers', 0),
        ('data = dict(train_dataloader=dict(drop_last=True))', 'train_dataloader.drop_last', True),
        ('optimizer = dict(lr=0.3)', 'optim_wrapper.optimizer.lr', 0.3),
        ('optimizer_config = dict(grad_clip=None)', 'optim_wrapper.clip_grad', None),
        ('', 'optim_wrapper.clip_grad.max_norm', 5),
        ('', 'optim_wrapper.type', 'OptimWrapper'),
        ('optimizer_config = dict(use_fp16=True)', 'optim_wrapper.dtype', 'float16'),
        ('optimizer_config = dict(use_fp16=True)', 'optim_wrapper.loss_scale', None),
        ('fp16 = dict(loss_scale=128.0)', 'optim_wrapper.loss_scale', 128.0),
        ('fp16 = dict()', 'optim_wrapper.loss_scale', 512.0),
        ('fp16 = dict(loss_scale="dynamic")', 'optim_wrapper.type', 'AmpOptimWrapper'),
        ('fp16 = None', 'optim_wrapper.type', 'OptimWrapper'),
        (
            'optimizer_config = dict(_delete_=True, type="GradientCumulativeOptimizerHook", '
            'cumulative_iters=4)',
            'optim_wrapper.accumulative_counts',
            4,
        ),
        (
            'optimizer_config = dict(_delete_=True, type="GradientCumulativeOptimizerHook", '
            'cumulative_iters=4)',
            'train_dataloader.batch_size',
            16,
        ),
        # Both are steps of one update.
        ('optimizer_config = dict(cumulative_iters=3)', 'optim_wrapper.accumulative_counts', 6),
        ('optimizer_config = dict(cumulative_iters=3)', 'train_dataloader.batch_size', 8),
        ('optimizer_config = dict(cumulative_iters=3)', 'auto_scale_lr.base_batch_size', 384),
        (
            'optimizer = dict(paramwise_cfg=dict(norm_decay_mult=0))',
            'optim_wrapper.paramwise_cfg.norm_decay_mult',
            0,
        ),
        ('total_epochs = 7', 'train_cfg.max_epochs', 7),
        ('runner = dict(type="EpochBasedRunner", max_epochs=9)', 'train_cfg.max_epochs', 9),
        ('evaluation = dict(interval=3)', 'train_cfg.val_interval', 3),
        ('evaluation = dict(start=4)', 'train_cfg.val_begin', 4),
        (
            'evaluation = dict(metrics="mean_average_precision")',
            'test_evaluator.metric_list',
            ('mean_average_precision',),
        ),
        (
            'evaluation = dict(metric_options=dict(top_k_accuracy=dict(topk=(1, 3))))',
            'val_evaluator.metric_options.top_k_accuracy.topk',
            (1, 3),
        ),
        (
            'evaluation = dict(topk=(1, 3))',
            'val_evaluator.metric_options.top_k_accuracy.topk',
            (1, 3),
        ),
        (
            'evaluation = dict(save_best="top5_acc")',
            'default_hooks.checkpoint.save_best',
            'acc/top5',
        ),
        ('', 'default_hooks.checkpoint.save_best', 'auto'),
        ('checkpoint_config = dict(interval=3)', 'default_hooks.checkpoint.interval', 3),
        ('', 'default_hooks.checkpoint.max_keep_ckpts', -1),
        (
            'checkpoint_config = dict(max_keep_ckpts=2)',
            'default_hooks.checkpoint.max_keep_ckpts',
            2,
        ),
        ('checkpoint_config = None', 'default_hooks.checkpoint', None),
        ('log_config = dict(interval=5)', 'default_hooks.logger.interval', 5),
        ('log_config = dict(interval=5)', 'log_processor.window_size', 5),
        ('dist_params = dict(backend="gloo")', 'env_cfg.dist_cfg.backend', 'gloo'),
        ('optimizer = dict(constructor="TSMOptimizerConstructor", paramwise_cfg=dict(fc_lr5=True))',
         'optim_wrapper.constructor', 'TSMOptimWrapperConstructor'),
        ('cudnn_benchmark = True', 'env_cfg.cudnn_benchmark', True),
        ('seed = 3', 'randomness.seed', 3),
        ('log_level = "DEBUG"', 'log_level', 'DEBUG'),
        ('load_from = "a.pth"', 'load_from', 'a.pth'),
        ('load_from = "a.pth"', 'resume', False),
        ('resume_from = "a.pth"', 'load_from', 'a.pth'),
        ('resume_from = "a.pth"', 'resume', True),
        ('work_dir = "w"', 'work_dir', 'w'),
        ('find_unused_parameters = True', 'find_unused_parameters', True),
        ('test_cfg = dict(average_clips="score")\nmodel = dict(test_cfg=None)',
         'model.test_cfg.average_clips', 'score'),
        ('model = dict(train_cfg=dict(blending=dict(type="MixupBlending", num_classes=8)))',
         'model.data_preprocessor.blending.type', 'MixupBlending'),
        ('model = dict(backbone=dict(pretrained="x.pth"))', 'model.backbone.pretrained', 'x.pth'),
        ('custom_hooks = [dict(type="EMAHook")]', 'custom_hooks.-1.type', 'EMAHook'),
        ('', 'custom_hooks.0.type', 'ProvenanceHook'),
        ('train_cfg = None\nmodel = dict(train_cfg=None)', 'train_cfg.max_epochs', 1),
    ],
)  # fmt: skip
def test_converted_keys(changed, capsys, more, place, wanted):
    node = changed(more)
    for part in place.split('.'):
        node = node[int(part)] if isinstance(node, list) else node.get(part)
    assert node == wanted
    assert 'warning' not in capsys.readouterr().err


def test_without_optimizer_and_epochs_a_config_can_be_tested(pico, tmp_path, capsys):
    text = pico.read_text()
    text = text[: text.index('optimizer = ')]
    path = tmp_path / 'only_test.py'
    path.write_text(text)
    cfg = load_config(path)
    assert cfg.train_dataloader is cfg.optim_wrapper is cfg.train_cfg is None
    assert cfg.test_dataloader.batch_size == 1
    assert 'can only be tested' in capsys.readouterr().err


@pytest.mark.parametrize('missing', ['data.train', 'total_epochs', 'optimizer'])
def test_missing_training_section_is_named(changed, capsys, missing):
    cfg = changed('data = dict(train=None)' if missing == 'data.train' else f'{missing} = None')
    assert cfg.train_dataloader is cfg.optim_wrapper is cfg.param_scheduler is cfg.train_cfg is None
    assert f'warning: {missing} not given: the config can only be' in capsys.readouterr().err


def test_a_published_leaf_among_our_configs(tmp_path):
    """It finds the bases of this project, of the new form, where its own would be."""
    path = tmp_path / 'configs' / 'recognition' / 'dualformer' / 'leaf.py'
    path.parent.mkdir(parents=True)
    shutil.copytree(ROOT / 'configs' / '_base_', tmp_path / 'configs' / '_base_')
    name = 'dualformer_tiny_patch244_window877_kinetics400_1k'
    of_bases = {'model', 'checkpoint_config', 'log_config', 'dist_params', 'log_level', 'workflow'}
    own = {key: value for key, value in PUBLISHED[name].items() if key not in of_bases}
    bases = [
        f'../../_base_/{base}.py'
        for base in ('models/dualformer/dualformer_tiny', 'default_runtime')
    ]
    path.write_text(''.join(f'{k} = {v!r}\n' for k, v in {'_base_': bases, **own}.items()))
    cfg = load_config(path)
    leaf = load_config(LEAVES[name])
    assert cfg.model == leaf.model
    assert cfg.custom_hooks == leaf.custom_hooks
    assert cfg.default_hooks == leaf.default_hooks
    assert cfg.train_cfg == leaf.train_cfg


def test_inference_with_an_old_config(pico, tmp_path):
    """As the demos do it: the views and the normalization are those of the config."""
    video = write_video(tmp_path / 'clip.mp4', num_frames=24)
    model = init_recognizer(pico, device='cpu')
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    scores = inference_recognizer(model, video).pred_score
    assert scores.shape == (8,)
    assert float(scores.sum()) == pytest.approx(1, abs=1e-5)
    assert [tuple(views.shape) for views in seen] == [(3, 3, 8, 40, 40)]
    assert 0.5 < float(seen[0].std()) < 2.5


@pytest.mark.parametrize(
    ('more', 'told'),
    [
        ("workflow = [('train', 2), ('val', 1)]", 'workflow=.* has no counterpart: the loss'),
        ('precise_bn = dict(num_iters=200)', "precise_bn={'num_iters': 200} has no counterpart"),
        ('omnisource = True', 'omnisource=True has no counterpart'),
        ('data = dict(train=dict(sample_by_class=True))', 'data.train.sample_by_class=True'),
        ('data = dict(videos_per_gpu=5)', 'does not divide data.videos_per_gpu=5'),
        ('model = dict(train_cfg=dict(aux_info=["x"]))', 'model.train_cfg.aux_info'),
        ('model = dict(test_cfg=dict(feature_extraction=True))', 'feature_extraction=True'),
        (
            "log_config = dict(hooks=[dict(type='PaviLoggerHook')])",
            'PaviLoggerHook.*no counterpart',
        ),
        ('lr_config = dict(_delete_=True, policy="step", step=3, min_lr=1e-5)', 'lr_config.min_lr'),
        ('gpu_ids = [0, 1]', r'gpu_ids=\[0, 1\].*dist_train.sh'),
        ('checkpoint_config = dict(create_symlink=True)', 'left out: checkpoint_config.create_sym'),
        ('evaluation = dict(gpu_collect=True)', 'left out: evaluation.gpu_collect'),
        (
            'img_norm = 1\nmodel = dict(data_preprocessor=dict(mean=[1, 2, 3]))',
            'mean=.* is not used',
        ),
    ],
)
def test_keys_without_counterpart_are_named(changed, capsys, more, told):
    changed(more)
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ('data = dict(videos_per_gp=4)', 'data.videos_per_gp.*did you mean "videos_per_gpu"'),
        ('data = dict(videos_per_gpu=0)', 'data.videos_per_gpu: 0 is no positive integer'),
        ('data = dict(videos_per_gpu=1)', '2 batches cannot be made of data.videos_per_gpu=1'),
        ('data = 3', 'key data: a dict was expected, found 3'),
        ('optimizer_config = dict(update_interval=0)', 'update_interval: 0 is no positive'),
        ('optimizer_config = dict(gradclip=1)', 'gradclip.*did you mean "grad_clip"'),
        ('optimizer_config = dict(type="TSMOptimizerHook")', '"TSMOptimizerHook" has no counter'),
        ('lr_config = dict(policy="OneCycle")', 'lr_config.policy: "OneCycle" has no counterpart'),
        ('lr_config = dict(warmup="cosine")', "lr_config.warmup: 'cosine' has no counterpart"),
        ('lr_config = dict(warmup_iters=0)', 'warmup_iters: 0 must be above 0'),
        ('lr_config = dict(min_lr_ratio=0.1)', 'give one of "min_lr" and "min_lr_ratio"'),
        ('total_epochs = "3"', "total_epochs: '3' is no positive integer"),
        ('total_epoch = 3', 'config key total_epoch: .*did you mean "total_epochs"'),
        ('chekpoint_config = dict()', 'did you mean "checkpoint_config"'),
        ('evaluation = dict(by_epoch=False)', 'evaluation.by_epoch: False has no counterpart'),
        ('evaluation = dict(metric="x")', 'evaluation.metric:.*did you mean "metrics"'),
        (
            'evaluation = dict(metrics=["top_k_acc"])',
            r"_evaluator.metric_list: .*'top_k_acc'.*new f",
        ),
        ('runner = dict(type="IterBasedRunner", max_iters=9)', '"IterBasedRunner" has no counter'),
        ('log_config = dict(hooks=3)', 'log_config.hooks: a list was expected'),
        ('optimizer = dict(constructor="OtherConstructor")', 'no constructor "OtherConstructor"'),
        ('optimizer = dict(lrr=1)', r'optimizer.lrr.*did you mean "lr".*new form of .*changed\.py'),
        ('data = dict(train=dict(pipeline=3))', 'data.train.pipeline: a list of steps'),
        ('data = dict(train=dict(pipeline=[3]))', 'data.train.pipeline.0: a dict with a type'),
        ('data = dict(train=dict(pipeline=[dict(type="DecordInit")]))', 'it has no Collect'),
        (
            'data = dict(val=dict(pipeline=[dict(type="Collect", keys=["imgs"])]))',
            'data.val.pipeline: Normalize is None, but in data.train.pipeline it is',
        ),
        (
            'data = dict(val=dict(pipeline=[dict(type="SampleFrames", clip_len=3, '
            'frame_uniform=True), dict(type="Collect", keys=["imgs"])]))',
            'data.val.pipeline.0: frame_uniform=True .*UniformSample',
        ),
        ('train_dataloader = dict(batch_size=3)', 'mmaction2 0.x had this key'),
    ],
)
def test_errors_name_the_key(changed, more, message):
    with pytest.raises(ConfigError, match=message):
        changed(more)


def dicts_in(node, way=()):
    """Every dict of a nested config, with the way to it."""
    if isinstance(node, dict):
        yield way, node
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from dicts_in(value, (*way, key))


def test_misspelled_key_is_an_error_at_every_place(tmp_path):
    """Each key of a published config, one letter short, in all its sections."""
    raw = read_config(
        write_published('dualformer_tiny_tokenlabel_patch244_window877_kinetics400_1k', tmp_path)
    )
    values = raw._cfg_dict.to_dict()
    # Any name may be a variable, a pattern of parameters, or wait for the class that takes it.
    for name in [key for key in values if key.endswith('pipeline') or key == 'img_norm_cfg']:
        del values[name]
    tried = 0
    for way, node in list(dicts_in(values)):
        if not way or way[-1] in ('custom_keys', 'test_cfg') or node.get('type') == 'ToTensor':
            continue
        for key in [key for key in node if key != 'type' and len(key) > 2]:
            before = dict(node)
            node[key[:-2] + key[-1]] = node.pop(key)
            with pytest.raises(ConfigError):
                check_config(convert_old_config(Config(copy.deepcopy(values)))[0])
            node.clear()
            node.update(before)
            tried += 1
    assert tried > 80
    check_config(convert_old_config(Config(values))[0])


def test_options_with_old_keys(pico):
    cfg = load_config(pico, ['data.videos_per_gpu=4', 'total_epochs=3', 'optimizer.lr=1e-3'])
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.val_dataloader.batch_size == 4
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].T_max == 3
    assert cfg.optim_wrapper.optimizer.lr == 1e-3


def test_options_with_variables_and_list_items(pico):
    cfg = load_config(pico, ['data_root=/my', 'ann_file_val=v.txt', 'train_pipeline.1.clip_len=4'])
    assert cfg.train_dataloader.dataset.data_prefix.video == '/my'
    assert cfg.test_dataloader.dataset.ann_file == 'v.txt'
    assert cfg.train_dataloader.dataset.pipeline[1].clip_len == 4


def test_options_with_new_keys(pico):
    options = ['train_dataloader.num_workers=0', 'randomness.seed=5', 'train_cfg.max_epochs=2']
    cfg = load_config(pico, [*options, 'model.backbone.drop_path_rate=0.5', 'load_from=x.pth'])
    assert cfg.train_dataloader.num_workers == 0
    assert cfg.randomness.seed == 5
    assert cfg.train_cfg.max_epochs == 2
    assert cfg.model.backbone.drop_path_rate == 0.5
    assert cfg.load_from == 'x.pth'


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('data.videos_per_gp=4', 'data.videos_per_gp.*did you mean "videos_per_gpu"'),
        ('total_epoch=3', 'no key "total_epoch"; did you mean "total_epochs"'),
        ('train_dataloder.batch_size=3', 'did you mean "train_dataloader"'),
        ('train_dataloader.batch_sze=3', 'did you mean "batch_size"'),
        ('data.train.pipeline.99.type=x', 'must be an index from 0 to'),
        ('model.backbone.drop_path_rat=1', 'did you mean "drop_path_rate"'),
        ('total_epochs.x=1', 'total_epochs is 1, which has no key "x"'),
    ],
)
def test_misspelled_options_are_errors(pico, option, message):
    with pytest.raises(ConfigError, match=message):
        load_config(pico, [option])


def test_conversion_notes_are_printed_by_rank_0_only(pico, capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    load_config(pico)
    assert capsys.readouterr().err == ''
    monkeypatch.setenv('RANK', '0')
    load_config(pico)
    assert 'form of mmaction2 0.x' in capsys.readouterr().err


def test_new_configs_are_not_detected_as_0x():
    for path in LEAVES.values():
        assert not is_old_config(read_config(path)), path
    assert not is_old_config(dict(data=dict(data_root='x'), model={}))
    assert is_old_config(dict(data=dict(train={})))
