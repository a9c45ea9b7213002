# Motion Digits (tools/data/motion_digits): 8 frames, every 2nd; tested on 3 clips.
_base_ = 'clips.py'

data_root = '{{$DATA_ROOT:data/motion_digits}}'

clip = dict(type='SampleFrames', clip_len=8, frame_interval=2, test_sampling='segment_centers')
resize = dict(type='Resize', scale=(48, 48), keep_ratio=False)
# A mirrored motion is another class. Names, not numbers: on other classes they swap nothing.
turns = ('turning clockwise', 'turning counter-clockwise')
mirrored = {
    a: b for pair in (('moving left', 'moving right'), turns) for a, b in (pair, pair[::-1])
}
upside_down = {
    a: b for pair in (('moving up', 'moving down'), turns) for a, b in (pair, pair[::-1])
}

train_pipeline = [
    dict(type='DecordInit'),
    clip,
    dict(type='DecordDecode'),
    resize,
    dict(type='RandomCrop', size=40),
    dict(type='Flip', flip_ratio=0.5, flip_label_map=mirrored),
    dict(type='Flip', flip_ratio=0.5, direction='vertical', flip_label_map=upside_down),
    *_base_.pack,
]
val_pipeline, test_pipeline = (
    [
        dict(type='DecordInit'),
        dict(num_clips=num_clips, test_mode=True, **clip),
        dict(type='DecordDecode'),
        resize,
        dict(type='CenterCrop', crop_size=40),
        *_base_.pack,
    ]
    for num_clips in (1, 3)
)

source = dict(type='VideoDataset', data_root=data_root)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(ann_file='train.txt', pipeline=train_pipeline, **source),
)
val_dataloader = dict(
    batch_size=40,
    num_workers=1,
    dataset=dict(ann_file='val.txt', pipeline=val_pipeline, **source),
)
test_dataloader = dict(
    batch_size=20,
    num_workers=1,
    dataset=dict(ann_file='val.txt', pipeline=test_pipeline, **source),
)
