# Something-Something V1 as frames: 32 frames spread over the whole clip; tested on three crops.
_base_ = 'diving48.py'

data_root = '{{$DATA_ROOT:data/sthv1}}'
# What goes to the left goes to the right in a mirrored clip; classes in the order of their file.
mirrored = {2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52}

flip = dict(type='Flip', flip_ratio=0.5, flip_label_map=mirrored)
train_pipeline = [
    dict(type='UniformSample', clip_len=32),
    *(flip if step['type'] == 'Flip' else step for step in _base_.train_pipeline[1:]),
]
tested = dict(type='UniformSample', clip_len=32, test_mode=True)
val_pipeline = [tested, *_base_.val_pipeline[1:]]
test_pipeline = [tested, *_base_.test_pipeline[1:]]

jpegs = dict(data_root=data_root, filename_tmpl='{:05}.jpg')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **jpegs))
val_dataloader = dict(dataset=dict(ann_file='val_rawframes.txt', pipeline=val_pipeline, **jpegs))
test_dataloader = dict(dataset=dict(ann_file='val_rawframes.txt', pipeline=test_pipeline, **jpegs))
