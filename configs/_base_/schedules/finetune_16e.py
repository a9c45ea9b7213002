_base_ = 'finetune_30e.py'

param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', T_max=16, eta_min=0, by_epoch=True, begin=0, end=16),
]
train_cfg = dict(max_epochs=16)
