# TSM with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_8segments.py',
    '../../_base_/models/recognizer2d.py',
]

model = dict(
    backbone=dict(type='ResNetTSM', depth=50, norm_eval=False, shift_div=8),
    cls_head=dict(
        type='TSMHead',
        num_classes=400,
        in_channels=2048,
        spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1),
        dropout_ratio=0.5,
        init_std=0.001,
        is_shift=True,
        average_clips='prob',
    ),
)

name = 'tsm_imagenet-pretrained-r50_8xb16-1x1x8-100e_kinetics400-rgb'
load_from = f'{_base_.zoo}/tsm/{name}/{name}_20220831-a6db1e5d.pth'
