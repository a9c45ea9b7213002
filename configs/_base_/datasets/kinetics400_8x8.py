# Kinetics-400 as videos: 8 frames, every 8th.
_base_ = 'kinetics400.py'

changes = dict(SampleFrames=dict(clip_len=8, frame_interval=8))
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **changes.get(step['type'], {})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
