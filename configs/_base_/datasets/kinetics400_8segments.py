# Kinetics-400 for 2-D networks: one frame of each of 8 segments of a video.
_base_ = 'kinetics400.py'

changes = dict(
    SampleFrames=dict(clip_len=1, frame_interval=1, num_clips=8),
    FormatShape=dict(input_format='NCHW'),
)
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **changes.get(step['type'], {})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
