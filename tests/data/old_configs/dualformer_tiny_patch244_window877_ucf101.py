_base_ = 'dualformer_small_patch244_window877_ucf101.py'

model = dict(
    backbone=dict(
        video_size=(16, 224, 224),
        embed_dims=[64, 128, 256, 512],
        num_heads=[2, 4, 8, 16],
        depths=[2, 2, 10, 4],
        drop_path_rate=0.2,
    ),
    cls_head=dict(in_channels=512),
)
img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=False)
clip = dict(clip_len=16, frame_interval=4)
last = [
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs', 'label']),
]
train_pipeline = [
    dict(type='SampleFrames', **clip, num_clips=1),
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    *last,
]
val_pipeline = [
    dict(type='SampleFrames', **clip, num_clips=1, test_mode=True),
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    *last,
]
test_pipeline = [
    dict(type='SampleFrames', **clip, num_clips=4, test_mode=True),
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
    *last,
]
data = dict(
    train=dict(pipeline=train_pipeline),
    val=dict(pipeline=val_pipeline),
    test=dict(pipeline=test_pipeline),
)
load_from = 'checkpoints/k400/dualformer_tiny_patch244_window877.pth'
work_dir = './work_dirs/ucf101_dualformer_tiny'
