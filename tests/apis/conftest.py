"""A recognizer small enough to build in every test, and a video for it."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmaction.apis import init_recognizer

CLASSES = 6


def tiny_config(**changes):
    """DualFormer of two stages and its test pipeline of 2 clips and 3 crops."""
    cfg = Config(
        dict(
            default_scope='mmaction',
            model=dict(
                type='Recognizer3D',
                backbone=dict(
                    type='DualFormer',
                    arch=dict(
                        embed_dims=[12, 24],
                        num_heads=[2, 4],
                        depths=[2, 2],
                        mlp_ratios=[2, 2],
                        local_sizes=[(2, 4, 4), (2, 2, 2)],
                        fine_pysizes=[(2, 2, 2), (2, 2, 2)],
                        coarse_pysizes=[(1, 1, 1), None],
                    ),
                    video_size=(4, 32, 32),
                ),
                cls_head=dict(
                    type='I3DHead',
                    num_classes=CLASSES,
                    in_channels=24,
                    init_std=1.0,
                    average_clips='prob',
                ),
                data_preprocessor=dict(
                    type='ActionDataPreprocessor',
                    mean=[120.0] * 3,
                    std=[60.0] * 3,
                    format_shape='NCTHW',
                ),
            ),
            test_pipeline=[
                dict(type='DecordInit'),
                dict(
                    type='SampleFrames', clip_len=4, frame_interval=2, num_clips=2, test_mode=True
                ),
                dict(type='DecordDecode'),
                dict(type='Resize', scale=(-1, 32)),
                dict(type='ThreeCrop', crop_size=32),
                dict(type='FormatShape', input_format='NCTHW'),
                dict(type='PackActionInputs'),
            ],
        )
    )
    cfg.merge_from_dict(changes)
    return cfg


@pytest.fixture
def model():
    torch.manual_seed(3)
    return init_recognizer(tiny_config(), device='cpu')


@pytest.fixture
def array():
    """A video (20, 48, 64, 3) of slow noise."""
    draws = np.random.default_rng(0)
    coarse = draws.integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


@pytest.fixture
def folder(tmp_path, array):
    """The same as PNG files, which lose nothing."""
    import cv2

    path = tmp_path / 'frames'
    path.mkdir()
    for i, frame in enumerate(array):
        cv2.imwrite(str(path / f'img_{i + 1:05d}.png'), frame[..., ::-1])
    return path
