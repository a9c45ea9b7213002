_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/schedules/adamw_30e.py',
    '../../_base_/default_runtime.py',
]

# The 2-D weights to start from: --cfg-options model.backbone.pretrained=...
imagenet_weights = 'timm://twins_svt_base.in1k'

# 8 clips per GPU and update, as 2 x 4.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=2)
