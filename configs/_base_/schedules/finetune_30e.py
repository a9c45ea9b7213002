# Fine-tuning from Kinetics-400: one epoch of warm-up, validation every other epoch.
_base_ = 'adamw_30e.py'

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.1,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', T_max=30, eta_min=0, by_epoch=True, begin=0, end=30),
]
train_cfg = dict(val_interval=2)
