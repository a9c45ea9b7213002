"""Datasets and pipelines of 0.x configs."""

import pytest
import torch

from mmaction.registry import MODELS


def test_missing_val_or_test_list_is_named(changed):
    cfg = changed('data = dict(val=None)')
    assert cfg.val_dataloader is cfg.val_cfg is cfg.val_evaluator is None
    assert cfg.default_hooks.checkpoint.get('save_best') is None


def test_wrapped_and_listed_datasets(changed):
    cfg = changed(
        "one = dict(type='VideoDataset', ann_file='a', data_prefix='b',"
        'pipeline={{_base_.train_pipeline}})\n'
        "data = dict(train=dict(_delete_=True, type='RepeatDataset', times=3, dataset=one),"
        'val=[one, one])'
    )
    repeated = cfg.train_dataloader.dataset
    assert (repeated.type, repeated.times) == ('RepeatDataset', 3)
    assert repeated.dataset.pipeline[-1] == dict(type='PackActionInputs')
    both = cfg.val_dataloader.dataset
    assert both.type == 'ConcatDataset'
    assert [part.data_prefix.video for part in both.datasets] == ['b', 'b']
    assert all(part.test_mode for part in both.datasets)


@pytest.mark.parametrize('to_bgr', [False, True])
def test_clips_are_normalized_as_by_normalize(changed, to_bgr):
    cfg = changed(
        f'norm = dict(type="Normalize", mean=[1, 2, 3], std=[4, 5, 6], to_bgr={to_bgr})\n'
        'train_pipeline = [dict(type="DecordInit"), norm, '
        'dict(type="FormatShape", input_format="NCTHW"), dict(type="Collect", keys=["imgs"])]\n'
        'data = dict(train=dict(pipeline=train_pipeline), val=dict(pipeline=train_pipeline),'
        'test=dict(pipeline=train_pipeline))'
    )
    clip = torch.randint(0, 256, (1, 3, 2, 4, 5), dtype=torch.uint8)
    made = MODELS.build(cfg.model.data_preprocessor)(dict(inputs=[clip]))['inputs'][0]
    channels = clip.float().flip(1) if to_bgr else clip.float()
    vector = torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])
    mean, std = (v.view(1, 3, 1, 1, 1) for v in vector)
    torch.testing.assert_close(made, (channels - mean) / std)


def test_meta_keys_of_collect_stay(changed):
    cfg = changed(
        'data = dict(test=dict(pipeline=[dict(type="DecordInit"), '
        'dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], '
        'to_bgr=False), '
        'dict(type="Collect", keys=["imgs", "label"], meta_keys=["filename", "my_key"])]))'
    )
    assert cfg.test_pipeline[-1].meta_keys == ('img_shape', 'filename', 'sample_idx', 'my_key')


@pytest.mark.parametrize('layout', ['NCHW', 'NCTHW'])
def test_channels_are_where_format_shape_puts_them(changed, layout):
    cfg = changed(
        'train_pipeline = [dict(type="DecordInit"), '
        f'dict(type="FormatShape", input_format="{layout}"), dict(type="Collect", keys=["imgs"])]\n'
        'data = dict(train=dict(pipeline=train_pipeline), val=dict(pipeline=train_pipeline),'
        'test=dict(pipeline=train_pipeline))'
    )
    assert cfg.model.data_preprocessor.format_shape == layout
