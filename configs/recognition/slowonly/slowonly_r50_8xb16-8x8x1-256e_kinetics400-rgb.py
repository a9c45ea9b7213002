# SlowOnly with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_8x8.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='ResNet3dSlowOnly',
        depth=50,
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        norm_eval=False,
    ),
    cls_head=dict(
        type='I3DHead',
        num_classes=400,
        in_channels=2048,
        spatial_type='avg',
        dropout_ratio=0.5,
        average_clips='prob',
    ),
)

name = 'slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb'
load_from = f'{_base_.zoo}/slowonly/{name}/{name}_20220901-2132fc87.pth'
