# UniFormer-S on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_16x4.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='UniFormer',
        depth=(3, 4, 8, 3),
        embed_dim=(64, 128, 320, 512),
        head_dim=64,
        drop_path_rate=0.1,
    ),
    cls_head=dict(
        type='I3DHead', dropout_ratio=0.0, num_classes=400, in_channels=512, average_clips='prob'
    ),
    data_preprocessor=dict(mean=(114.75, 114.75, 114.75), std=(57.375, 57.375, 57.375)),
)

name = 'uniformer-small_imagenet1k-pre_16x4x1_kinetics400-rgb_20221219-c630a037'
load_from = f'{_base_.zoo}/uniformerv1/{name}.pth'
