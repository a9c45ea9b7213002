# A small network of each family of mmaction2's from scratch: FAMILY=tsm python tools/train.py ...
# docs/model_zoo.md has the accuracies that were measured.
_base_ = [
    '../../_base_/models/mmaction2_small.py',
    '../../_base_/datasets/motion_digits.py',
    '../../_base_/schedules/pico_30e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader, val_dataloader, test_dataloader = (
    dict(dataset=dict(pipeline=[{**step, **_base_.steps.get(step['type'], {})} for step in steps]))
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)

default_hooks = dict(checkpoint=dict(interval=5))
optim_wrapper = dict(optimizer=dict(lr={{_base_.lr}}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs={{_base_.epochs}}, val_begin={{_base_.epochs}})
