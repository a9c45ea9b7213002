_base_ = [
    '../../_base_/models/dualformer/dualformer_base.py',
    '../../_base_/datasets/kinetics600.py',
    '../../_base_/schedules/adamw_30e.py',
    '../../_base_/default_runtime.py',
]

# The paper starts from ImageNet-22K weights, which are not public; these of ImageNet-1K are near.
imagenet_weights = 'timm://twins_svt_large.in1k'

model = dict(cls_head=dict(num_classes=600))

# 8 clips per GPU and update, as 2 x 4.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2, optimizer=dict(lr=5e-4, weight_decay=0.05))
