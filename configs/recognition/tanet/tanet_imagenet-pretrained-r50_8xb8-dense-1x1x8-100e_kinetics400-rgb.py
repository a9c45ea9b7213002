# TANet with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_8segments.py',
    '../../_base_/models/recognizer2d.py',
]

model = dict(
    data_preprocessor=dict(mean=(123.675, 116.28, 103.5)),
    backbone=dict(type='TANet', depth=50, num_segments=8, tam_cfg=None),
    cls_head=dict(
        type='TSMHead',
        num_classes=400,
        in_channels=2048,
        spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1),
        dropout_ratio=0.5,
        init_std=0.001,
        average_clips='prob',
    ),
)

name = 'tanet_imagenet-pretrained-r50_8xb8-dense-1x1x8-100e_kinetics400-rgb'
load_from = f'{_base_.zoo}/tanet/{name}/{name}_20220919-a34346bc.pth'
