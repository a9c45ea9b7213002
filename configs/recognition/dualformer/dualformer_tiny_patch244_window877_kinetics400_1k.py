_base_ = [
    '../../_base_/models/dualformer/dualformer_tiny.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/schedules/adamw_30e.py',
    '../../_base_/default_runtime.py',
]

# The 2-D weights to start from: --cfg-options model.backbone.pretrained=...
imagenet_weights = 'timm://twins_svt_small.in1k'

# Tiny warms up for 3 epochs instead of 2.5.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.1,
        by_epoch=True,
        begin=0,
        end=3,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', T_max=30, eta_min=0, by_epoch=True, begin=0, end=30),
]
