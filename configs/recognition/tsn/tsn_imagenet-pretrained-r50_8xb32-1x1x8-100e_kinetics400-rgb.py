# TSN with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_8segments.py',
    '../../_base_/models/recognizer2d.py',
]

model = dict(
    backbone=dict(type='ResNet', depth=50, norm_eval=False),
    cls_head=dict(
        type='TSNHead',
        num_classes=400,
        in_channels=2048,
        spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1),
        dropout_ratio=0.4,
        init_std=0.01,
        average_clips='prob',
    ),
)

name = 'tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb'
load_from = f'{_base_.zoo}/tsn/{name}/{name}_20220906-2692d16c.pth'
