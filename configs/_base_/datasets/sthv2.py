# Something-Something V2 as videos: 32 frames spread over the whole clip; tested on three crops.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/sthv2}}'
# What goes to the left goes to the right in a mirrored clip.
mirrored = {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}

opened, _, decoded, *crops = _base_.train_pipeline
flip = dict(type='Flip', flip_ratio=0.5, flip_label_map=mirrored)
train_pipeline = [
    opened,
    dict(type='UniformSample', clip_len=32),
    decoded,
    *(flip if step['type'] == 'Flip' else step for step in crops),
]
sampled = dict(type='UniformSample', clip_len=32, test_mode=True)
val_pipeline = [opened, sampled, *_base_.val_pipeline[2:]]
test_pipeline = [opened, sampled, *_base_.test_pipeline[2:]]
test_pipeline[4] = dict(type='ThreeCrop', crop_size=224)

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
