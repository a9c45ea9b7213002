_base_ = [
    '../../_base_/models/dualformer/dualformer_tiny.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/schedules/adamw_30e.py',
    '../../_base_/default_runtime.py',
]

# The 2-D weights to start from: --cfg-options model.backbone.pretrained=...
imagenet_weights = 'timm://twins_svt_small.in1k'

# Tiny warms up for 3 epochs instead of 2.5.
param_scheduler = [dict(_base_.param_scheduler[0], end=3), _base_.param_scheduler[1]]
