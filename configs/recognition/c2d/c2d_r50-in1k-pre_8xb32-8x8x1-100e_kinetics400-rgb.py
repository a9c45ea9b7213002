# C2D with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_8x8.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(type='C2D', depth=50, norm_eval=False),
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

name = 'c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb'
load_from = f'{_base_.zoo}/c2d/{name}/{name}_20221027-3ca304fa.pth'
