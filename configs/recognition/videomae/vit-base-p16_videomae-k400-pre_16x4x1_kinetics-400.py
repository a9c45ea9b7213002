# ViT-B of VideoMAE on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_16x4.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='VisionTransformer',
        img_size=224,
        patch_size=16,
        embed_dims=768,
        depth=12,
        num_heads=12,
        mlp_ratio=4,
        qkv_bias=True,
        num_frames=16,
        norm_cfg=dict(type='LN', eps=1e-06),
    ),
    cls_head=dict(type='TimeSformerHead', num_classes=400, in_channels=768, average_clips='prob'),
)

name = 'vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400_20221013-860a3cd3'
load_from = f'{_base_.zoo}/videomae/{name}.pth'
