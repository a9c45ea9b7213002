# Trains on two CPU cores in a few minutes: tools/quickstart.sh.
_base_ = [
    '../../_base_/models/dualformer/dualformer_pico.py',
    '../../_base_/datasets/motion_digits.py',
    '../../_base_/schedules/pico_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(cls_head=dict(num_classes=8))

default_hooks = dict(checkpoint=dict(interval=5))
