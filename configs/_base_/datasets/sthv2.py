# Something-Something V2 as videos: 32 frames spread over the whole clip; tested on three crops.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/sthv2}}'
# What goes to the left goes to the right in a mirrored clip.
mirrored = {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='UniformSample', clip_len=32),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5, flip_label_map=mirrored),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
sampled = dict(type='UniformSample', clip_len=32, test_mode=True)
opened, _, *rest = _base_.val_pipeline
val_pipeline = [opened, sampled, *rest]
opened, _, *rest = _base_.test_pipeline
rest[2] = dict(type='ThreeCrop', crop_size=224)
test_pipeline = [opened, sampled, *rest]

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
