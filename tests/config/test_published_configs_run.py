"""Each published 0.x config, as it is and at small size, trains and tests."""

import math

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from PIL import Image

from mmaction.engine.optimizers.amp import set_precision
from mmaction.registry import DATASETS, MODELS
from tests.legacy_configs import PUBLISHED
from tests.video_factory import frame_pixels, write_video


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    """Two videos, and the same as folders of frames, with a list of each."""
    root = tmp_path_factory.mktemp('media')
    for clip in 'ab':
        write_video(root / f'{clip}.mp4', 20, 64, 40)
        (root / clip).mkdir()
        for number in range(1, 21):
            image = Image.fromarray(frame_pixels(number, 64, 40))
            image.save(root / clip / f'img_{number:05}.jpg')
    (root / 'VideoDataset.txt').write_text('a.mp4 0\nb.mp4 1\n')
    (root / 'RawframeDataset.txt').write_text('a 20 0\nb 20 1\n')
    return root


def reduce(cfg, media):
    """Fewer blocks, a quarter of the channels, and clips of 4 frames of 32 x 32."""
    backbone, head = cfg.model.backbone, cfg.model.cls_head
    backbone.depths = [2, 2, 2, 2]
    backbone.embed_dims = [dim // 4 for dim in backbone.embed_dims]
    head.in_channels //= 4
    if cfg.model.type == 'Recognizer3D_TL':
        cfg.model.teacher = dict(
            type='Recognizer3D',
            backbone=dict(backbone),
            cls_head=dict(
                type='I3DHead', num_classes=head.num_classes, in_channels=head.in_channels
            ),
            data_preprocessor=cfg.model.data_preprocessor,
        )
    for split in ('train', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.ann_file = str(media / f'{dataset.type}.txt')
        (kind,) = dataset.data_prefix
        dataset.data_prefix = {kind: str(media)}
        for step in dataset.pipeline:
            if 'clip_len' in step:
                step.clip_len = 4
            if 'crop_size' in step:
                step.crop_size = 32
            if step.type == 'Resize':
                step.scale = (-1, 32) if step.scale[0] == -1 else (32, 32)


# The migrated form is read as the same, and our config has the same recipe:
# test_published_configs.py.
@pytest.mark.parametrize('name', PUBLISHED)
def test_one_update_and_one_test_batch(name, config, media):
    cfg = config(name, 'as it is')
    reduce(cfg, media)
    set_precision(cfg, 'off')
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    before = {key: value.clone() for key, value in model.named_parameters()}
    steps = PUBLISHED[name]['optimizer_config']['update_interval']
    wrapper.initialize_count_status(model, 0, 2 * steps)
    for step in range(steps):
        assert all(torch.equal(value, before[key]) for key, value in model.named_parameters())
        batch = pseudo_collate([dataset[step % 2], dataset[(step + 1) % 2]])
        logged = model.train_step(batch, wrapper)
        assert math.isfinite(logged['loss'])
    same = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    # Softmax does not see what all keys have in common.
    assert not [key for key in same if not key.endswith(('kv.bias', 'lr.0.bias'))]

    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[1]])
    published = [step['type'] for step in PUBLISHED[name]['data']['test']['pipeline']]
    views = 4 * (3 if 'ThreeCrop' in published else 1)
    assert [tuple(clip.shape) for clip in batch['inputs']] == [(views, 3, 4, 32, 32)] * 2
    for sample, label in zip(model.eval().test_step(batch), (0, 1), strict=True):
        assert sample.gt_label.tolist() == [label]
        assert sample.pred_score.shape == (PUBLISHED[name]['model']['cls_head']['num_classes'],)
        assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
