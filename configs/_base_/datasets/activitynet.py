# ActivityNet 1.3: trained and tested on clips that hold one action; 32 frames, every 4th.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/activitynet}}'

clip = dict(frame_interval=4)
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **clip) if step['type'] == 'SampleFrames' else step for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
test_pipeline[4] = dict(type='ThreeCrop', crop_size=224)

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
