"""Every leaf config: its recipe to the number, and a model that runs."""

import itertools
import json
from pathlib import Path

import pytest
import timm
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from PIL import Image

from mmaction.cli import prepare_dataset as prepare
from mmaction.config.load import load_config
from mmaction.errors import ConfigError
from mmaction.registry import DATA_SAMPLERS, DATASETS, METRICS, MODELS
from mmaction.structures import ActionDataSample
from tests.video_factory import frame_pixels, write_video
from tools.misc import model_table

ROOT = Path(__file__).parents[1]
# Those of mmaction2's models: tests/tools/test_model_zoo.py and test_zoo_configs.py.
ZOO = {entry['Name'].split('/')[1] for entry in model_table.read_zoo()}
LEAVES = sorted(
    leaf for leaf in (ROOT / 'configs' / 'recognition').rglob('*.py') if leaf.stem not in ZOO
)
NAMES = [leaf.stem for leaf in LEAVES]


@pytest.mark.parametrize('name', [n for n in NAMES if n.endswith(('_1k', '_22k'))])
def test_config_names_with_imagenet_say_which_weights(name):
    cfg = load_config(LEAVES[NAMES.index(name)], [])
    model = cfg.imagenet_weights.removeprefix('timm://')
    assert model in timm.list_pretrained()
    size = dict(tiny='small', small='base', base='large')[cfg.model.backbone.arch]
    assert model == f'twins_svt_{size}.in1k'


def shrink(model, width=16, stages=2):
    """Make a config's DualFormer small, in place."""
    if model.backbone.type != 'DualFormer':
        return
    model.backbone.update(
        arch=dict(
            embed_dims=[width] * stages,
            num_heads=[2] * stages,
            depths=[2] * stages,
            mlp_ratios=[1] * stages,
            local_sizes=[(2, 2, 2)] * stages,
            fine_pysizes=[(2, 2, 2)] * stages,
            coarse_pysizes=[None] * stages,
        ),
        video_size=(4, 32, 32),
    )
    model.cls_head.in_channels = width


def shrink_clips(steps, side=32, frames=4):
    """Make the clips of a pipeline small, in place."""
    for step in steps:
        for key in {'clip_len', 'num_clips'} & set(step):
            step[key] = min(step[key], frames if key == 'clip_len' else 2)
        if 'crop_size' in step:
            step['crop_size'] = side
        if step['type'] == 'Resize':
            step['scale'] = (-1, side) if step['scale'][0] == -1 else (side, side)
        elif step['type'] == 'RandomCrop':
            step['size'] = side


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    """Two videos, the same as folders of frames by two names, and as images."""
    root = tmp_path_factory.mktemp('media')
    (root / 'videos').mkdir()
    for clip in ('a', 'b'):
        write_video(root / 'videos' / f'{clip}.mp4', 20, 64, 40)
        (root / 'rawframes' / clip).mkdir(parents=True)
        for number in range(1, 21):
            Image.fromarray(frame_pixels(number, 64, 40)).save(
                root / 'rawframes' / clip / f'img_{number:05}.jpg'
            )
            frame = root / 'rawframes' / clip / f'{number:05}.jpg'
            frame.hardlink_to(frame.with_name(f'img_{number:05}.jpg'))
        Image.fromarray(frame_pixels(0, 64, 40)).save(root / 'videos' / f'{clip}.jpg')
    return root


def write_list(root, dataset):
    """The list that a dataset of a config reads, of two clips."""
    if dataset.type == 'ConcatDataset':
        for part in dataset.datasets:
            write_list(root, part)
        return
    assert dataset.data_root == str(root)
    path = root / dataset.ann_file.format(split=dataset.get('split'))
    labels = ['0 2', '1'] if dataset.get('multi_class') else ['0', '1']
    if dataset.type == 'HVUDataset':
        entries = [
            dict(filename='a.mp4', label=dict(action=[3], scene=[0, 5])),
            dict(filename='b.mp4', label=dict(object=[7], scene=[0])),
        ]
        path.write_text(json.dumps(entries))
        return
    form = {
        'VideoDataset': '{}.mp4 {}\n',
        'RawframeDataset': '{} 20 {}\n',
        'ImageDataset': '{}.jpg {}\n',
    }[dataset.type]
    path.write_text(''.join(form.format(*pair) for pair in zip('ab', labels, strict=True)))


