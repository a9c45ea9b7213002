# Fine-tuning from Kinetics-400: one epoch of warm-up, validation every other epoch.
_base_ = 'adamw_30e.py'

param_scheduler = [dict(_base_.param_scheduler[0], end=1), _base_.param_scheduler[1]]
train_cfg = dict(val_interval=2)
