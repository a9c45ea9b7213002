# Clips of your own for small networks: 8 frames spread over each video; tested on 2 such clips.
_base_ = 'clips.py'

data_root = 'data/my_clips'

resize = dict(type='Resize', scale=(96, 96), keep_ratio=False)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='UniformSample', clip_len=8),
    dict(type='DecordDecode'),
    resize,
    dict(type='RandomCrop', size=80),
    # Where the names of the classes tell a direction, labels swap or clips stay as they are.
    dict(type='Flip', flip_ratio=0.5, flip_label_map='names'),
    *_base_.pack,
]
val_pipeline, test_pipeline = (
    [
        dict(type='DecordInit'),
        dict(type='UniformSample', clip_len=8, num_clips=num_clips, test_mode=True),
        dict(type='DecordDecode'),
        resize,
        dict(type='CenterCrop', crop_size=80),
        *_base_.pack,
    ]
    for num_clips in (1, 2)
)

source = dict(type='VideoDataset', data_root=data_root, data_prefix=dict(video=''))
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(ann_file='train.txt', pipeline=train_pipeline, **source),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(ann_file='val.txt', pipeline=val_pipeline, **source),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(ann_file='test.txt', pipeline=test_pipeline, **source),
)
