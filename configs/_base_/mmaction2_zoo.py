# Fine-tuning of mmaction2's published checkpoints; a config says which.
_base_ = ['default_runtime.py', 'schedules/finetune_30e.py']

zoo = 'https://download.openmmlab.com/mmaction/v1.0/recognition'
