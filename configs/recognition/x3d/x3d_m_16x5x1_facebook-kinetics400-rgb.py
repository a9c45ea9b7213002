# X3D-M on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/schedules/finetune_30e.py',
]

model = dict(
    type='Recognizer3D',
    backbone=dict(type='X3D', gamma_w=1, gamma_b=2.25, gamma_d=2.2),
    cls_head=dict(
        type='X3DHead',
        in_channels=432,
        num_classes=400,
        spatial_type='avg',
        dropout_ratio=0.5,
        fc1_bias=False,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=(114.75, 114.75, 114.75),
        std=(57.38, 57.38, 57.38),
        format_shape='NCTHW',
    ),
)

changes = dict(
    SampleFrames=dict(clip_len=16, frame_interval=5),
)
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **changes.get(step['type'], {})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

zoo = 'https://download.openmmlab.com/mmaction/v1.0/recognition'
folder = 'x3d/facebook'
load_from = f'{zoo}/{folder}/' + 'x3d_m_16x5x1_facebook-kinetics400-rgb_20201027-3f42382a.pth'
