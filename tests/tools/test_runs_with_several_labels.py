"""Clips with several labels, through train.py and test.py: Multi-Moments and HVU, made up."""

import json

import av
import numpy as np
import pytest

from mmaction.config.load import load_config
from tests.tools.running import ROOT, run_tool

LEAVES = ROOT / 'configs' / 'recognition' / 'dualformer'
COLORS = dict(red=(220, 30, 30), green=(30, 220, 30), blue=(30, 30, 220))
# Which labels a color has: of one list, and of three categories.
LABELS = dict(red=[0, 3], green=[1, 3], blue=[2])
TAGS = dict(
    red=dict(action=[0], scene=[1]), green=dict(action=[1], scene=[1]), blue=dict(scene=[0])
)
CATEGORIES, NUMBERS = ('action', 'event', 'scene'), (2, 2, 2)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Six videos of one color each, lists of both forms, and an image of each color."""
    root = tmp_path_factory.mktemp('data')
    (root / 'videos').mkdir()
    lines, entries, images = [], [], []
    for number, (name, color) in enumerate([*COLORS.items()] * 2):
        frame = np.full((48, 64, 3), color, np.uint8)
        with av.open(str(root / 'videos' / f'{number}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25, options={'preset': 'ultrafast'})
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            for _ in range(12):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
        labels = ' '.join(map(str, LABELS[name]))
        lines.append(f'{number}.mp4 {labels}\n')
        entries.append(dict(filename=f'{number}.mp4', label=TAGS[name]))
        av.VideoFrame.from_ndarray(frame).to_image().save(root / 'videos' / f'{number}.png')
        images.append(f'{number}.png {labels}\n')
    for name in ('train', 'val'):
        (root / f'{name}.txt').write_text(''.join(lines))
        (root / f'{name}.json').write_text(json.dumps(entries))
    (root / 'web.txt').write_text(''.join(images))
    return root


def small(dataset, data, folder, **changes):
    """The leaf of a dataset, small enough to learn six clips in seconds, as a file."""
    cfg = load_config(
        LEAVES / f'dualformer_small_patch244_window877_{dataset}.py', [f'data_root={data}']
    )
    cfg.model.backbone.update(
        arch=dict(
            embed_dims=[16],
            num_heads=[2],
            depths=[2],
            mlp_ratios=[2],
            local_sizes=[(2, 2, 2)],
            fine_pysizes=[(2, 2, 2)],
            coarse_pysizes=[None],
        ),
        video_size=(4, 32, 32),
    )
    cfg.model.cls_head.in_channels = 16
    cfg.merge_from_dict(changes)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=3 if split == 'train' else 1, num_workers=0)
        for step in loader.dataset.pipeline:
            if 'clip_len' in step:
                step.clip_len = 4
            if 'crop_size' in step:
                step.crop_size = 32
            if step.type == 'Resize':
                step.scale = (32, 32) if step.scale[0] > 0 else (-1, 32)
    cfg.load_from = None
    cfg.optim_wrapper = dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2), clip_grad=dict(max_norm=5)
    )
    cfg.param_scheduler = []
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16, val_interval=16)
    cfg.default_hooks.checkpoint.interval = 16
    path = folder / f'{dataset}.py'
    cfg.dump(path)
    return path


def train_and_test(config, folder, *options):
    """Train and test; what training logged, what the test printed, and its metrics.json."""
    logged = run_tool('train.py', config, '--work-dir', folder / 'work', '--seed', 0).stdout
    weights = folder / 'work' / 'epoch_16.pth'
    tested = run_tool('test.py', config, weights, '--work-dir', folder / 'test', *options).stdout
    return logged, tested, json.loads((folder / 'test' / 'metrics.json').read_text())


def test_multi_moments(data, tmp_path):
    """A few labels of each clip, learned from videos and still images in the ratio 2 : 1."""
    changes = {'num_classes': 4, 'model.cls_head.num_classes': 4}
    for split in ('train', 'val', 'test'):
        changes[f'{split}_dataloader.dataset.num_classes'] = 4
    config = small('mmit', data, tmp_path, **changes)
    joint = tmp_path / 'joint.py'
    joint.write_text(
        f"_base_ = '{config.name}'\n"
        'clips = _base_.train_dataloader.dataset\n'
        "image_pipeline = [dict(type='ImageDecode'), *clips.pipeline[3:7],\n"
        "    dict(type='BuildPseudoClip', clip_len=4), *clips.pipeline[7:]]\n"
        "images = dict(clips, type='ImageDataset', ann_file='web.txt',\n"
        "    data_prefix=dict(img='videos'), pipeline=image_pipeline)\n"
        'train_dataloader = dict(\n'
        "    sampler=dict(_delete_=True, type='JointSampler', ratio=[2, 1]),\n"
        "    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[clips, images]))\n"
    )
    logged, tested, metrics = train_and_test(
        joint,
        tmp_path,
        *('--eval', 'mean_average_precision', 'mmit_mean_average_precision'),
    )
    # 3 groups of 2 videos and 1 image, in batches of 3.
    assert 'run:   48 steps in 16 epochs' in logged
    assert 'acc/mmit_mean_average_precision' in logged
    assert metrics['mean_average_precision'] > 0.95
    assert metrics['mmit_mean_average_precision'] > 0.95
    assert f'mean_average_precision: {metrics["mean_average_precision"]:.4f}\n' in tested


def test_hvu(data, tmp_path):
    """Labels of three categories, of which one is never labeled and one not always."""
    numbers = dict(tag_categories=CATEGORIES, tag_category_nums=NUMBERS)
    sizes = dict(categories=CATEGORIES, category_nums=NUMBERS, category_loss_weights=(1, 1, 1))
    changes = {'model.cls_head.num_classes': 6}
    changes |= {f'model.cls_head.loss_cls.{key}': value for key, value in sizes.items()}
    for key, value in numbers.items():
        changes |= {f'{split}_evaluator.{key}': value for split in ('val', 'test')}
        for split in ('train', 'val', 'test'):
            changes[f'{split}_dataloader.dataset.{key}'] = value
    logged, tested, metrics = train_and_test(small('hvu', data, tmp_path, **changes), tmp_path)
    assert 'action_LOSS: ' in logged
    assert 'event_LOSS: 0.0000' in logged
    assert 'hvu/mAP' in logged
    assert list((tmp_path / 'work').glob('best_hvu_mAP_epoch_*.pth'))
    assert metrics['action_mAP'] > 0.95
    assert metrics['scene_mAP'] > 0.95
    assert 'event_mAP' not in metrics
    assert f'\nscene_mAP: {metrics["scene_mAP"]:.4f}\n' in tested
