# Fine-tuned on folders of frames, which are normalized in another way.
_base_ = 'dualformer_small_patch244_window877_kinetics400_1k.py'

model = dict(backbone=dict(drop_path_rate=0.2), cls_head=dict(num_classes=48))
img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=False)
clip = dict(clip_len=32, frame_interval=4)
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
root = 'data/diving48'
held_out = dict(
    _delete_=True,
    type='RawframeDataset',
    ann_file=f'{root}/diving48_val_list_rawframes.txt',
    data_prefix=f'{root}/rawframes',
)
data = dict(
    train=dict(
        _delete_=True,
        type='RawframeDataset',
        ann_file=f'{root}/diving48_train_list_rawframes.txt',
        data_prefix=f'{root}/rawframes',
        pipeline=train_pipeline,
    ),
    val=dict(pipeline=val_pipeline, **held_out),
    test=dict(pipeline=test_pipeline, **held_out),
)
evaluation = dict(interval=2)
lr_config = dict(warmup_iters=1)
optimizer_config = dict(update_interval=1)
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
work_dir = './work_dirs/diving48_dualformer_small'
