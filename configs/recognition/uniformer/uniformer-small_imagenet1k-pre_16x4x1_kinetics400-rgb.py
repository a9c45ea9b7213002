# UniFormer-S on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/schedules/finetune_30e.py',
]

model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='UniFormer',
        depth=(3, 4, 8, 3),
        embed_dim=(64, 128, 320, 512),
        head_dim=64,
        drop_path_rate=0.1,
    ),
    cls_head=dict(
        type='I3DHead', dropout_ratio=0.0, num_classes=400, in_channels=512, average_clips='prob'
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=(114.75, 114.75, 114.75),
        std=(57.375, 57.375, 57.375),
        format_shape='NCTHW',
    ),
)

changes = dict(
    SampleFrames=dict(clip_len=16, frame_interval=4),
)
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **changes.get(step['type'], {})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

zoo = 'https://download.openmmlab.com/mmaction/v1.0/recognition'
folder = 'uniformerv1'
load_from = (
    f'{zoo}/{folder}/'
    + 'uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-c630a037.pth'
)
