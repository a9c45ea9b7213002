# C3D on UCF101, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/ucf101.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
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
    data_preprocessor=dict(mean=(104, 117, 128), std=(1, 1, 1)),
)

clip = dict(type='SampleFrames', clip_len=16, frame_interval=1)
# The linear layers of the backbone take crops of 112 x 112 only.
decoded = [dict(type='RawFrameDecode'), dict(type='Resize', scale=(-1, 128))]
center = [dict(type='CenterCrop', crop_size=112), *_base_.pack]
crops = [dict(type='RandomCrop', size=112), dict(type='Flip', flip_ratio=0.5), *_base_.pack]
train_pipeline = [clip, *decoded, *crops]
val_pipeline = [dict(clip, num_clips=1, test_mode=True), *decoded, *center]
test_pipeline = [dict(clip, num_clips=10, test_mode=True), *decoded, *center]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

name = 'c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb'
load_from = f'{_base_.zoo}/c3d/{name}/{name}_20220811-31723200.pth'
