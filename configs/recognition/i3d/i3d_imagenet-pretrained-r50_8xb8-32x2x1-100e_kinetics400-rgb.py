# I3D with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='ResNet3d',
        pretrained2d=True,
        depth=50,
        conv1_kernel=(5, 7, 7),
        conv1_stride_t=2,
        pool1_stride_t=2,
        conv_cfg=dict(type='Conv3d'),
        norm_eval=False,
        inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
        zero_init_residual=False,
    ),
    cls_head=dict(
        type='I3DHead',
        num_classes=400,
        in_channels=2048,
        spatial_type='avg',
        dropout_ratio=0.5,
        init_std=0.01,
        average_clips='prob',
    ),
)

name = 'i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb'
load_from = f'{_base_.zoo}/i3d/{name}/{name}_20220812-e213c223.pth'
