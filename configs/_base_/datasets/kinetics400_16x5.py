# Kinetics-400 as videos: 16 frames, every 5th.
_base_ = 'kinetics400.py'

changes = dict(SampleFrames=dict(clip_len=16, frame_interval=5))
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **changes.get(step['type'], {})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
