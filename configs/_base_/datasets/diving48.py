# Diving48 V2 as frames: 32 frames, every 4th; validated on 4 clips, tested on 4 of three crops.
_base_ = 'clips.py'

data_root = '{{$DATA_ROOT:data/diving48}}'
# The folder in data_root, or anywhere, that the paths in the lists start from.
frames = 'rawframes'

clip = dict(clip_len=32, frame_interval=4, test_sampling='segment_centers')
four_clips = dict(type='SampleFrames', **clip, num_clips=4, test_mode=True)

# No class tells left from right: clips are flipped.
train_pipeline = [
    dict(type='SampleFrames', **clip),
    dict(type='RawFrameDecode'),
    *_base_.train_crops,
]
val_pipeline = [four_clips, dict(type='RawFrameDecode'), *_base_.val_crops]
test_pipeline = [
    four_clips,
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='ThreeCrop', crop_size=224),
    *_base_.pack,
]

source = dict(type='RawframeDataset', data_root=data_root, data_prefix=dict(img=frames))
held_out = dict(ann_file='test_rawframes.txt', **source)
train_dataloader = dict(
    dataset=dict(ann_file='train_rawframes.txt', pipeline=train_pipeline, **source)
)
val_dataloader = dict(dataset=dict(pipeline=val_pipeline, **held_out))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **held_out))
