# DualFormer-T on UCF101: clips of 16 frames.
_base_ = 'dualformer_small_patch244_window877_ucf101.py'

model = dict(
    backbone=dict(arch='tiny', video_size=(16, 224, 224), drop_path_rate=0.2),
    cls_head=dict(in_channels=512),
)

train_pipeline, val_pipeline, test_pipeline = (
    [dict(steps[0], clip_len=16), *steps[1:]]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
load_from = 'checkpoints/k400/dualformer_tiny_patch244_window877.pth'