@pytest.mark.parametrize('name', NAMES)
def test_every_config_trains_and_tests_at_small_size(name, media):
    cfg = load_config(LEAVES[NAMES.index(name)], [f'data_root={media}'])
    shrink(cfg.model)
    if 'teacher' in cfg.model:
        teacher = load_config(ROOT / cfg.model.teacher.config, []).model
        shrink(teacher)
        cfg.model.teacher = teacher
    model = MODELS.build(cfg.model)
    model.init_weights()
    frames = 4 if cfg.model.backbone.type == 'DualFormer' else 8

    batches = {}
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        for part in loader.dataset.get('datasets', [loader.dataset]):
            if 'frames' not in cfg and ('videos' not in cfg or part.data_prefix.get('video') == ''):
                part.data_prefix = dict(video='videos')
            shrink_clips(part.pipeline, frames=frames)
        write_list(media, loader.dataset)
        dataset = DATASETS.build(loader.dataset)
        sampler = DATA_SAMPLERS.build(loader.sampler, default_args=dict(dataset=dataset, seed=0))
        batches[split] = pseudo_collate([dataset[key] for key in itertools.islice(sampler, 4)])

    plain = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'dtype')}
    wrapper = build_optim_wrapper(model, {**plain, 'accumulative_counts': 1})
    batch = model.data_preprocessor(batches['train'], True)
    loss, logged = model.parse_losses(model(**batch, mode='loss'))
    assert {'loss', 'loss_cls'} <= set(logged)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    wrapper.step()
    changed = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2

    samples = model.eval().test_step(batches['test'])
    for sample in samples:
        assert sample.pred_score.shape == (cfg.model.cls_head.num_classes,)
        if not cfg.model.cls_head.get('multi_class'):
            assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
    metric = METRICS.build(cfg.test_evaluator)
    metric.process(None, [sample.to_dict() for sample in samples])
    found = metric.evaluate(2)
    assert found
    assert all(0 <= value <= 1 for value in found.values())


FAMILIES = (
    *('tsn', 'tsm', 'tanet', 'tin', 'trn', 'c2d', 'i3d', 'slowonly', 'slowfast', 'tpn', 'csn'),
    *('r2plus1d', 'x3d', 'c3d', 'swin', 'videomae', 'timesformer', 'mvit', 'uniformer'),
    'uniformerv2',
)


