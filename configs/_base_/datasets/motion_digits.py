# Motion Digits (tools/data/motion_digits): 8 frames, every 2nd; tested on 3 clips.
data_root = '{{$DATA_ROOT:data/motion_digits}}'

clip = dict(clip_len=8, frame_interval=2, test_sampling='segment_centers')
size = dict(scale=(48, 48), keep_ratio=False)
# A mirrored motion is another class: left and right, up and down, clockwise and counter-clockwise.
mirrored = {0: 1, 1: 0, 4: 5, 5: 4}
upside_down = {2: 3, 3: 2, 4: 5, 5: 4}

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', **clip),
    dict(type='DecordDecode'),
    dict(type='Resize', **size),
    dict(type='RandomCrop', size=40),
    dict(type='Flip', flip_ratio=0.5, flip_label_map=mirrored),
    dict(type='Flip', flip_ratio=0.5, direction='vertical', flip_label_map=upside_down),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
val_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', **clip, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', **size),
    dict(type='CenterCrop', crop_size=40),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', **clip, num_clips=3, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', **size),
    dict(type='CenterCrop', crop_size=40),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(
        type='VideoDataset',
        data_root=data_root,
        ann_file='train.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=40,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        data_root=data_root,
        ann_file='val.txt',
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=20,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        data_root=data_root,
        ann_file='val.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
