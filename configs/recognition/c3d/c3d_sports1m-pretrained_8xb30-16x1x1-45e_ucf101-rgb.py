# C3D on UCF101, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/default_runtime.py',
    '../../_base_/datasets/ucf101.py',
    '../../_base_/schedules/finetune_30e.py',
]

model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='C3D',
        style='pytorch',
        conv_cfg=dict(type='Conv3d'),
        norm_cfg=None,
        act_cfg=dict(type='ReLU'),
        dropout_ratio=0.5,
        init_std=0.005,
    ),
    cls_head=dict(
        type='I3DHead',
        num_classes=101,
        in_channels=4096,
        spatial_type=None,
        dropout_ratio=0.5,
        init_std=0.01,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=(104, 117, 128), std=(1, 1, 1), format_shape='NCTHW'
    ),
)

# The linear layers of the backbone take crops of 112 x 112 only.
resize = dict(type='Resize', scale=(-1, 128))
center = [resize, dict(type='CenterCrop', crop_size=112)]
clip = dict(type='SampleFrames', clip_len=16, frame_interval=1)
train_pipeline = [
    clip,
    dict(type='RawFrameDecode'),
    resize,
    dict(type='RandomCrop', size=112),
    dict(type='Flip', flip_ratio=0.5),
    *_base_.pack,
]
val_pipeline = [
    dict(clip, num_clips=1, test_mode=True),
    dict(type='RawFrameDecode'),
    *center,
    *_base_.pack,
]
test_pipeline = [
    dict(clip, num_clips=10, test_mode=True),
    dict(type='RawFrameDecode'),
    *center,
    *_base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

zoo = 'https://download.openmmlab.com/mmaction/v1.0/recognition'
name = 'c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb'
load_from = f'{zoo}/c3d/{name}/{name}_20220811-31723200.pth'
