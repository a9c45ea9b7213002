# MViTv2-S on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_16x4.py',
    '../../_base_/models/recognizer3d.py',
]

augments = [
    dict(type='MixupBlending', alpha=0.8, num_classes=400),
    dict(type='CutmixBlending', alpha=1, num_classes=400),
]
model = dict(
    backbone=dict(type='MViT', arch='small', drop_path_rate=0.2),
    data_preprocessor=dict(
        mean=(114.75, 114.75, 114.75),
        std=(57.375, 57.375, 57.375),
        blending=dict(type='RandomBatchAugment', augments=augments),
    ),
    cls_head=dict(
        type='MViTHead',
        in_channels=768,
        num_classes=400,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
)

name = 'mvit-small-p244_16x4x1_kinetics400-rgb_20221021-9ebaaeed'
load_from = f'{_base_.zoo}/mvit/converted/{name}.pth'
