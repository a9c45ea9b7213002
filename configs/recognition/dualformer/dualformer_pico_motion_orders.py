# The order of three motions (docs/baselines.md): by the recipe of Motion Digits.
_base_ = [
    '../../_base_/models/dualformer/dualformer_pico.py',
    '../../_base_/datasets/motion_orders.py',
    '../../_base_/schedules/pico_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(cls_head=dict(num_classes=6))

default_hooks = dict(checkpoint=dict(interval=5))
