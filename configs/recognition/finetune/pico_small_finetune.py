# DualFormer pico on small videos (up to 112 pixels), 8 x 40 x 40.
_base_ = 'pico_finetune.py'

model = dict(backbone=dict(video_size=(8, 40, 40)))

sizes = dict(Resize=dict(scale=(48, 48)), RandomCrop=dict(size=40), CenterCrop=dict(crop_size=40))
train_pipeline, val_pipeline, test_pipeline = (
    [dict(step, **sizes.get(step['type'], {})) for step in steps]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
