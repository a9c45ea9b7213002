# ir-CSN with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='ResNet3dCSN',
        pretrained2d=False,
        depth=50,
        with_pool2=False,
        bottleneck_mode='ir',
        norm_eval=True,
        zero_init_residual=False,
        bn_frozen=True,
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
    test_cfg=dict(max_testing_views=10),
)

name = 'ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb'
load_from = f'{_base_.zoo}/csn/{name}/{name}_20220811-44395bae.pth'
