"""Every leaf config: the published recipe to the number, and a model that runs."""

from pathlib import Path

import pytest
import timm
import torch
from mmengine.optim import build_optim_wrapper

from mmaction.engine.config import load_config
from mmaction.registry import MODELS, TRANSFORMS
from mmaction.structures import ActionDataSample

ROOT = Path(__file__).parents[1]
LEAVES = sorted((ROOT / 'configs' / 'recognition').rglob('*.py'))
NAMES = [leaf.stem for leaf in LEAVES]
# name: arch, learning rate, weight decay, drop path, warm-up epochs, accumulation, classes, lists
RECIPES = {
    'dualformer_tiny_patch244_window877_kinetics400_1k': (
        'tiny', 1e-3, 0.02, 0.1, 3, 1, 400, 'kinetics400',
    ),
    'dualformer_small_patch244_window877_kinetics400_1k': (
        'small', 1e-3, 0.02, 0.2, 2.5, 2, 400, 'kinetics400',
    ),
    'dualformer_base_patch244_window877_kinetics400_1k': (
        'base', 1e-3, 0.05, 0.3, 2.5, 2, 400, 'kinetics400',
    ),
    'dualformer_base_patch244_window877_kinetics600_22k': (
        'base', 5e-4, 0.05, 0.3, 2.5, 2, 600, 'kinetics600',
    ),
    'dualformer_tiny_tokenlabel_patch244_window877_kinetics400_1k': (
        'tiny', 1e-3, 0.02, 0.1, 3, 2, 400, 'kinetics400',
    ),
    'dualformer_small_tokenlabel_patch244_window877_kinetics400_1k': (
        'small', 1e-3, 0.02, 0.2, 2.5, 2, 400, 'kinetics400',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', RECIPES)
def test_published_kinetics_recipe(name):
    cfg = load_config(LEAVES[NAMES.index(name)], [])
    arch, rate, decay, drop_path, warm_up, accumulation, classes, lists = RECIPES[name]
    assert cfg.model.backbone.arch == arch
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert tuple(cfg.model.backbone.video_size) == (32, 224, 224)
    assert cfg.model.cls_head.num_classes == classes
    assert cfg.model.cls_head.dropout_ratio == 0.5
    assert cfg.model.test_cfg == dict(average_clips='prob', max_testing_views=4)
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert cfg.model.data_preprocessor.std == [58.395, 57.12, 57.375]

    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', rate, decay)
    assert tuple(optimizer.betas) == (0.9, 0.999)
    assert cfg.optim_wrapper.get('accumulative_counts', 1) == accumulation
    # the release divides the batch of a GPU by the accumulation, so a step stays 8 clips
    assert cfg.train_dataloader.batch_size * accumulation == 8
    assert cfg.auto_scale_lr.base_batch_size == 64
    warm, cosine = cfg.param_scheduler
    assert (warm.start_factor, warm.end, warm.convert_to_iter_based) == (0.1, warm_up, True)
    assert (cosine.T_max, cosine.eta_min, cosine.by_epoch) == (30, 0, True)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (30, 5)

    assert cfg.train_dataloader.dataset.ann_file == f'{lists}_train_list_videos.txt'
    assert cfg.train_dataloader.dataset.data_root == f'data/{lists}'
    for split in ('val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.ann_file == f'{lists}_val_list_videos.txt'


@pytest.mark.parametrize('name', RECIPES)
def test_published_views(name):
    cfg = load_config(LEAVES[NAMES.index(name)], [])
    clips = {'train': (1, 224), 'val': (1, 224), 'test': (4, 224)}
    for split, (num_clips, side) in clips.items():
        steps = cfg[f'{split}_dataloader'].dataset.pipeline
        video = dict(
            total_frames=300,
            start_index=0,
            imgs=torch.zeros(32 * num_clips, 256, 340, 3, dtype=torch.uint8).numpy(),
            modality='RGB',
            img_shape=(256, 340),
            filename='a.mp4',
            label=1,
        )
        for step in steps:
            if step['type'] not in ('DecordInit', 'DecordDecode'):
                video = TRANSFORMS.build(step)(video)
            if step['type'] == 'SampleFrames' and split == 'test':
                assert video['frame_inds'][::32].tolist() == [29, 88, 148, 207]
        assert video['inputs'].shape == (num_clips, 3, 32, side, side)
        assert video['inputs'].dtype == torch.uint8


@pytest.mark.parametrize('name', [n for n in NAMES if n.endswith(('_1k', '_22k'))])
def test_names_that_promise_imagenet_weights_say_which(name):
    cfg = load_config(LEAVES[NAMES.index(name)], [])
    model = cfg.imagenet_weights.removeprefix('timm://')
    assert model in timm.list_pretrained()
    size = dict(tiny='small', small='base', base='large')[cfg.model.backbone.arch]
    assert model == f'twins_svt_{size}.in1k'


def test_optimizer_groups_are_the_published_ones():
    """Position generators: full rate, no decay; the rest of the backbone: a tenth and decay."""
    cfg = load_config(LEAVES[NAMES.index('dualformer_tiny_patch244_window877_kinetics400_1k')], [])
    model = MODELS.build(cfg.model)
    plain = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'dtype')}
    wrapper = build_optim_wrapper(model, plain)
    names = {id(p): n for n, p in model.named_parameters()}
    seen = set()
    for group in wrapper.optimizer.param_groups:
        for parameter in group['params']:
            name = names[id(parameter)]
            seen.add(name)
            if 'pos_block' in name:
                expected = (1e-3, 0.0)
            elif name.startswith('backbone.'):
                expected = (1e-4, 0.02)
            else:
                expected = (1e-3, 0.02)
            assert (group['lr'], group['weight_decay']) == pytest.approx(expected), name
    assert seen == set(names.values())


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


@pytest.mark.parametrize('name', NAMES)
def test_every_leaf_trains_and_tests_at_small_size(name):
    cfg = load_config(LEAVES[NAMES.index(name)], [])
    shrink(cfg.model)
    if 'teacher' in cfg.model:
        teacher = load_config(ROOT / cfg.model.teacher.config, []).model
        shrink(teacher)
        cfg.model.teacher = teacher
    model = MODELS.build(cfg.model)
    model.init_weights()
    frames = 4 if cfg.model.backbone.type == 'DualFormer' else 8
    clips = [torch.randint(0, 256, (1, 3, frames, 32, 32), dtype=torch.uint8) for _ in range(2)]
    samples = [ActionDataSample().set_gt_label(label) for label in (0, 1)]
    batch = model.data_preprocessor(dict(inputs=clips, data_samples=samples), True)
    model(**batch, mode='loss')['loss_cls'].backward()
    assert all(p.grad is not None for p in model.parameters())
    views = [clip.repeat(4, 1, 1, 1, 1) for clip in clips]
    scores = model.eval().test_step(dict(inputs=views, data_samples=samples))[0].pred_score
    assert scores.shape == (cfg.model.cls_head.num_classes,)
    assert scores.sum().item() == pytest.approx(1, abs=1e-4)


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
def test_a_leaf_says_its_difference_only(leaf):
    assert len(leaf.read_text().splitlines()) <= 45
