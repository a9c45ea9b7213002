# DualFormer-T on Kinetics-400; the other sizes start from here.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='DualFormer',
        arch='tiny',
        video_size=(32, 224, 224),
        drop_path_rate=0.1,
    ),
    cls_head=dict(
        type='I3DHead',
        in_channels=512,
        num_classes=400,
        dropout_ratio=0.5,
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
    test_cfg=dict(average_clips='prob', max_testing_views=4),
)
