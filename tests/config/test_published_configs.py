"""The ten published 0.x configs give the published network and recipe.

What is expected comes from `published_configs.json`, the golden files and the published formula
of the learning rate. It is held against each file as it is, against what `migrate_config.py`
makes of it, and against the config of this project that has its name.
"""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmaction.apis import init_recognizer
from mmaction.config.check import check_config
from mmaction.config.legacy import convert_old_config
from mmaction.config.load import load_config
from mmaction.engine.optimizers.amp import precision_of
from mmaction.engine.runner.checkpoint import load_checkpoint_file, load_weights
from mmaction.errors import CheckpointError, ConfigError
from mmaction.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS
from tests.golden.fill import fill
from tests.legacy_configs import PUBLISHED

ROOT = Path(__file__).parents[2]
LEAVES = ROOT / 'configs' / 'recognition' / 'dualformer'
FORMS = ('as it is', 'migrated', 'leaf')
# That the migrated form is read as the file that it is made of, each value, is held below.
DIFFERENT_FORMS = ('as it is', 'leaf')
LENGTH = 3
"""Batches of an epoch: odd, so that 2.5 epochs end within a step."""
NOTE = 'note: not needed, so left out: optimizer_config.coalesce, optimizer_config.bucket_size_mb'


def build(model):
    """A model without weights, which takes no time."""
    with torch.device('meta'):
        return MODELS.build(model)


def size_of(name):
    """'tiny', 'small' or 'base'."""
    return name.split('_')[1]


