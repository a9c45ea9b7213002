# TPN on SlowOnly with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = '../slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb.py'

model = dict(
    backbone=dict(out_indices=(2, 3)),
    neck=dict(
        type='TPN',
        in_channels=(1024, 2048),
        out_channels=1024,
        spatial_modulation_cfg=dict(in_channels=(1024, 2048), out_channels=2048),
        temporal_modulation_cfg=dict(downsample_scales=(8, 8)),
        upsample_cfg=dict(scale_factor=(1, 1, 1)),
        downsample_cfg=dict(downsample_scale=(1, 1, 1)),
        level_fusion_cfg=dict(
            in_channels=(1024, 1024),
            mid_channels=(1024, 1024),
            out_channels=2048,
            downsample_scales=((1, 1, 1), (1, 1, 1)),
        ),
        aux_head_cfg=dict(out_channels=400, loss_weight=0.5),
    ),
    cls_head=dict(type='TPNHead', consensus=dict(type='AvgConsensus', dim=1), init_std=0.01),
    test_cfg=dict(fcn_test=True),
)

name = 'tpn-slowonly_imagenet-pretrained-r50_8xb8-8x8x1-150e_kinetics400-rgb'
load_from = f'{_base_.zoo}/tpn/{name}/{name}_20220913-fed3f4c1.pth'
