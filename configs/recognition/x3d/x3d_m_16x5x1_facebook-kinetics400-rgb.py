# X3D-M on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_16x5.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
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
    data_preprocessor=dict(mean=(114.75, 114.75, 114.75), std=(57.38, 57.38, 57.38)),
)

name = 'x3d_m_16x5x1_facebook-kinetics400-rgb_20201027-3f42382a'
load_from = f'{_base_.zoo}/x3d/facebook/{name}.pth'
