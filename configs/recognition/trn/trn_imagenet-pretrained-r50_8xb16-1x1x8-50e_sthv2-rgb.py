# TRN with ResNet-50 on Something-Something V2, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/sthv2.py',
    '../../_base_/models/recognizer2d.py',
]

model = dict(
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
)

segments = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
pack = [dict(type='FormatShape', input_format='NCHW'), dict(type='PackActionInputs')]
train_pipeline, val_pipeline, test_pipeline = (
    [steps[0], dict(segments, test_mode=test_mode), *steps[2:-2], *pack]
    for steps, test_mode in (
        (_base_.train_pipeline, False),
        (_base_.val_pipeline, True),
        (_base_.test_pipeline, True),
    )
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

name = 'trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb'
load_from = f'{_base_.zoo}/trn/{name}/{name}_20220815-e01617db.pth'