def golden_shapes(name):
    """Names and shapes of a released checkpoint, in their order."""
    values = PUBLISHED[name]['model']
    shapes = json.loads((ROOT / f'tests/golden/state_dict_{size_of(name)}.json').read_text())
    if values['backbone']['video_size'] == [16, 224, 224]:
        # Half the frames: kernels of the pyramid are half as long, where they are longer than 1.
        for key, shape in shapes.items():
            if key.endswith(('.attn.sr.weight', '.attn.lr.3.weight')):
                shape[2] = max(shape[2] // 2, 1)
    head, channels = values['cls_head'], values['cls_head']['in_channels']
    shapes = {f'backbone.{key}': shape for key, shape in shapes.items()}
    layers = {'fc_cls': (head['num_classes'], channels)}
    if head['type'] == 'I3DHead_TL':
        layers['token_linear.0'] = (2 * channels, channels)
        layers['token_linear.3'] = (4 * channels, 2 * channels)
        layers['token_linear.6'] = (head['num_classes'], 4 * channels)
    for layer, (outputs, inputs) in layers.items():
        shapes[f'cls_head.{layer}.weight'] = [outputs, inputs]
        shapes[f'cls_head.{layer}.bias'] = [outputs]
    return shapes


def test_there_are_ten_and_each_has_a_leaf():
    assert len(PUBLISHED) == 10
    assert {path.stem for path in LEAVES.glob('*.py')} >= set(PUBLISHED)


def test_pyramid_kernels_of_16_frames():
    """Those that the release has, so that `golden_shapes` is right about them."""
    shapes = golden_shapes('dualformer_tiny_patch244_window877_ucf101')
    kernels = {key: tuple(shape[2:]) for key, shape in shapes.items() if '.attn.' in key}
    fine = [kernels.get(f'backbone.blocks.{i}.1.attn.sr.weight') for i in range(4)]
    assert fine == [(1, 8, 8), (1, 4, 4), (1, 2, 2), None]
    coarse = [kernels.get(f'backbone.blocks.{i}.1.attn.lr.3.weight') for i in range(4)]
    assert coarse == [(2, 2, 2), (2, 1, 1), None, None]


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', PUBLISHED)
def test_state_dict_is_the_published_one(name, form, config):
    model = build(config(name, form).model)
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert list(found.items()) == list(golden_shapes(name).items())


@pytest.mark.parametrize('name', PUBLISHED)
def test_migrated_form_is_read_as_the_file_that_it_is_made_of(name, config):
    old, new = (config(name, form)._cfg_dict.to_dict() for form in ('as it is', 'migrated'))
    assert new == old


@pytest.mark.parametrize('name', PUBLISHED)
def test_checkpoint_of_0x_loads_strictly(name, config, tmp_path):
    model = build(config(name, 'as it is').model)
    # A tensor that repeats one number takes no room in the file.
    state = {key: torch.zeros(()).expand(shape) for key, shape in golden_shapes(name).items()}
    meta = dict(mmcv_version='1.3.9', epoch=30, iter=900, time='Mon', CLASSES=None, config='a = 1')
    torch.save(dict(meta=meta, state_dict=state, optimizer={}), tmp_path / 'released.pth')
    loaded = load_checkpoint_file(tmp_path / 'released.pth')
    report = load_weights(model, loaded, 'released.pth', strict=True)
    assert report.complete
    assert report.loaded == list(state)
    del loaded['state_dict']['backbone.norm.weight']
    with pytest.raises(CheckpointError, match=r'not in the file: backbone\.norm\.weight'):
        load_weights(model, loaded, 'released.pth', strict=True)


def test_released_weights_are_those_of_the_recognizer(paths, tmp_path):
    """As the demos load them, with values."""
    name = 'dualformer_tiny_patch244_window877_kinetics400_1k'
    state = {key: torch.as_tensor(fill(key, shape)) for key, shape in golden_shapes(name).items()}
    torch.save(dict(meta=dict(mmcv_version='1.3.9'), state_dict=state), tmp_path / 'released.pth')
    model = init_recognizer(paths(name, 'as it is'), str(tmp_path / 'released.pth'), 'cpu')
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key


# ---------------------------------------------------------------- the recipe


def canonical(step):
    """A step of a pipeline with its defaults, in lists; None where it does nothing here."""
    step = {key: list(value) if isinstance(value, tuple) else value for key, value in step.items()}
    kind = step['type']
    if kind in ('Normalize', 'Collect', 'ToTensor', 'PackActionInputs'):
        return None  # compared with the data preprocessor
    if kind == 'Flip' and step['flip_ratio'] == 0:
        return None
    if kind == 'SampleFrames':
        step = {'num_clips': 1, 'test_mode': False, **step}
        if not step['test_mode']:
            step.pop('test_sampling', None)
    if kind == 'Resize':
        step = {'keep_ratio': True, **step}
    if isinstance(step.get('flip_label_map', 0), dict):
        assert not step.pop('flip_label_map')
    return step


def pipeline_of(steps):
    return [step for step in map(canonical, steps) if step is not None]


def expected_recipe(name):
    """The facts of a published config, from the JSON alone."""
    values = PUBLISHED[name]
    data, optimizer, update = values['data'], values['optimizer'], values['optimizer_config']
    model, rate = values['model'], values['lr_config']
    assert (rate['policy'], rate['warmup'], rate['min_lr']) == ('CosineAnnealing', 'linear', 0)
    blocks = sum(model['backbone']['depths'])
    facts = {
        'clips of a step': data['videos_per_gpu'] // update['update_interval'],
        'clips of an update': data['videos_per_gpu'],
        'accumulated steps': update['update_interval'],
        'base batch': 8 * data['videos_per_gpu'],
        'optimizer': [optimizer[key] for key in ('type', 'lr', 'betas', 'weight_decay')],
        'parameter rules': optimizer['paramwise_cfg'],
        'clip_grad': update['grad_clip'],
        'precision': 'fp16 with loss scaling' if update['use_fp16'] else 'fp32',
        'epochs': values['total_epochs'],
        'evaluation interval': values['evaluation']['interval'],
        'metrics': values['evaluation']['metrics'],
        'load_from': values['load_from'],
        'find_unused_parameters': values['find_unused_parameters'],
        'log interval': values['log_config']['interval'],
        'checkpoint interval': values['checkpoint_config']['interval'],
        'backend': values['dist_params']['backend'],
        'log level': values['log_level'],
        'drop path': [
            model['backbone']['drop_path_rate'] * i / (blocks - 1) for i in range(blocks)
        ],
        'dropout': model['cls_head']['dropout_ratio'],
        'model': [model['type'], model['cls_head']['type']],
        'loss': model['cls_head'].get('loss_cls', {'type': 'CrossEntropyLoss'})['type'],
        'test_cfg': model['test_cfg'],
    }
    for split in ('train', 'val', 'test'):
        (norm,) = [s for s in data[split]['pipeline'] if s['type'] == 'Normalize']
        facts[f'{split} normalization'] = [norm['mean'], norm['std'], norm['to_bgr']]
        sampling = {'test_sampling': 'segment_centers'} if split != 'train' else {}
        steps = [
            {**step, **sampling} if step['type'] == 'SampleFrames' else step
            for step in data[split]['pipeline']
        ]
        facts[f'{split} pipeline'] = pipeline_of(steps)
        facts[f'{split} dataset'] = data[split]['type']
    return facts


def found_recipe(cfg):
    """The same facts of a config in the form of 1.x."""
    wrapper, model = cfg.optim_wrapper, build(cfg.model)
    preprocessor = cfg.model.data_preprocessor
    optimizer = wrapper.optimizer.to_dict()
    steps = wrapper.get('accumulative_counts', 1)
    facts = {
        'clips of a step': cfg.train_dataloader.batch_size,
        'clips of an update': cfg.train_dataloader.batch_size * steps,
        'accumulated steps': steps,
        'base batch': cfg.auto_scale_lr.base_batch_size,
        'optimizer': [
            list(optimizer[key]) if key == 'betas' else optimizer[key]
            for key in ('type', 'lr', 'betas', 'weight_decay')
        ],
        'parameter rules': wrapper.paramwise_cfg.to_dict(),
        'clip_grad': wrapper.get('clip_grad'),
        'precision': precision_of(wrapper),
        'epochs': cfg.train_cfg.max_epochs,
        'evaluation interval': cfg.train_cfg.val_interval,
        'metrics': list(
            cfg.val_evaluator.get('metric_list', ('top_k_accuracy', 'mean_class_accuracy'))
        ),
        'load_from': cfg.load_from,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        'log interval': cfg.default_hooks.logger.interval,
        'checkpoint interval': cfg.default_hooks.checkpoint.interval,
        'backend': cfg.env_cfg.dist_cfg.backend,
        'log level': cfg.log_level,
        'drop path': pytest.approx(
            [
                getattr(block.drop_path, 'drop_prob', 0.0)
                for stage in model.backbone.blocks
                for block in stage
            ]
        ),
        'dropout': model.cls_head.dropout.p,
        'model': [cfg.model.type, cfg.model.cls_head.type],
        'loss': type(model.cls_head.loss_cls).__name__,
        'test_cfg': cfg.model.test_cfg.to_dict(),
    }
    assert cfg.test_evaluator == cfg.val_evaluator
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        facts[f'{split} normalization'] = [
            preprocessor.mean,
            preprocessor.std,
            preprocessor.get('to_rgb', False),
        ]
        facts[f'{split} pipeline'] = pipeline_of(
            [step.to_dict() for step in loader.dataset.pipeline]
        )
        facts[f'{split} dataset'] = loader.dataset.type
        assert loader.sampler.shuffle == (split == 'train')
        assert loader.dataset.get('test_mode', False) == (split != 'train')
    return facts


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', PUBLISHED)
def test_recipe_is_the_published_one(name, form, config):
    found, expected = found_recipe(config(name, form)), expected_recipe(name)
    assert set(found) == set(expected)
    wrong = {key: (found[key], expected[key]) for key in expected if found[key] != expected[key]}
    assert not wrong


@pytest.mark.parametrize('form', DIFFERENT_FORMS)
@pytest.mark.parametrize('name', PUBLISHED)
def test_learning_rate_and_decay_of_every_group_at_every_iteration(name, form, config):
    values = PUBLISHED[name]
    base, decay = values['optimizer']['lr'], values['optimizer']['weight_decay']
    epochs, warm_up = values['total_epochs'], values['lr_config']['warmup_iters']
    cfg = config(name, form)
    # The rules go by name: two blocks a stage have every kind of parameter.
    cfg.model.backbone.depths = [2, 2, 2, 2]
    model = build(cfg.model)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    plain = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'dtype')}
    optimizer = build_optim_wrapper(model, plain).optimizer
    groups = [(names[id(p)], group) for group in optimizer.param_groups for p in group['params']]
    assert sorted(key for key, _ in groups) == sorted(names.values())
    multipliers = []
    for key, group in groups:
        position, backbone = 'pos_block' in key, key.startswith('backbone.')
        multipliers.append(0.1 if backbone and not position else 1.0)
        assert group['weight_decay'] == pytest.approx(0 if position else decay), key
        assert tuple(group['betas']) == (0.9, 0.999)

    # As mmengine's runner builds them: one without an end ends with training.
    rest = dict(optimizer=optimizer, epoch_length=LENGTH, end=cfg.train_cfg.max_epochs)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args=rest) for scheduler in cfg.param_scheduler
    ]
    found, expected = [], []
    for i in range(epochs * LENGTH):
        found.append([group['lr'] for _, group in groups])
        factor = (1 + math.cos(math.pi * (i // LENGTH) / epochs)) / 2
        if i < warm_up * LENGTH:
            factor *= 1 - 0.9 * (1 - i / (warm_up * LENGTH))
        expected.append([base * multiplier * factor for multiplier in multipliers])
        if i == 0:
            optimizer.step()  # which schedulers warn about if it never was; it changes nothing here
        for scheduler in schedulers:
            if not scheduler.by_epoch or (i + 1) % LENGTH == 0:
                scheduler.step()
    found, expected = (torch.tensor(rates, dtype=torch.float64) for rates in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', PUBLISHED)
def test_test_clips_are_the_centers_of_segments(name, form, config):
    (step,) = [s for s in config(name, form).test_pipeline if s.type == 'SampleFrames']
    found = TRANSFORMS.build(step)(dict(total_frames=300, start_index=0))
    span = step.clip_len * step.frame_interval
    segment = (300 - span + 1) / 4
    wanted = [int(segment * i + segment / 2) for i in range(4)]
    if span == 64:
        assert wanted == [29, 88, 148, 207]  # as measured on the release
    assert found['frame_inds'][:: step.clip_len].tolist() == wanted


# ---------------------------------------------------------------- nothing is dropped in silence


@pytest.mark.parametrize('name', PUBLISHED)
def test_output_names_each_key_that_is_not_carried_over(name, paths, capsys):
    old, new = (paths(name, form) for form in ('as it is', 'migrated'))
    capsys.readouterr()
    load_config(old)
    first, *notes = capsys.readouterr().err.splitlines()
    assert f'{old} has the form of mmaction2 0.x' in first
    assert notes == [NOTE]
    assert f'# {NOTE}\n' in new.read_text()


def leaves_of(node, path=()):
    """Every value of a nested config that holds no dict, with its path."""
    nested = isinstance(node, dict) or (
        isinstance(node, list) and any(isinstance(item, (dict, list)) for item in node)
    )
    if not nested:
        yield path, node
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from leaves_of(value, (*path, key))


def another(value):
    """Some other value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value * 2 + 1
    if isinstance(value, str):
        return f'{value}x'
    if isinstance(value, list):
        return [another(item) for item in value] or ['x']
    return {'x': 1}


@pytest.mark.parametrize(
    'name',
    [
        'dualformer_tiny_tokenlabel_patch244_window877_kinetics400_1k',
        'dualformer_small_patch244_window877_hmdb51',
    ],
)
def test_no_key_is_dropped_in_silence(name):
    """Each value, when it is another, changes what the config becomes, is named, or is an error."""

    def become(values):
        cfg, notes = convert_old_config(Config(copy.deepcopy(values)))
        check_config(cfg)
        return cfg._cfg_dict.to_dict(), notes

    values = PUBLISHED[name]
    unchanged, _ = become(values)
    silent, tried = [], 0
    for path, value in leaves_of(values):
        changed = copy.deepcopy(values)
        node = changed
        for part in path[:-1]:
            node = node[part]
        if isinstance(node, dict) and node.get('type') == 'ToTensor' and path[-1] == 'keys':
            continue  # packing makes tensors of everything
        node[path[-1]] = another(value)
        tried += 1
        try:
            became, told = become(changed)
        except ConfigError:
            continue
        place = '.'.join(map(str, path))
        # A list is named as a whole.
        place = place.rstrip('.0123456789')
        if became == unchanged and not any(place in line for line in told):
            silent.append(place)
    assert tried > 100
    assert silent == []