@pytest.mark.parametrize(
    'family',
    [
        name if name in ('tpn', 'videomae') else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
)
def test_small_network_of_each_family_trains_on_motion_digits(family, monkeypatch):
    monkeypatch.setenv('FAMILY', family)
    cfg = load_config(LEAVES[NAMES.index('mmaction2_motion_digits')])
    assert (*cfg.cnns, *cfg.transformers) == FAMILIES
    model = MODELS.build(cfg.model)
    model.init_weights()
    samples = [ActionDataSample().set_gt_label(label) for label in (2, 5)]
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    clips = torch.rand(2, 1, 3, steps['SampleFrames'].clip_len, *[steps['RandomCrop'].size] * 2)
    loss, _ = model.parse_losses(model(clips, samples, mode='loss'))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_unknown_family_is_named(monkeypatch):
    monkeypatch.setenv('FAMILY', 'tsmm')
    with pytest.raises(ConfigError, match='FAMILY=tsmm is none of tsn, tsm, '):
        load_config(LEAVES[NAMES.index('mmaction2_motion_digits')])


# What the leaves of the other datasets say: classes, clips (how, every ...th frame), test clips,
# test crops, labels that a flip swaps, epochs, drop path, weight decay, accumulated steps.
SETS = {
    'small_diving48': (48, 'SampleFrames', 4, 4, 3, {}, 30, 0.2, 0.02, 1),
    'small_hmdb51': (51, 'SampleFrames', 4, 4, 3, {}, 16, 0.3, 0.1, 4),
    'small_ucf101': (101, 'SampleFrames', 4, 4, 3, {}, 16, 0.3, 0.1, 4),
    'tiny_ucf101': (101, 'SampleFrames', 4, 4, 3, {}, 16, 0.2, 0.05, 4),
    'small_activitynet': (200, 'SampleFrames', 4, 4, 3, {}, 30, 0.2, 0.02, 1),
    'small_kinetics600_1k': (600, 'SampleFrames', 2, 4, 1, {}, 30, 0.2, 0.02, 2),
    'small_kinetics700_1k': (700, 'SampleFrames', 2, 4, 1, {}, 30, 0.2, 0.02, 2),
    'small_omnisource_1k': (200, 'SampleFrames', 2, 4, 1, {}, 30, 0.2, 0.02, 2),
    'small_mit': (305, 'SampleFrames', 2, 4, 1, {}, 30, 0.2, 0.02, 1),
    'small_mmit': (292, 'SampleFrames', 2, 4, 1, {}, 30, 0.2, 0.02, 1),
    'small_hvu': (3142, 'SampleFrames', 2, 4, 1, {}, 30, 0.2, 0.02, 1),
    'small_sthv1': (174, 'UniformSample', None, 1, 3, {2: 4, 30: 41, 52: 66}, 30, 0.2, 0.02, 1),
    'small_sthv2': (
        174, 'UniformSample', None, 1, 3, {86: 87, 93: 94, 166: 167}, 30, 0.2, 0.02, 1,
    ),
    'small_jester': (27, 'UniformSample', None, 1, 3, {0: 1, 6: 7, 14: 15}, 30, 0.2, 0.02, 1),
}  # fmt: skip


@pytest.mark.parametrize('name', SETS)
def test_configs_of_other_datasets(name):
    size, dataset = name.split('_', 1)
    full = f'dualformer_{size}_patch244_window877_{dataset}'
    cfg = load_config(LEAVES[NAMES.index(full)])
    classes, how, interval, test_clips, crops, swapped, epochs, drop_path, decay, accumulated = (
        SETS[name]
    )
    assert (cfg.model.backbone.arch, cfg.model.cls_head.num_classes) == (size, classes)
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.model.backbone.video_size[0] == (16 if name == 'tiny_ucf101' else 32)
    assert cfg.optim_wrapper.optimizer.weight_decay == decay
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.optim_wrapper.get('accumulative_counts', 1) == accumulated
    clips = 16 if epochs == 16 else 8
    assert cfg.train_dataloader.batch_size * accumulated == clips
    assert cfg.auto_scale_lr.base_batch_size == 8 * clips
    warm, cosine = cfg.param_scheduler
    assert not {'T_max', 'end'} & set(cosine)
    assert cfg.train_cfg.max_epochs == epochs
    if dataset.endswith('_1k'):
        assert (warm.end, cfg.train_cfg.val_interval, cfg.load_from) == (2.5, 5, None)
    else:
        assert (warm.end, cfg.train_cfg.val_interval) == (1, 2)
        assert cfg.load_from == f'checkpoints/k400/dualformer_{size}_patch244_window877.pth'

    kind = cfg.test_dataloader.dataset.type
    frames = kind == 'RawframeDataset'
    assert frames == (dataset in ('diving48', 'hmdb51', 'ucf101', 'sthv1', 'jester'))
    mean = [104, 117, 128] if frames else [123.675, 116.28, 103.53]
    std = [1, 1, 1] if frames else [58.395, 57.12, 57.375]
    assert cfg.model.data_preprocessor.mean == mean
    assert cfg.model.data_preprocessor.std == std
    for split in ('train', 'val', 'test'):
        part = cfg[f'{split}_dataloader'].dataset
        part = part.datasets[0] if part.type == 'ConcatDataset' else part
        assert part.data_root == f'data/{dataset.removesuffix("_1k")}'
        assert part.data_prefix == (dict(img='rawframes') if frames else dict(video='videos'))
        (sampling,) = [s for s in part.pipeline if s.type in ('SampleFrames', 'UniformSample')]
        (flip,) = [s for s in part.pipeline if s.type == 'Flip'] or [{}]
        assert (sampling.type, sampling.get('frame_interval')) == (how, interval)
        assert sampling.clip_len == cfg.model.backbone.video_size[0]
        assert sampling.get('test_sampling', 'segment_centers') == 'segment_centers'
        if split == 'train':
            both_ways = {**swapped, **{v: k for k, v in swapped.items()}}
            assert (flip.flip_label_map if both_ways else {}) == both_ways
            assert flip.flip_ratio == 0.5
        else:
            assert not flip
            assert sampling.test_mode
        if split == 'test':
            assert sampling.get('num_clips', 1) == test_clips
            assert any(s.type == 'ThreeCrop' for s in part.pipeline) == (crops == 3)


@pytest.mark.parametrize('name', [name for name in NAMES if 'window877' in name])
def test_configs_read_prepared_lists(name):
    cfg = load_config(LEAVES[NAMES.index(name)])
    dataset = Path(cfg.data_root).name
    reader = prepare.reader_of(dataset)
    assert cfg.model.cls_head.num_classes == reader.num_classes
    written = {*reader.official, 'train', 'val', 'web_image', 'web_video', 'kinetics_raw'}
    for split in ('train', 'val', 'test'):
        loaded = cfg[f'{split}_dataloader'].dataset
        for part in loaded.get('datasets', [loaded]):
            stem, extension = part.ann_file.format(split=1).split('.')
            assert stem.removesuffix('_rawframes') in written
            assert stem.endswith('_rawframes') == (part.type == 'RawframeDataset')
            assert extension == ('json' if part.type == 'HVUDataset' else 'txt')


@pytest.mark.parametrize(('dataset', 'kind'), [('mmit', 'AccMetric'), ('hvu', 'HVUMetric')])
def test_multi_label_configs(dataset, kind):
    cfg = load_config(
        LEAVES[NAMES.index(f'dualformer_small_patch244_window877_{dataset}')],
    )
    assert cfg.model.cls_head.multi_class
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.type == kind
    loss = cfg.model.cls_head.loss_cls
    if dataset == 'mmit':
        assert loss == dict(type='BCELossWithLogits')
        assert cfg.val_evaluator.metric_list[0] == 'mean_average_precision'
        assert cfg.train_dataloader.dataset.num_classes == cfg.model.cls_head.num_classes
        smaller = load_config(cfg.filename, ['num_classes=313'])
        assert smaller.model.cls_head.num_classes == 313
        assert smaller.test_dataloader.dataset.num_classes == 313
    else:
        assert (loss.type, loss.with_mask) == ('HVULoss', True)
        assert sum(MODELS.build(loss).category_nums) == cfg.model.cls_head.num_classes


@pytest.mark.parametrize('dataset', ['hmdb51', 'ucf101'])
@pytest.mark.parametrize('split', [1, 2, 3])
def test_split_option(dataset, split, media):
    cfg = load_config(
        LEAVES[NAMES.index(f'dualformer_small_patch244_window877_{dataset}')],
        [f'split={split}', f'data_root={media}'],
    )
    for loader, name in (('train', 'train'), ('val', 'test'), ('test', 'test')):
        part = cfg[f'{loader}_dataloader'].dataset
        write_list(media, part)
        expected = media / f'{name}_split{split}_rawframes.txt'
        assert DATASETS.build(part).ann_file == str(expected)


@pytest.mark.parametrize('name', [name for name in NAMES if 'tokenlabel' in name])
def test_token_labels_are_published_ones_of_a_teacher_of_the_same_classes(name):
    cfg = load_config(LEAVES[NAMES.index(name)], [])
    head, loss = cfg.model.cls_head, cfg.model.cls_head.loss_cls
    assert (cfg.model.type, head.type) == ('Recognizer3D_TL', 'I3DHead_TL')
    assert (loss.type, loss.k, loss.gamma, loss.get('soft_label')) == ('SoftCE_TL', 5, 0.5, None)
    teacher = load_config(ROOT / cfg.model.teacher.config, []).model
    assert teacher.cls_head.num_classes == head.num_classes
    if 'kinetics' in name:
        assert teacher.backbone.arch == 'base'
        assert cfg.model.teacher.checkpoint == (
            'checkpoints/k400/dualformer_base_patch244_window877.pth'
        )
    else:
        last = load_config(ROOT / cfg.model.teacher.config, []).train_cfg.max_epochs
        assert cfg.model.teacher.checkpoint == f'work_dirs/quickstart/epoch_{last}.pth'


@pytest.mark.parametrize('leaf', LEAVES, ids=NAMES)
def test_config_states_only_its_difference(leaf):
    assert len(leaf.read_text().splitlines()) <= 45
