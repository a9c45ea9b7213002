# UniFormerV2-B on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400_8x8.py',
    '../../_base_/models/recognizer3d.py',
]

model = dict(
    backbone=dict(
        type='UniFormerV2',
        input_resolution=224,
        patch_size=16,
        width=768,
        layers=12,
        heads=12,
        t_size=8,
        dw_reduction=1.5,
        backbone_drop_path_rate=0.0,
        temporal_downsample=False,
        no_lmhra=True,
        double_lmhra=True,
        return_list=(8, 9, 10, 11),
        n_layers=4,
        n_dim=768,
        n_head=12,
        mlp_factor=4.0,
        drop_path_rate=0.0,
        mlp_dropout=(0.5, 0.5, 0.5, 0.5),
        clip_pretrained=False,
    ),
    cls_head=dict(
        type='UniFormerHead',
        dropout_ratio=0.5,
        num_classes=400,
        in_channels=768,
        average_clips='prob',
    ),
    data_preprocessor=dict(mean=(114.75, 114.75, 114.75), std=(57.375, 57.375, 57.375)),
)

name = 'uniformerv2-base-p16-res224_clip-kinetics710-pre_8xb32-u8_kinetics400-rgb'
load_from = f'{_base_.zoo}/uniformerv2/{name}/{name}_20230313-75be0806.pth'
