# TRN with ResNet-50 on Something-Something V2, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/sthv2.py',
    '../../_base_/schedules/finetune_30e.py',
]

model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', depth=50, norm_eval=False, partial_bn=True),
    cls_head=dict(
        type='TRNHead',
        num_classes=174,
        in_channels=2048,
        num_segments=8,
        spatial_type='avg',
        relation_type='TRNMultiScale',
        hidden_dim=256,
        dropout_ratio=0.8,
        init_std=0.001,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        format_shape='NCHW',
    ),
)

segments = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
changes = dict(FormatShape=dict(input_format='NCHW'))
train_pipeline, val_pipeline, test_pipeline = (
    [
        dict(segments, test_mode=step.get('test_mode', False))
        if step['type'] == 'UniformSample'
        else dict(step, **changes.get(step['type'], {}))
        for step in steps
    ]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

zoo = 'https://download.openmmlab.com/mmaction/v1.0/recognition'
name = 'trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb'
load_from = f'{zoo}/trn/{name}/{name}_20220815-e01617db.pth'
