# MViTv2-S on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/schedules/finetune_30e.py',
]

model = dict(
    type='Recognizer3D',
    backbone=dict(type='MViT', arch='small', drop_path_rate=0.2),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=(114.75, 114.75, 114.75),
        std=(57.375, 57.375, 57.375),
        format_shape='NCTHW',
        blending=dict(
            type='RandomBatchAugment',
            augments=[
                dict(type='MixupBlending', alpha=0.8, num_classes=400),
                dict(type='CutmixBlending', alpha=1, num_classes=400),
            ],
        ),
    ),
    cls_head=dict(
        type='MViTHead',
        in_channels=768,
        num_classes=400,
        label_smooth_eps=0.1,
        average_clips='prob',
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
folder = 'mvit/converted'
load_from = f'{zoo}/{folder}/' + 'mvit-small-p244_16x4x1_kinetics400-rgb_20221021-9ebaaeed.pth'
