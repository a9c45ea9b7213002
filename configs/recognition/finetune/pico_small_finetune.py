# DualFormer pico on small videos (up to 112 pixels), 8 x 40 x 40.
_base_ = 'pico_finetune.py'

model = dict(backbone=dict(video_size=(8, 40, 40)))

resize = dict(type='Resize', scale=(48, 48), keep_ratio=False)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='UniformSample', clip_len=8),
    dict(type='DecordDecode'),
    resize,
    dict(type='RandomCrop', size=40),
    dict(type='Flip', flip_ratio=0.5, flip_label_map='names'),
    *_base_.pack,
]
val_pipeline, test_pipeline = (
    [
        dict(type='DecordInit'),
        dict(type='UniformSample', clip_len=8, num_clips=num_clips, test_mode=True),
        dict(type='DecordDecode'),
        resize,
        dict(type='CenterCrop', crop_size=40),
        *_base_.pack,
    ]
    for num_clips in (1, 2)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
