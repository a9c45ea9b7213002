model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='DualFormer',
        video_size=(32, 224, 224),
        patch_size=(2, 4, 4),
        in_chans=3,
        num_classes=400,
        embed_dims=[64, 128, 256, 512],
        num_heads=[2, 4, 8, 16],
        mlp_ratios=[4, 4, 4, 4],
        depths=[2, 2, 10, 4],
        qkv_bias=True,
        drop_path_rate=0.1,
        pretrained=None,
        pretrained2d=True,
    ),
    cls_head=dict(
        type='I3DHead', in_channels=512, num_classes=400, spatial_type='avg', dropout_ratio=0.5
    ),
    test_cfg=dict(average_clips='prob', max_testing_views=4),
)
