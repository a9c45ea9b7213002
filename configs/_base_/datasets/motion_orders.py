# Motion Orders (make_motion_digits.py --orders): 8 frames spread over the whole of the clip, where
# its order is. A mirrored clip keeps its label: which way a digit moves does not matter.
_base_ = 'motion_digits.py'

data_root = '{{$DATA_ROOT:data/motion_orders}}'

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='UniformSample', clip_len=8),
    dict(type='DecordDecode'),
    _base_.resize,
    dict(type='RandomCrop', size=40),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='Flip', flip_ratio=0.5, direction='vertical'),
    *_base_.pack,
]
val_pipeline, test_pipeline = (
    [
        dict(type='DecordInit'),
        dict(type='UniformSample', clip_len=8, num_clips=num_clips, test_mode=True),
        dict(type='DecordDecode'),
        _base_.resize,
        dict(type='CenterCrop', crop_size=40),
        *_base_.pack,
    ]
    for num_clips in (1, 3)
)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
