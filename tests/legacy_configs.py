"""Configs of mmaction2 0.x for tests: the ten published ones, and a small one."""

import json
from pathlib import Path

PUBLISHED = {
    name.removesuffix('.py'): values
    for name, values in json.loads(
        (Path(__file__).parent / 'data' / 'published_configs.json').read_text()
    ).items()
}
"""The ten published DualFormer configs, each with its bases resolved."""

PICO = """\
# A small model on Motion Digits, in the form of mmaction2 0.x throughout.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='DualFormer',
        video_size=(8, 40, 40),
        embed_dims=[32, 64],
        num_heads=[2, 4],
        mlp_ratios=[4, 4],
        depths=[2, 2],
        local_sizes=[(4, 5, 5), (4, 5, 5)],
        fine_pysizes=[(2, 5, 5), (2, 5, 5)],
        coarse_pysizes=[(2, 2, 2), None],
        drop_path_rate=0.0,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    cls_head=dict(type='I3DHead', in_channels=64, num_classes=8, dropout_ratio=0.0),
    test_cfg=dict(average_clips='prob', max_testing_views=4),
)
data_root = 'data/motion_digits'
ann_file_train = 'data/motion_digits/train.txt'
ann_file_val = 'data/motion_digits/val.txt'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(48, 48), keep_ratio=False),
    dict(type='RandomCrop', size=40),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs', 'label']),
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=3, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(48, 48), keep_ratio=False),
    dict(type='CenterCrop', crop_size=40),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs']),
]
held_out = dict(
    type='VideoDataset',
    ann_file=ann_file_val,
    data_prefix=data_root,
    pipeline=test_pipeline,
)
data = dict(
    videos_per_gpu=16,
    workers_per_gpu=1,
    test_dataloader=dict(videos_per_gpu=1),
    train=dict(
        type='VideoDataset',
        ann_file=ann_file_train,
        data_prefix=data_root,
        pipeline=train_pipeline,
    ),
    val=held_out,
    test=held_out,
)
evaluation = dict(interval=1, metrics=['top_k_accuracy', 'mean_class_accuracy'])
optimizer = dict(type='AdamW', lr=7e-4, weight_decay=0.05)
optimizer_config = dict(
    type='DistOptimizerHook', update_interval=2, grad_clip=dict(max_norm=5), use_fp16=False
)
lr_config = dict(policy='CosineAnnealing', min_lr=0, warmup='linear', warmup_iters=4)
total_epochs = 1
checkpoint_config = dict(interval=1)
log_config = dict(interval=20, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='nccl')
log_level = 'INFO'
load_from = None
resume_from = None
workflow = [('train', 1)]
"""


def write_published(name, folder, **changes):
    """Write one of the ten as a 0.x config; `changes` replace whole top-level keys."""
    path = Path(folder, f'{name}.py')
    values = {**PUBLISHED[name], **changes}
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in values.items()))
    return path


def write_pico(folder):
    """Write the small one."""
    path = Path(folder, 'dualformer_pico_motion_digits.py')
    path.write_text(PICO)
    return path
