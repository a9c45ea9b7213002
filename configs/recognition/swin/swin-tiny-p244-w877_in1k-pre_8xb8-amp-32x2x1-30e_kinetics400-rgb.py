# Video Swin-T on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='SwinTransformer3D',
        arch='tiny',
        pretrained2d=True,
        patch_size=(2, 4, 4),
        window_size=(8, 7, 7),
        mlp_ratio=4.0,
        qkv_bias=True,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.1,
        patch_norm=True,
    ),
    cls_head=dict(
        type='I3DHead',
        num_classes=400,
        in_channels=768,
        spatial_type='avg',
        dropout_ratio=0.5,
        average_clips='prob',
    ),
)

name = 'swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb'
load_from = f'{_base_.zoo}/swin/{name}/{name}_20220930-241016b2.pth'
