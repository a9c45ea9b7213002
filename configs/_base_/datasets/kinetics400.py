# Kinetics-400 as videos: 32 frames, every 2nd; tested on 4 clips of a center crop.
_base_ = 'clips.py'

data_root = '{{$DATA_ROOT:data/kinetics400}}'
# The folder in data_root, or anywhere, that the paths in the lists start from.
videos = 'videos'

clip = dict(clip_len=32, frame_interval=2, test_sampling='segment_centers')

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', **clip),
    dict(type='DecordDecode'),
    *_base_.train_crops,
]
val_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', **clip, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    *_base_.val_crops,
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', **clip, num_clips=4, test_mode=True),
    dict(type='DecordDecode'),
    *_base_.test_crops,
]

source = dict(type='VideoDataset', data_root=data_root, data_prefix=dict(video=videos))
train_dataloader = dict(dataset=dict(ann_file='train.txt', pipeline=train_pipeline, **source))
val_dataloader = dict(dataset=dict(ann_file='val.txt', pipeline=val_pipeline, **source))
test_dataloader = dict(dataset=dict(ann_file='val.txt', pipeline=test_pipeline, **source))
